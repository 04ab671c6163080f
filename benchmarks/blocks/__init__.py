"""Random networks as data for one runtime: units by rows and by layers against the reference."""
