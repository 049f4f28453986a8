"""Puts the figures of metrics/ and bench/figures into the README, between its markers; `make readme` runs it."""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

from attune.errors import BadInput
from attune.evaluation.report.markdown import number, p_value, score, signed
from attune.stage import fail

ROOT = Path(__file__).resolve().parent.parent
BASELINE = "baseline"  # the git tag
MEASURED = (
    "encode",
    "train",
    "mine",
    "evaluate",
    "serve",
    "pipeline",
    "startup",
)  # parts of the bench that have targets
SHOWN = ("recall@10", "mrr@10", "ndcg@10")


def results(metrics: Path) -> str:
    """The table of all systems, and what tuning changed with its interval.

    Raises:
        BadInput: the pipeline has not left its figures there.
    """
    report, n_queries = _read(metrics / "report.json"), _read(metrics / "tuned.json")["n_queries"]
    paired = report["paired"]
    bounds = {name: f"{signed(paired[name]['ci_low'], 3)} to {signed(paired[name]['ci_high'], 3)}" for name in SHOWN}
    rows = [
        ["system", *SHOWN],
        ["---", *["---:"] * len(SHOWN)],
        *([system, *(score(values[name]) for name in SHOWN)] for system, values in report["systems"].items()),
        ["tuned minus base", *(f"**{signed(paired[name]['delta'], 3)}**" for name in SHOWN)],
        ["its interval", *(bounds[name] for name in SHOWN)],
        ["its p-value", *(p_value(paired[name]["p_value"]) for name in SHOWN)],
    ]
    table = "\n".join(f"| {' | '.join(row)} |" for row in rows)
    without = report["without_leaks"]["any"]
    near = (
        f"Nothing in test is alike in words to what training sees; {number(n_queries - without['n_queries'])} of these "
        "queries are near to it in meaning, by the base encoder's own judgment, and without them the gain in recall@10 "
        f"is {signed(without['delta'], 3)} ({signed(without['ci_low'], 3)} to {signed(without['ci_high'], 3)})."
    )
    return f"{table}\n\n{report['verdict']} Measured on {number(n_queries)} test queries. {near}"


def examples(folder: Path) -> str:
    """A row per recipe that was run: its size, its scores, and what is left of the gain where nothing leaks."""
    head = ["recipe", "test queries", "bm25", "base", "tuned", "delta", "leaking queries", "delta without"]
    rows = [head, ["---", *["---:"] * (len(head) - 1)]]
    for file in sorted(folder.glob("*.json")):
        report = _read(file)
        n, n_clean = report["n_test_queries"], report["without_leaks"]["lexical"]["n_queries"]
        rows.append(
            [
                f"[{file.stem}](examples/{file.stem}.yaml)",
                number(n),
                *(score(report["systems"][system]["recall@10"]) for system in ("bm25", "base", "tuned")),
                _delta(report["paired"]),
                number(n - n_clean),
                _delta(report["paired_without_leaks"]) if n > n_clean > 1 else "",
            ]
        )
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def targets(figures: Path) -> str:
    """The bench's targets, as bench/RESULTS.md has them."""
    head = ["what", "target", "met", "min / **median** / max"]
    rows = [head, ["---", "---", "---", "---:"]]
    for part in MEASURED:
        for target in _read(figures / f"{part}.json", "make bench")["targets"]:
            met = "yes" if target["is_met"] else "**no**"
            rows.append([target["what"], target["wanted"], met, target["found"]])
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def serving(figures: Path) -> str:
    """The bench's tables of single queries and of an empty environment."""
    body: list[str] = _read(figures / "serve.json", "make bench")["body"]
    shown = ("| one query |", "**In an empty", "| from the start")
    return "\n\n".join(part for part in body if part.startswith(shown))


def _delta(paired: dict[str, dict[str, float]]) -> str:
    found = paired["recall@10"]
    return f"**{signed(found['delta'], 3)}** [{signed(found['ci_low'], 3)}, {signed(found['ci_high'], 3)}]"


def _read(path: Path, command: str = "make repro") -> dict[str, Any]:
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise BadInput(f"{path}: not found; run `{command}` first") from None
    except ValueError as error:
        raise BadInput(f"{path}: not JSON ({error}); delete it and run `{command}`") from None
    return content


def diff(root: Path) -> str | None:
    """What `dvc metrics diff` says of the tuned encoder since the baseline; None where the tag is absent.

    Raises:
        BadInput: dvc fails.
    """
    if _run(root, "git", "rev-parse", "--quiet", "--verify", f"refs/tags/{BASELINE}").returncode:
        return None
    command = ("metrics", "diff", BASELINE, "--targets", "metrics/tuned.json", "--md")
    done = _run(root, sys.executable, "-m", "dvc", *command)
    if done.returncode:
        raise BadInput(f"dvc {' '.join(command)}: {done.stderr}")
    return done.stdout.strip()


def _run(root: Path, *command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)


def between(page: str, name: str) -> str:
    """What stands between the markers of this name.

    Raises:
        BadInput: the page does not have exactly one such pair.
    """
    found: list[str] = re.findall(_marked(name), page, re.DOTALL)
    if len(found) != 1:
        raise BadInput(f"README.md: {len(found)} pairs of markers <!-- {name} --> and <!-- /{name} -->, expected one")
    return found[0]


def put(page: str, name: str, text: str) -> str:
    """The page with this text between the markers of this name."""
    between(page, name)
    return re.sub(_marked(name), lambda _: f"<!-- {name} -->\n{text}\n<!-- /{name} -->", page, flags=re.DOTALL)


def _marked(name: str) -> str:
    return rf"<!-- {name} -->\n(.*?)\n<!-- /{name} -->"


def main() -> None:
    """Rewrites the README's tables."""
    readme = ROOT / "README.md"
    page = put(readme.read_text(encoding="utf-8"), "results", results(ROOT / "metrics"))
    page = put(page, "examples", examples(ROOT / "examples"))
    page = put(page, "targets", targets(ROOT / "bench/figures"))
    page = put(page, "serving", serving(ROOT / "bench/figures"))
    changes = diff(ROOT)
    if changes is None:
        print(f"attune: no tag {BASELINE} here, so the README's diff table stays; make {BASELINE} restores the tag")
    else:
        page = put(page, "diff", changes)
    readme.write_text(page, encoding="utf-8")
    print("attune: README.md has the figures of metrics/ and bench/figures")


if __name__ == "__main__":
    try:
        main()
    except (BadInput, OSError) as error:
        fail("readme", error)
