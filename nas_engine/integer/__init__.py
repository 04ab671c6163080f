"""Integer networks: the one definition of correct that every export is compared with.

See docs/integer_model.md.
"""
