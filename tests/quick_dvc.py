"""Runs DVC, with dvc.lock read and written by libyaml.

After each stage DVC parses and writes the lock in a way that would keep comments, which a lock has none of: more than a
second with 40 stages, of which test pipelines run hundreds.
"""

import re
import sys
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import yaml
from dvc import dvcfile
from dvc.cli import main
from dvc.utils.serialize import load_yaml

# a text that PyYAML, by YAML 1.1, writes without quotes, and DVC reads as a number, by YAML 1.2: a hash may look so
NUMBER = re.compile(r"[-+]?[0-9.]+[eE][-+]?[0-9]+")


class Dumper(yaml.CSafeDumper):
    """Writes mappings in their order."""


def represent_text(dumper: Dumper, text: str) -> yaml.ScalarNode:
    """Quotes what reads like a number."""
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="'" if NUMBER.fullmatch(text) else None)


Dumper.add_representer(OrderedDict, lambda dumper, data: dumper.represent_dict(data.items()))
Dumper.add_representer(str, represent_text)

Modify = Callable[..., AbstractContextManager[Any]]


def quick(modify: Modify) -> Modify:
    """Returns DVC's function that modifies a YAML file, replaced for dvc.lock."""

    @contextmanager
    def modified(path: str, fs: Any = None) -> Iterator[Any]:
        file = Path(path)
        if file.name != "dvc.lock":
            with modify(path, fs=fs) as data:
                yield data
            return
        data = load_yaml(path) if file.exists() else {}
        yield data
        file.write_text(yaml.dump(data, Dumper=Dumper, sort_keys=False, allow_unicode=True), encoding="utf-8")

    return modified


if __name__ == "__main__":
    dvcfile.modify_yaml = quick(dvcfile.modify_yaml)
    sys.exit(main(sys.argv[1:]))
