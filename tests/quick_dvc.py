"""Runs DVC, with dvc.lock written by libyaml, and each YAML text parsed once.

After each stage DVC parses and writes the lock in a way that would keep comments, which a lock has none of: more than a
second with 40 stages, of which test pipelines run hundreds. It parses the parameters ten times for each stage.
"""

import pickle
import re
import sys
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import yaml
from dvc import dvcfile
from dvc.cli import main
from dvc.utils.serialize import _yaml, load_yaml

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
Parse = Callable[..., Any]


class ParsedOnce:
    """DVC's function that parses YAML, with what it has returned for each text kept, as bytes, from which copies come.

    Args:
        parse: DVC's own, by a text, the path that errors name, and the kind of parser.
    """

    def __init__(self, parse: Parse) -> None:
        self.parse = parse
        self.kept: dict[str, bytes] = {}

    def __call__(self, text: str, path: str, typ: str = "safe") -> Any:
        if typ != "safe":
            return self.parse(text, path, typ)
        if text not in self.kept:
            self.keep(text, self.parse(text, path))
        return pickle.loads(self.kept[text])

    def keep(self, text: str, content: object) -> None:
        """Keeps what a text says."""
        self.kept[text] = pickle.dumps(content, pickle.HIGHEST_PROTOCOL)


def plain(content: Any) -> Any:
    """Returns the mappings and sequences as a parser would make them."""
    if isinstance(content, Mapping):
        return {key: plain(value) for key, value in content.items()}
    return [plain(value) for value in content] if isinstance(content, list | tuple) else content


def quick(modify: Modify, keep: Callable[[str, object], None] = lambda text, content: None) -> Modify:
    """Returns DVC's function that modifies a YAML file, replaced for dvc.lock.

    Args:
        modify: DVC's own.
        keep: is told the text of each lock, and what a parser makes of it.
    """

    @contextmanager
    def modified(path: str, fs: Any = None) -> Iterator[Any]:
        file = Path(path)
        if file.name != "dvc.lock":
            with modify(path, fs=fs) as data:
                yield data
            return
        data = load_yaml(path) if file.exists() else {}
        yield data
        text = yaml.dump(data, Dumper=Dumper, sort_keys=False, allow_unicode=True)
        file.write_text(text, encoding="utf-8")
        keep(text, plain(data))

    return modified


def run(arguments: Sequence[str]) -> int:
    """Runs DVC in this process; returns its exit code."""
    parsed_once = ParsedOnce(_yaml.parse_yaml)
    _yaml.parse_yaml = parsed_once
    dvcfile.modify_yaml = quick(dvcfile.modify_yaml, parsed_once.keep)
    code: int = main(list(arguments))
    return code


if __name__ == "__main__":
    sys.exit(run(sys.argv[1:]))
