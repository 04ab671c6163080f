"""QE-Score against the accuracy of trained networks."""
