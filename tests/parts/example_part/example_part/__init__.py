"""A package of a stranger's: an allocator, a score, an exporter and a back-end, registered."""
