"""Exports of an integer model: C for Cortex-M, TFLite, ONNX, and the manifest that all of them carry."""
