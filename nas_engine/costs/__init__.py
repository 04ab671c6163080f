"""Costs of whole populations: peak SRAM, Flash, MACs, BitOps, cycles. One cost, one file."""
