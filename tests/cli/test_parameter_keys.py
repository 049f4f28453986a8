"""Parameter files of a user's repository take the package's keys; what the user wrote stays."""

from pathlib import Path

import miniature
import pytest

from attune.cli.repository.keys import FILES, RENAMED, blocks, migrated
from attune.errors import BadInput

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = {
    "params.yaml": "# the panel\n\nmine:\n  # How many.\n  n: 1\n\ntrain:\n  # Rows.\n  rows: 32\n  rate: 0.1\n",
    "advanced.yaml": "train:\n  # Decay.\n  decay: 0.5\n\n"
    "collect:\n  endpoint:\n    url: x\n    # Seconds.\n    limit: 5\n",
}
OWN = {
    "params.yaml": "# ours\n\ntrain:\n  # Rows.\n  # little memory\n  batch: 8  # was 32\n  decay: 0.25\n  gone: 3\n",
    "advanced.yaml": "collect:\n  endpoint:\n    url: ours  # the server\n\nown:\n  # kept\n  key: 1\n",
}


def test_the_same_keys_leave_every_byte() -> None:
    """This project's own files come out as they are, so no line is read wrongly."""
    texts = {name: (ROOT / name).read_text(encoding="utf-8") for name in FILES}
    assert migrated(texts, texts) == (texts, [])


def test_a_migration_by_hand() -> None:
    """Renamed, moved, new and former keys, in sections and in groups; comments go with their key."""
    texts, said = migrated(OWN, PACKAGE, {"train.batch": "train.rows"})
    assert texts["params.yaml"] == (
        "# ours\n\ntrain:\n  # Rows.\n  # little memory\n  rows: 8  # was 32\n  rate: 0.1\n"
        "\nmine:\n  # How many.\n  n: 1\n"
    )
    assert texts["advanced.yaml"] == (
        "collect:\n  endpoint:\n    url: ours  # the server\n    # Seconds.\n    limit: 5\n"
        "\ntrain:\n  decay: 0.25\n"
        "\nown:\n  # kept\n  key: 1\n"
    )
    assert sorted(said) == [
        "advanced.yaml: new, collect.endpoint.limit: 5",
        "advanced.yaml: train.decay stands here now",
        "params.yaml: new section mine",
        "params.yaml: new, train.rate: 0.1",
        "params.yaml: train.batch is now train.rows",
        "params.yaml: train.gone is no longer a parameter; it was 3",
    ]


@pytest.mark.parametrize("end", ["  # rows: 64\n", "\n  # of ours\n  # two lines\n"])
def test_comments_at_the_end_of_a_section_stay(end: str) -> None:
    """They belong to no key, so none is missing; a new key comes before them."""
    own = {"params.yaml": f"train:\n  rows: 8\n{end}", "advanced.yaml": "x:\n  y: 1\n"}
    package = {"params.yaml": "train:\n  rows: 32\n", "advanced.yaml": "x:\n  y: 1\n"}
    assert migrated(own, package) == (own, [])
    package["params.yaml"] += "  rate: 0.1\n"
    texts, said = migrated(own, package)
    assert texts["params.yaml"] == f"train:\n  rows: 8\n  rate: 0.1\n{end}"
    assert said == ["params.yaml: new, train.rate: 0.1"]


def test_a_new_name_that_is_there_already_wins() -> None:
    """Where both names stand, the new one's value stays, and the old one is left out."""
    own = {"params.yaml": "train:\n  batch: 8\n  rows: 16\n", "advanced.yaml": "x:\n  y: 1\n"}
    package = {"params.yaml": "train:\n  rows: 32\n", "advanced.yaml": "x:\n  y: 1\n"}
    assert migrated(own, package, {"train.batch": "train.rows"})[0]["params.yaml"] == "train:\n  rows: 16\n"


def test_a_layout_that_cannot_be_told_apart_by_lines_is_refused() -> None:
    """Two keys on one line would lose one of them: one line says so."""
    own = {"params.yaml": "train: {rows: 8, rate: 0.2}\n", "advanced.yaml": "x:\n  y: 1\n"}
    package = {"params.yaml": "train:\n  rows: 32\n  rate: 0.1\n", "advanced.yaml": "x:\n  y: 1\n"}
    with pytest.raises(BadInput, match="one key a line"):
        migrated(own, package)


def test_values_over_several_lines_are_one_block() -> None:
    """A list below its key, a folded text and a comment between its lines belong to the key."""
    text = "a:\n  - 1\n  # two\n  - 2\n\n# of b\nb: >-\n  x\n\n  y\nc: 1\n# end"
    assert [(block.name, len(block.lines)) for block in blocks(text.splitlines())] == [
        ("a", 4),
        ("b", 6),
        ("c", 1),
        ("", 1),
    ]


def test_a_list_may_stand_as_far_left_as_its_key(tmp_path: Path) -> None:
    """As ruamel and many people write it: its items are no keys, and files that a program has written migrate, too."""
    own = {"params.yaml": "train:\n  seeds:\n  - 13\n  - 14\n  rows: 8\n", "advanced.yaml": "x:\n  y: 1\n"}
    package = {"params.yaml": "train:\n  seeds: [13]\n  rows: 32\n", "advanced.yaml": "x:\n  y: 1\n"}
    assert migrated(own, package) == (own, [])
    miniature.write_params(tmp_path, {"train": {"seeds": [13, 14]}, "gate": {"retired": ["a", "b"]}})
    written = {name: (tmp_path / name).read_text(encoding="utf-8") for name in FILES}
    assert any(line.lstrip().startswith("- ") for text in written.values() for line in text.splitlines())
    texts, said = migrated(written, {name: (ROOT / name).read_text(encoding="utf-8") for name in FILES})
    assert (texts, said) == (written, [])


def test_every_new_name_exists() -> None:
    """A key that was renamed leads to one of this package's parameters."""
    names = {
        f"{section.name}.{key.name}"
        for name in FILES
        for section in blocks((ROOT / name).read_text(encoding="utf-8").splitlines())
        for key in blocks(section.body)
    }
    assert {new for new in RENAMED.values() if new not in names} == set()
    assert {old for old in RENAMED if old in names} == set()
