"""The ONNX folder that ships: graph, int8, fp16, parity with torch, configuration files and manifest.

`attune.runtime` loads the folder.
"""
