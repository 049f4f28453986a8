"""Static int8 quantization: calibration, activation ranges, smoothing, and the quantized graph.

`quantise.py` strings them together.
"""
