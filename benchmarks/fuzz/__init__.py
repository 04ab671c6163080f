"""Wrong inputs through the whole command line, see ``__main__``."""
