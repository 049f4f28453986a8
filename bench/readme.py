"""Writes figures and checks into the tables of README.md and docs/ (`make readme`).

Figures are those of metrics/, examples/ and bench/figures; the paragraphs on checks are their docstrings.

A table stands between the markers `<!-- NAME -->` and `<!-- /NAME -->` of its page; `TABLES` lists names and pages.
"""

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from attune.cli.answers import answer_of, schema_of
from attune.cli.main import COMMANDS
from attune.cli.repository.results import put, read_figures, results
from attune.errors import BadInput
from attune.evaluation.checks.catalogue import catalogue, paragraphs
from attune.evaluation.report.markdown import number, plain, score, signed, table
from attune.stage import fail
from bench.regret.table import summary

ROOT = Path(__file__).resolve().parents[1]
BASELINE = "baseline"  # the git tag
PARTS_WITH_TARGETS = ("encode", "train", "mine", "evaluate", "serve", "pipeline", "startup")
STEPS_OF_FAMILIES = {step: step for step in ("loads", "trains", "lora", "resumes", "exports")} | {"lora": "LoRA"}


def examples(folder: Path) -> str:
    """Returns a row per recipe with figures: number of test queries, recall@10, and the gain without leaking queries.

    Links are relative to docs/.
    """
    head = ["recipe", "test queries", "bm25", "base", "tuned", "delta", "leaking queries", "delta without"]
    rows = [head, ["---", *["---:"] * (len(head) - 1)]]
    for file in sorted(folder.glob("*.json")):
        report = read_figures(file)
        n, n_clean = report["n_test_queries"], report["without_leaks"]["lexical"]["n_queries"]
        rows.append(
            [
                f"[{file.stem}](../examples/{file.stem}.yaml)",
                number(n),
                *(score(report["systems"][system]["recall@10"]) for system in ("bm25", "base", "tuned")),
                _delta(report["paired"]),
                number(n - n_clean),
                _delta(report["paired_without_leaks"]) if n > n_clean > 1 else "",
            ]
        )
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def reports(root: Path) -> dict[str, dict[str, Any]]:
    """Returns the reports of the default data and of the recipes, by name, but those made before today's sections."""
    found = {"default": read_figures(root / "metrics/report.json")}
    found |= {file.stem: read_figures(file) for file in sorted((root / "examples").glob("*.json"))}
    return {name: report for name, report in found.items() if "what_to_ship" in report}


def choices(root: Path) -> str:
    """Returns *What to ship* of each data set: recall@10 and nDCG@10 of each choice, the named one in bold."""
    made = {name: report["what_to_ship"] for name, report in reports(root).items()}
    rows = []
    for choice in next(iter(made.values()))["rows"]:
        cells = [choice.replace("_", " ")]
        for shipped in made.values():
            row = shipped["rows"].get(choice)
            text = " / ".join(row[:2]) if row else ""
            cells.append(f"**{text}**" if row and shipped["named"] == choice else text)
        rows.append(cells)
    return table(["choice", *made], rows)


def told(root: Path) -> str:
    """Returns what each report says of scores as probabilities, of holes in the judgments, and of labels."""
    rows = []
    for name, report in reports(root).items():
        holes = report.get("holes", {})
        # before `turn`, the sentence said how many answers bring the gain to 0, not how few change the verdict
        rows.append([name, report["scores"], holes["sentence"] if "turn" in holes else "", report["labels"]])
    return table(["data", "scores", "unjudged documents", "more labels"], rows)


def targets(figures: Path) -> str:
    """Returns the targets of the bench with their results, as in bench/RESULTS.md."""
    head = ["what", "target", "met", "min / **median** / max"]
    rows = [head, ["---", "---", "---", "---:"]]
    for part in PARTS_WITH_TARGETS:
        for target in read_figures(figures / f"{part}.json", "make bench")["targets"]:
            met = "yes" if target["is_met"] else "**no**"
            rows.append([target["what"], target["wanted"], met, target["found"]])
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def serving(figures: Path) -> str:
    """Returns the bench's tables of single queries and of the installation in an empty environment."""
    body: list[str] = read_figures(figures / "serve.json", "make bench")["body"]
    shown = ("| one query |", "**In an empty", "| from the start")
    return "\n\n".join(part for part in body if part.startswith(shown))


def families(figures: Path) -> str:
    """Returns what each family of encoders does, the failures below it, and the kinds that stage base refuses."""
    kept = read_figures(figures / "families.json", "make families")
    head = ["class", "pooling", *(STEPS_OF_FAMILIES.values()), "int8", "runtime to torch"]
    rows: list[list[str]] = []
    failures: list[str] = []
    for row in kept["families"].values():
        cells = [row["class"], row["pooling"]]
        for step, name in STEPS_OF_FAMILIES.items():
            said = row.get(step, "")
            if isinstance(said, str) and said:
                failures.append(f"({len(failures) + 1}) {row['class']}, {name}: {said}")
                said = f"no ({len(failures)})"
            cells.append("yes" if said is True else said)
        is_exported = "int8_share" in row
        cells += [f"{row['int8_share']:.2f}", f"{row['difference']:.0e}"] if is_exported else ["", ""]
        rows.append(cells)
    refused = [[kind, plain(said, limit=None)] for kind, said in kept["refused"].items()]
    return "\n\n".join([table(head, rows), *failures, table(["refused by stage base", "what it says"], refused)])


def _delta(paired: dict[str, dict[str, float]]) -> str:
    recall = paired["recall@10"]
    return f"**{signed(recall['delta'], 3)}** [{signed(recall['ci_low'], 3)}, {signed(recall['ci_high'], 3)}]"


def diff(root: Path) -> str | None:
    """Returns `dvc metrics diff` of the tuned encoder against the baseline; None without the tag.

    A tag on another test is not compared: its figures are those of other queries.

    Raises:
        BadInput: dvc fails.
    """
    lock = _run(root, "git", "show", f"refs/tags/{BASELINE}:dvc.lock")
    if lock.returncode:
        return None
    if _test_hash(lock.stdout) != _test_hash((root / "dvc.lock").read_text(encoding="utf-8")):
        return f"The tag `{BASELINE}` marks a commit with another test, not compared."
    command = ("metrics", "diff", BASELINE, "--targets", "metrics/tuned.json", "--md")
    done = _run(root, sys.executable, "-m", "dvc", *command)
    if done.returncode:
        raise BadInput(f"dvc {' '.join(command)}: {done.stderr}")
    return done.stdout.strip()


def _test_hash(lock: str) -> str | None:
    """Returns the hash of the test split that a dvc.lock records."""
    found = re.search(r"path: data/splits/test\n +hash: md5\n +md5: (\S+)", lock)
    return found and found[1]


def _run(root: Path, *command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)


def answers() -> str:
    """Returns a row per command of `attune` with the keys of its JSON, one list for each answer that it may give."""
    rows = []
    for command in COMMANDS:
        made = schema_of(answer_of(command))
        records = [made["$defs"][each["$ref"].split("/")[-1]] for each in made.get("anyOf", [])] or [made]
        keys = "; or ".join(", ".join(f"`{key}`" for key in record["properties"]) for record in records)
        rows.append((f"`attune {command.__name__}`", keys))
    return table(("command", "keys"), rows)


# by table: its page, and the function that returns its text
TABLES: dict[str, tuple[str, Callable[[], str | None]]] = {
    "answers": ("docs/agents.md", answers),
    "checks": ("docs/gate.md", lambda: paragraphs(catalogue())),
    "results": ("README.md", lambda: results(ROOT / "metrics")),
    "diff": ("docs/report.md", lambda: diff(ROOT)),
    "examples": ("docs/benchmarks.md", lambda: examples(ROOT / "examples")),
    "choices": ("docs/benchmarks.md", lambda: choices(ROOT)),
    "told": ("docs/evidence.md", lambda: told(ROOT)),
    "targets": ("docs/benchmarks.md", lambda: targets(ROOT / "bench/figures")),
    "regret": ("docs/benchmarks.md", lambda: summary(ROOT / "bench/figures")),
    "families": ("docs/encoders.md", lambda: families(ROOT / "bench/figures")),
    "serving": ("docs/serving.md", lambda: serving(ROOT / "bench/figures")),
}


def main() -> None:
    """Rewrites the tables of all pages."""
    for name, (path, make) in TABLES.items():
        text = make()
        if text is None:
            print(f"attune: the diff table of {path} is unchanged: no git tag {BASELINE}; `make {BASELINE}` creates it")
            continue
        page = ROOT / path
        page.write_text(put(page.read_text(encoding="utf-8"), name, text, path), encoding="utf-8")
    print("attune: wrote the figures of metrics/, examples/ and bench/figures into README.md and docs/")


if __name__ == "__main__":
    try:
        main()
    except (BadInput, OSError) as error:
        fail("readme", error)
