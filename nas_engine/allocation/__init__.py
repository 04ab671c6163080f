"""Allocation: choice of the width of each tensor inside a device's budgets.

Choices rest on data and the trained network. No torch.
"""
