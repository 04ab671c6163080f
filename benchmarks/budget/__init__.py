"""A public in-budget benchmark: what ranks networks of one small budget, by their training."""
