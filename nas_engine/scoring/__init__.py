"""Training-free scores of whole populations."""
