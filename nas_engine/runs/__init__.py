"""Run directories: folders, records, digests between them, and options of a whole run on disk. No torch."""
