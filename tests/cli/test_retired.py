"""`attune upgrade` lists figures that a newer attune no longer reports, so that check ATT023 passes without them."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML
from shipped_params import PANEL, write_shipped

from attune.cli.repository import upgrade as upgrading
from attune.cli.repository import versions
from attune.cli.repository.keys import FILES
from attune.cli.repository.pipeline import pipeline_text
from attune.cli.repository.product import product_text
from attune.cli.repository.retired import package_entries, with_retired
from attune.cli.repository.settings import set_values
from attune.cli.repository.upgrade import upgrade
from attune.cli.repository.versions import versions_text
from attune.errors import BadInput
from attune.evaluation.checks.catalogue import findings
from attune.evaluation.checks.facts import Facts
from attune.evaluation.checks.limits import GateParams
from attune.stage import all_params, load_params

TODAY = PANEL.with_name("advanced.yaml").read_text()
GONE = "metrics/merge.json old_score"
NEWER = f"    # of the rule before\n    - {GONE}  # new_score since\n    - 'metrics/*.json it''s: gone'\n"
PACKAGE = "gate:\n  margin: 0.02\n  # Metrics.\n  retired:\n    - a.json x  # y since\n    - b.json x\n" + NEWER
ADDED = [GONE, "metrics/*.json it's: gone"]


def lists(text: str) -> list[str]:
    entries: list[str] = YAML(typ="safe").load(text)["gate"]["retired"]
    return entries


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("  retired: []\n", f"  retired:\n{NEWER}"),
        ("  retired: []  # ours\n", f"  retired:  # ours\n{NEWER}"),
        ("  retired: []  # ours, see [docs]\n", f"  retired:  # ours, see [docs]\n{NEWER}"),
        ("  retired:  # ours\n", f"  retired:  # ours\n{NEWER}"),
        ("  retired: null\n", f"  retired:\n{NEWER}"),
        ("  retired: ~  # none\n", f"  retired:  # none\n{NEWER}"),
        ("  retired:\n", f"  retired:\n{NEWER}"),
        ('  retired: ["it\'s", "c: d"]\n', f"  retired:\n    - 'it''s'\n    - 'c: d'\n{NEWER}"),
        ("  retired:\n    - own  # why\n", f"  retired:\n    - own  # why\n{NEWER}"),
        ("  retired:\n  - own\n", "  retired:\n  - own\n" + NEWER.replace("    ", "  ")),
        (f"  retired:\n    - {GONE}\n", f"  retired:\n    - {GONE}\n{NEWER.splitlines()[-1]}\n"),
    ],
)
@pytest.mark.parametrize("after", ["", "  # of ours\n", "\n# `attune judge`\njudge:\n  n: 1\n", "  last: 1\n"])
def test_new_entries_come_with_their_comments(written: str, expected: str, after: str) -> None:
    """Below the user's own, in whatever form these are; all other lines keep their bytes; each is said once."""
    own = {"params.yaml": "x: 1\n", "advanced.yaml": f"gate:\n  # Ours.\n{written}{after}"}
    texts, said = with_retired(own, PACKAGE, ["a.json x", "b.json x"])
    assert texts == own | {"advanced.yaml": f"gate:\n  # Ours.\n{expected}{after}"}
    new = [entry for entry in ADDED if entry not in (lists(own["advanced.yaml"]) or [])]
    assert said == [f"advanced.yaml: new in gate.retired, {entry}" for entry in new]
    assert with_retired(texts, PACKAGE, ["a.json x", "b.json x"]) == (texts, [])


def test_an_entry_that_the_version_before_had_stays_away() -> None:
    """The list of a user who has removed it, or never had it, stays as it is."""
    own = {"params.yaml": "x: 1\n", "advanced.yaml": "gate:\n  retired: []\n"}
    assert with_retired(own, PACKAGE, package_entries(PACKAGE)) == (own, [])


@pytest.mark.parametrize("written", ["[\n    a, b]", "[a,\n    # why\n    b,\n  ]"])
def test_a_list_that_no_line_can_be_added_to_is_refused(written: str) -> None:
    """A list over several lines has no place for a comment: one line says how to write it."""
    own = {"params.yaml": "x: 1\n", "advanced.yaml": f"gate:\n  retired: {written}\n"}
    with pytest.raises(BadInput, match=r"advanced\.yaml: gate\.retired cannot be added to; write it with one entry"):
        with_retired(own, PACKAGE, [])


@pytest.fixture
def install(monkeypatch: pytest.MonkeyPatch) -> Callable[[list[str]], None]:
    """Returns a function that installs an attune that retires these figures beside those of today."""

    def with_entries(entries: list[str]) -> None:
        def text_of(name: str) -> str:
            text = PANEL.with_name(name).read_text() if name in FILES else product_text(name)
            last = f"    - {package_entries(TODAY)[-1]}"
            assert name != "advanced.yaml" or text.count(last) == 1
            return text.replace(last, "\n".join([last, *(f"    - {entry}  # since" for entry in entries)]))

        monkeypatch.setattr(upgrading, "product_text", text_of)
        monkeypatch.setattr(versions, "product_text", text_of)

    return with_entries


@pytest.fixture
def shop(tmp_path: Path, install: Callable[[list[str]], None]) -> Path:
    """A repository that today's attune made; nothing has run there."""
    install([])
    write_shipped(tmp_path)
    set_values(tmp_path, {"gate": {"retired": []}})
    pipeline = pipeline_text(all_params(PANEL))
    (tmp_path / "dvc.yaml").write_text(pipeline)
    (tmp_path / "libraries.yaml").write_text(versions_text(pipeline))
    (tmp_path / ".gitignore").write_text("")
    upgrade(tmp_path, is_dry=False)
    return tmp_path


def retired(folder: Path) -> list[str]:
    entries: list[str] = all_params(folder / "params.yaml")["gate"]["retired"]
    return entries


def test_an_upgrade_adds_what_the_newer_attune_has_retired(shop: Path, install: Callable[[list[str]], None]) -> None:
    """Neither attune's own history nor an entry that was removed comes; a dry run says the same and writes nothing."""
    assert retired(shop) == []
    install([GONE])
    before = {path: path.read_bytes() for path in shop.iterdir() if path.is_file()}
    words = [f"advanced.yaml: new in gate.retired, {GONE}"]
    assert upgrade(shop, is_dry=True).parameters == words
    assert {path: path.read_bytes() for path in shop.iterdir() if path.is_file()} == before
    done = upgrade(shop, is_dry=False)
    assert (done.parameters, done.files) == (words, ["advanced.yaml", "libraries.yaml"])
    assert f"  retired:\n    - {GONE}  # since\n" in (shop / "advanced.yaml").read_text()
    assert upgrade(shop, is_dry=False).files == []
    set_values(shop, {"gate": {"retired": ["own"]}})
    assert upgrade(shop, is_dry=False).files == [] and retired(shop) == ["own"]
    install([GONE, "later.json x"])
    assert upgrade(shop, is_dry=False).parameters == ["advanced.yaml: new in gate.retired, later.json x"]
    assert retired(shop) == ["own", "later.json x"]


def test_a_repository_without_the_record_gets_all(shop: Path, install: Callable[[list[str]], None]) -> None:
    """Made before libraries.yaml kept it, so that nobody knows which are new; once, with their comments."""
    file = shop / "libraries.yaml"
    section = file.read_text()
    start = section.index("  retired: [")
    file.write_text(section[:start] + section[section.index("]\n", start) + 2 :])
    assert "retired" not in YAML(typ="safe").load(file.read_text())["attune"]
    install([GONE])
    upgrade(shop, is_dry=False)
    assert retired(shop) == [*package_entries(TODAY), GONE]
    comment = next(line for line in TODAY.partition("  retired:\n")[2].splitlines() if "#" in line)
    assert comment in (shop / "advanced.yaml").read_text().splitlines()
    assert upgrade(shop, is_dry=False).files == []


class Main:
    """The default branch, whose last run reported the figure."""

    name, commit = "main", "1a2b3c4"

    def read(self, path: str) -> str | None:
        return json.dumps({"old_score": 0.5, "kept": 1}) if path == "metrics/merge.json" else None

    def paths(self, folder: str, suffix: str) -> list[str]:
        return ["metrics/merge.json"]


def test_the_pull_request_of_an_upgrade_passes(shop: Path, install: Callable[[list[str]], None]) -> None:
    """ATT023 fails where a figure is gone, and no longer once the upgrade has listed it; another one still fails."""

    def status(figures: dict[str, Any]) -> str:
        facts = Facts({}, {"metrics/merge.json": json.dumps(figures)}.get, revision=Main())
        limits = load_params(GateParams, "gate", shop / "params.yaml")
        return str(next(one for one in findings(facts, limits, ["revision"]) if one.check.code == "ATT023").status)

    install([GONE])
    assert status({"kept": 1}) == "failed"
    upgrade(shop, is_dry=False)
    assert (status({"kept": 1}), status({})) == ("passed", "failed")


def test_the_package_lists_an_entry_a_line() -> None:
    """As an upgrade takes each with the comments of its line; none stands twice."""
    own = {name: (PANEL.with_name(name)).read_text() for name in FILES}
    own["advanced.yaml"] = "gate:\n  retired: []\n"
    entries = package_entries(TODAY)
    assert lists(with_retired(own, TODAY, [])[0]["advanced.yaml"]) == entries and len(set(entries)) == len(entries)
