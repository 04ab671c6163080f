"""Finished studies: a question, its command, its records and the verdict, a folder each."""
