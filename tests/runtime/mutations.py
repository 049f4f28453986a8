"""Seeded mutations of a model folder and of a saved index, as an attacker or a broken download would make them."""

import json
import os
import random
import shutil
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

KINDS = ("manifest", "golden", "tokenizer", "index")
DEEP = "[" * 100_000 + "]" * 100_000


def hostile_names(outside: Path) -> list[str]:
    """Names that lead to files which exist outside the folder, or trick a terminal or another system."""
    up = f"../../{outside.name}/secret.json"
    return [
        *(up, f"onnx/../{up}", str(outside / "secret.json"), "/etc/passwd", "/dev/zero", "../fifo", str(outside)),
        *("C:\\x", "..\\secret", "onnx\\model.onnx", "a\0b", "", ".", "..", "onnx", "onnx/", "./tokenizer.json"),
        *("x\x1b[31mred", "\u202egnp.exe", "\u2066x", "\ud800", "n" * 5000, "fifo", "link", "loop", "model.ort"),
    ]


def strange_values(outside: Path) -> list[Any]:
    """Values of every type and size."""
    numbers = [0, 1, -1, 3, 31, 33, 2**31, 2**63, 2**64, 10**400, 0.5, 1e38, 1e308, float("nan"), float("inf"), -0.0]
    return [None, True, False, "", "x", [], {}, [[]], [None], {"": None}, *numbers, *hostile_names(outside)]


def places(value: Any) -> list[tuple[Any, Any]]:
    """Returns (container, key) of values in a tree of JSON, the first and last eight of each container."""
    found: list[tuple[Any, Any]] = []
    if isinstance(value, dict | list):
        keys = list(value) if isinstance(value, dict) else list(range(len(value)))
        for key in keys[:8] + keys[8:][-8:]:
            found.append((value, key))
            found += places(value[key])
    return found


def mutated_json(text: str, chance: random.Random, outside: Path) -> bytes:
    """Changes a JSON text in one to three places of its tree, or as text."""
    kind = chance.randrange(10)
    if kind == 0:
        return chance.choice([DEEP, '{"a":' * 100_000, "", "null", "[]", "1", '"x"', "{}", "NaN", "9" * 9999]).encode()
    if kind == 1:
        content = bytearray(text.encode())
        for _ in range(chance.randint(1, 4)):
            content[chance.randrange(len(content))] = chance.randrange(256)
        return bytes(content)
    if kind == 2:
        return text.encode()[: chance.randrange(len(text))]
    tree = json.loads(text)
    for _ in range(chance.randint(1, 3)):
        if choices := places(tree):
            _mutate(*chance.choice(choices), chance, outside)
    changed = json.dumps(tree)
    if kind == 3 and isinstance(tree, dict) and tree:  # a key twice, at the top
        changed = f"{{{json.dumps(chance.choice(list(tree)))}: null, {changed[1:]}"
    return changed.replace('"a value without end"', DEEP).encode("utf-8", "surrogatepass")


def _mutate(container: Any, key: Any, chance: random.Random, outside: Path) -> None:
    value = chance.choice([*strange_values(outside), "a value without end"])
    act = chance.randrange(5)
    if act == 0:
        del container[key]
    elif act == 1 and isinstance(container, dict):
        container[chance.choice(hostile_names(outside))] = container.pop(key)
    elif act == 2 and isinstance(container, list):
        container.insert(0, chance.choice([container[key], value]))
    elif act == 3 and isinstance(container[key], str):
        place = chance.randint(0, len(container[key]))
        container[key] = (
            container[key][:place] + chance.choice(["\0", "\u202e", "é", "x" * 3000]) + container[key][place:]
        )
    else:
        container[key] = value


def mutate_model(folder: Path, kind: str, chance: random.Random, outside: Path) -> None:
    """Mutates one file of a model folder; mostly makes the manifest's hashes fit again, as an attacker would."""
    if chance.randrange(8) == 0:
        _replace_by_special(folder, chance.choice([f"{kind}.json", "config.json"]), chance, outside)
    else:
        path = folder / f"{kind}.json"
        _rewrite(path, mutated_json(path.read_text(encoding="utf-8"), chance, outside))
    if kind != "manifest" and chance.randrange(10):
        manifest = json.loads((folder / "manifest.json").read_text()) if (folder / "manifest.json").is_file() else {}
        for name in ("golden.json", "tokenizer.json"):
            if manifest and (folder / name).is_file():
                manifest["files"][name]["sha256"] = sha256((folder / name).read_bytes()).hexdigest()
        if manifest:
            _rewrite(folder / "manifest.json", json.dumps(manifest).encode())


def mutate_index(folder: Path, chance: random.Random, outside: Path) -> None:
    """Mutates one file of a saved index, likewise."""
    name = chance.choice(["search.json", "ids.json", "index.faiss"])
    path = folder / name
    if chance.randrange(8) == 0:
        _replace_by_special(folder, name, chance, outside)
    elif name == "index.faiss":
        content = bytearray(path.read_bytes())
        for _ in range(chance.randint(1, 4)):
            place = chance.randrange(chance.choice([64, len(content)]))
            content[place : place + 8] = chance.choice([b"\xff" * 8, bytes(8), chance.randbytes(8)])
        _rewrite(path, bytes(content[: chance.choice([len(content), chance.randrange(len(content))])]))
    else:
        _rewrite(path, mutated_json(path.read_text(encoding="utf-8"), chance, outside))
    if name != "search.json" and path.is_file() and chance.randrange(10):
        record = json.loads((folder / "search.json").read_text())
        record["files"][name] = sha256(path.read_bytes()).hexdigest()
        _rewrite(folder / "search.json", json.dumps(record).encode())


def _replace_by_special(folder: Path, name: str, chance: random.Random, outside: Path) -> None:
    """Puts something else than a regular file of the folder in a file's place."""
    path = folder / name
    path.unlink()
    makers: list[Callable[[], Any]] = [
        lambda: path.symlink_to(outside / "secret.json"),
        lambda: path.symlink_to(f"../../{outside.name}/secret.json"),
        lambda: path.symlink_to(name),
        lambda: path.symlink_to("/dev/zero"),
        lambda: path.symlink_to(outside),
        lambda: os.mkfifo(path),
        path.mkdir,
        lambda: None,
    ]
    chance.choice(makers)()


def _rewrite(path: Path, content: bytes) -> None:
    """Writes a file anew: the old one may be linked to the pattern's."""
    path.unlink()
    path.write_bytes(content)


def fresh_copy(pattern: Path, folder: Path) -> None:
    """Copies a folder by hard links, which cost nothing."""
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(pattern, folder, copy_function=os.link)
