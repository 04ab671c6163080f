"""Integer networks: against a scalar implementation and against TFLite's reference kernels."""
