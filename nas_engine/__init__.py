"""Training-free neural architecture search for microcontrollers: budget in, verified firmware out."""

__version__ = "0.1.0"
