"""Allocations of widths trained alike on a CIFAR ResNet."""
