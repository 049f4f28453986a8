"""The ONNX folder that ships: graph, int8, fp16, parity with torch, configuration files and manifest.

What loads the folder is `attune.runtime`.
"""
