"""Proof: every export run beside the integer reference, measured memory beside the predicted."""
