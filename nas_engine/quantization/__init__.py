"""Quantisation: what training learns about integers (steps, widths), and the record that it hands over."""
