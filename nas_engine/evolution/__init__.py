"""Evolutionary search: operators, Quantization Bits Refinement, selection, and the loop over explicit state."""
