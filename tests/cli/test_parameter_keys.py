"""Parameter files of a user's repository take the package's keys; what the user wrote stays."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from shipped_params import PANEL, write_shipped

from attune.cli.repository.keys import FILES, RENAMED, blocks, migrated
from attune.errors import BadInput

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
    texts = {name: PANEL.with_name(name).read_text(encoding="utf-8") for name in FILES}
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


NAMES = ("rows", "rows_per_step", "batch", "size")  # of one key, the package's first and the oldest last


@given(
    there=st.sets(st.sampled_from(NAMES), min_size=1),
    order=st.permutations(range(len(NAMES) - 1)),
    files=st.lists(st.sampled_from(FILES), min_size=len(NAMES), max_size=len(NAMES)),
)
def test_a_key_that_was_renamed_again_and_again_keeps_its_value(
    there: set[str], order: list[int], files: list[str]
) -> None:
    """From any of its former names, in whatever order the renames are listed; the latest name there wins."""
    own = dict.fromkeys(FILES, "x:\n  y: 1\ntrain:\n  rate: 0.1\n")
    for at, name in enumerate(NAMES):
        if name in there:
            own[files[at]] += f"  # of {name}\n  {name}: {at}  # ours\n"
    package = {"params.yaml": "train:\n  rows: 32\n  rate: 0.1\n", "advanced.yaml": "x:\n  y: 1\n"}
    own["advanced.yaml"] = own["advanced.yaml"].replace("  rate: 0.1\n", "  decay: 0.5\n")
    package["advanced.yaml"] += "train:\n  decay: 0.5\n"
    renamed = {f"train.{NAMES[at + 1]}": f"train.{NAMES[at]}" for at in order}
    texts, said = migrated(own, package, renamed)
    latest, *others = [name for name in NAMES if name in there]
    assert f"  # of {latest}\n  rows: {NAMES.index(latest)}  # ours\n" in texts["params.yaml"]
    assert not any(f"{name}:" in text for name in NAMES[1:] for text in texts.values())
    lost = [f"train.{name} is left out, as train.rows stands here; it was {NAMES.index(name)}" for name in others]
    assert [line.partition(": ")[2] for line in said if "left out" in line] == lost


def test_a_name_that_came_back_is_the_package_s() -> None:
    """Renamed, and renamed back: a value under either name ends under the package's."""
    package = {"params.yaml": "train:\n  rows: 32\n", "advanced.yaml": "x:\n  y: 1\n"}
    for name in ("rows", "batch"):
        own = package | {"params.yaml": f"train:\n  {name}: 8\n"}
        texts, _ = migrated(own, package, {"train.rows": "train.batch", "train.batch": "train.rows"})
        assert texts["params.yaml"] == "train:\n  rows: 8\n"


def test_a_former_name_of_a_key_that_is_gone_is_said() -> None:
    """A key whose last name is no parameter any more is left out in a line with its value, like any other."""
    own = {"params.yaml": "train:\n  batch: 8\n  rate: 0.1\n", "advanced.yaml": "x:\n  y: 1\n"}
    package = {"params.yaml": "train:\n  rate: 0.1\n", "advanced.yaml": "x:\n  y: 1\n"}
    texts, said = migrated(own, package, {"train.batch": "train.rows"})
    assert texts == package
    assert said == ["params.yaml: train.batch is no longer a parameter; it was 8"]


def test_a_layout_that_cannot_be_told_apart_by_lines_is_refused() -> None:
    """Two keys on one line would lose one of them: one line says so."""
    own = {"params.yaml": "train: {rows: 8, rate: 0.2}\n", "advanced.yaml": "x:\n  y: 1\n"}
    package = {"params.yaml": "train:\n  rows: 32\n  rate: 0.1\n", "advanced.yaml": "x:\n  y: 1\n"}
    with pytest.raises(BadInput, match="one key a line"):
        migrated(own, package)


def test_values_over_several_lines_are_one_block() -> None:
    """A list below its key, a folded text, a comment between its lines and a closing bracket belong to the key."""
    text = "a:\n  - 1\n  # two\n  - 2\n\n# of b\nb: >-\n  x\n\n  y\nc: [\n  1\n]\n# end"
    assert [(block.name, len(block.lines)) for block in blocks(text.splitlines())] == [
        ("a", 4),
        ("b", 6),
        ("c", 3),
        ("", 1),
    ]


def test_a_list_may_stand_as_far_left_as_its_key(tmp_path: Path) -> None:
    """As ruamel and many people write it: its items are no keys, and files that a program has written migrate, too."""
    own = {"params.yaml": "train:\n  seeds:\n  - 13\n  - 14\n  rows: 8\n", "advanced.yaml": "x:\n  y: 1\n"}
    package = {"params.yaml": "train:\n  seeds: [13]\n  rows: 32\n", "advanced.yaml": "x:\n  y: 1\n"}
    assert migrated(own, package) == (own, [])
    write_shipped(tmp_path, {"train": {"seeds": [13, 14]}, "gate": {"retired": ["a", "b"]}})
    written = {name: (tmp_path / name).read_text(encoding="utf-8") for name in FILES}
    assert any(line.lstrip().startswith("- ") for text in written.values() for line in text.splitlines())
    texts, said = migrated(written, {name: PANEL.with_name(name).read_text(encoding="utf-8") for name in FILES})
    assert (texts, said) == (written, [])


def test_every_new_name_exists() -> None:
    """A key that was renamed leads to one of this package's parameters, over later renames."""
    names = {
        f"{section.name}.{key.name}"
        for name in FILES
        for section in blocks(PANEL.with_name(name).read_text(encoding="utf-8").splitlines())
        for key in blocks(section.body)
    }
    assert {new for new in RENAMED.values() if new not in names and new not in RENAMED} == set()
    assert {old for old in RENAMED if old in names} == set()
