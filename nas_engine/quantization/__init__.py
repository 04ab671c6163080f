"""Quantisation: steps and widths learned in training, and the record that it hands over."""
