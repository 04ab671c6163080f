"""Operators, refinement of bits, selection and the loop."""
