"""The lock of test pipelines (quick_dvc) is the one that DVC itself writes, but for the width of its lines."""

import json
from collections import OrderedDict
from pathlib import Path

import pytest
from dvc.utils.serialize import load_yaml, modify_yaml
from dvc.utils.serialize._yaml import YAMLFileCorruptedError, parse_yaml
from quick_dvc import ParsedOnce, quick

PARAMS = {"rate": 1e-05, "share": 0.1, "seeds": [13, 14], "none": None, "is_set": True, "empty": "", "list": []}
TEXTS = {"prompt": "Write one query.\n\n{title}\n{text}", "word": "no", "digits": "0012", "letters": "größer 日本"}
OUT = OrderedDict(path="data/raw", hash="md5", md5="12345678901234567890123456789012", size=5, nfiles=1)
STAGE = {
    "cmd": f"PYTHONHASHSEED=0 PYTHONPATH=src python -m attune.stages.collect {'--out data/raw ' * 9}".strip(),
    "deps": [OUT, OUT | {"md5": "1e5"}],
    "params": {"params.yaml": OrderedDict(collect=PARAMS | TEXTS)},
    "outs": [OUT],
}


def test_the_lock_has_dvc_s_values_in_dvc_s_order(tmp_path: Path) -> None:
    """Of numbers, texts that look like numbers, several lines and other scripts, in a lock that grows by stages."""
    locks = []
    for name, modify in (("theirs", modify_yaml), ("ours", quick(modify_yaml))):
        file = tmp_path / name / "dvc.lock"
        file.parent.mkdir()
        for stage in ("collect", "base"):
            with modify(str(file)) as lock:
                lock.update({"schema": "2.0", "stages": {**lock.get("stages", {}), stage: STAGE}})
        locks.append(json.dumps(load_yaml(str(file))))
    assert locks[0] == locks[1]


def test_what_is_kept_of_a_written_lock_is_what_dvc_reads_there(tmp_path: Path) -> None:
    """Values, types and order; a text is parsed once, each caller gets a copy of its own, and a fault is still told."""
    n_parsed = 0

    def counted(text: str, path: str, typ: str = "safe") -> object:
        nonlocal n_parsed
        n_parsed += 1
        return parse_yaml(text, path, typ)

    once = ParsedOnce(counted)
    file = tmp_path / "dvc.lock"
    with quick(modify_yaml, once.keep)(str(file)) as lock:
        lock.update({"schema": "2.0", "stages": {"collect": STAGE}})
    text = file.read_text()
    kept = once(text, str(file))
    assert n_parsed == 0 and repr(kept) == repr(parse_yaml(text, str(file)))
    kept["stages"].clear()
    assert once(text, str(file))["stages"] and once("a: 1e-5", "x") == once("a: 1e-5", "x") == {"a": 1e-5}
    assert n_parsed == 1
    with pytest.raises(YAMLFileCorruptedError):
        once("a: {", "x")


def test_other_files_are_dvc_s_own_to_write(tmp_path: Path) -> None:
    """A comment of dvc.yaml stays."""
    (tmp_path / "dvc.yaml").write_text("stages: {}  # none yet\n")
    with quick(modify_yaml)(str(tmp_path / "dvc.yaml")) as content:
        content["vars"] = []
    assert "# none yet" in (tmp_path / "dvc.yaml").read_text()
