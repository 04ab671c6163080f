"""Allocation: which width each tensor gets, from what data and the trained network say, inside a device's budgets. No torch."""
