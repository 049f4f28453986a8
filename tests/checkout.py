"""Says whether this checkout is attune's own, with its pages and bench, or somebody's with data of theirs."""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
# tests of attune's own pages, bench, history and figures, which a checkout with other data need not have
OF_ATTUNES_OWN = (
    "bench",
    "cli/test_walkthrough.py",
    "encoding/test_families.py",
    "project/test_bench.py",
    "project/test_clone.py",
    "project/test_dev_choice.py",
    "project/test_passages_pipeline.py",
    "project/test_readme.py",
)


def is_attunes_own(root: Path = ROOT) -> bool:
    """Says if README, docs/ and bench/ are attune's."""
    readme = root / "README.md"
    title = readme.read_text(encoding="utf-8").partition("\n")[0] if readme.is_file() else ""
    return title == "# attune" and all((root / name).is_dir() for name in ("docs", "bench"))
