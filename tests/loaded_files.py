"""Imports the modules that are its arguments and writes the files of attune that are then loaded, as JSON."""

import importlib
import json
import sys

for name in sys.argv[1:]:
    importlib.import_module(name)
scratch = importlib.import_module("attune.encoding.scratch")
sys.stdout.write(json.dumps([str(file) for file in scratch.code_files()]))
