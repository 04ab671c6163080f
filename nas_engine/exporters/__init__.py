"""Exports of an integer model: C for Cortex-M, TFLite, ONNX, and the manifest common to all."""
