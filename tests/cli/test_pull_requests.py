"""Gate and comment on planted changes to one finished pipeline, in clones without data or cache."""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import branches
import miniature
import pytest
from branches import attune, git, rewrite, shift

from attune.cli.review.comment import MAX_CHARACTERS, comment
from attune.cli.review.gate import judge_project
from attune.errors import BadInput

pytestmark = pytest.mark.usefixtures("yaml_is_parsed_once")


@pytest.fixture(scope="session")
def main(finished: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The finished pipeline as branch main; treat as read-only."""
    return branches.committed(finished, tmp_path_factory.mktemp("repository") / "main")


@pytest.fixture
def clone(main: Path, tmp_path: Path) -> Path:
    """A clone to be changed: metrics and dvc.lock, no data, no cache, no remote."""
    git(tmp_path, "clone", "-q", str(main), "clone")
    return tmp_path / "clone"


def failing(folder: Path, against: str = "main") -> dict[str, str]:
    """Returns the sentences of the checks that stop the merge, by code."""
    return {each.check.code: each.sentence for each in judge_project(folder, against) if each.is_blocking}


def better(folder: Path) -> None:
    for system in ("tuned", "tuned_int8"):
        shift(folder, system, 0.02)


def worse(folder: Path) -> None:
    shift(folder, "tuned", -0.15)


def worse_by_chance(folder: Path) -> None:
    shift(folder, "tuned", -0.05, n_groups=2)


def leaky_split(folder: Path) -> None:
    def leak(report: dict[str, Any]) -> None:
        report["without_leaks"]["lexical"]["n_queries"] -= 5
        report["paired_without_leaks"] = report["paired"]

    rewrite(folder, "report", leak)


def other_split(folder: Path) -> None:
    lock = (folder / "dvc.lock").read_text()
    changed = re.sub(r"(path: data/splits/test\n +hash: md5\n +md5: )\w+", r"\g<1>" + "0" * 32 + ".dir", lock)
    assert changed != lock
    (folder / "dvc.lock").write_text(changed)


def hand_edited(folder: Path) -> None:
    file = folder / "metrics" / "tuned.json"
    receipt = json.loads(file.read_text())
    file.write_text(json.dumps(receipt | {"recall@5": 0.99}, indent=2) + "\n")


def stale_by_parameter(folder: Path) -> None:
    miniature.change(folder, {"train": {"learning_rate": 3.0e-5}})


def stale_by_code(folder: Path) -> None:
    file = folder / "src" / "attune" / "evaluation" / "scoring" / "measures.py"
    file.write_text(file.read_text() + "\n# edited\n")


def stale_by_command(folder: Path) -> None:
    file = folder / "dvc.yaml"
    file.write_text(file.read_text().replace("PYTHONHASHSEED=0", "PYTHONHASHSEED=1"))


def key_deleted(folder: Path) -> None:
    rewrite(folder, "bm25", lambda receipt: receipt.pop("recall@5"))


def gated_key_deleted(folder: Path) -> None:
    rewrite(folder, "drift", lambda receipt: receipt.pop("is_drifted"))


def file_deleted(folder: Path) -> None:
    (folder / "metrics" / "bm25.json").unlink()


def no_lock(folder: Path) -> None:
    (folder / "dvc.lock").unlink()


def bad_quantisation(folder: Path) -> None:
    def worse(report: dict[str, Any]) -> None:
        report["ndcg@10_kept_share"]["tuned_int8"] = 0.9
        report["ndcg@10_kept_interval"]["tuned_int8"] = {"ci_low": 0.88, "ci_high": 0.92}

    rewrite(folder, "report", worse)


def quantisation_worse_than_before(folder: Path) -> None:
    shift(folder, "tuned_int8", -0.15)


@pytest.mark.parametrize("change", [lambda folder: None, better, worse_by_chance], ids=["none", "better", "chance"])
def test_a_change_that_makes_nothing_worse_passes(clone: Path, change: Callable[[Path], None]) -> None:
    """No change, a gain, or a loss within chance."""
    change(clone)
    assert failing(clone) == {}


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (
            worse,
            {"ATT022": r"tuned ndcg@10 -0\.1\d+, interval -0\.\d+ to -0\.\d+ against main: a loss above 0\.02"},
        ),
        (leaky_split, {"ATT008": r"5 of \d+ test queries leak \(\d.*; at most 0% \(gate\.max_leak_share\)"}),
        (other_split, {"ATT021": r"not those of main: data/splits/test; measures of another test"}),
        (
            hand_edited,
            {
                "ATT020": r"metrics/tuned\.json: differs from its hash in dvc\.lock \(edited by hand",
                "ATT019": "report",
            },
        ),
        (
            stale_by_parameter,
            {"ATT019": r"stale: release .*, train@r1 \(params\.yaml: train\.learning_rate modified\) would run again"},
        ),
        (
            stale_by_code,
            {"ATT019": r"drift \(src/attune/evaluation/scoring modified\), evaluate@adapter .* and \d+ more would run"},
        ),
        (stale_by_command, {"ATT019": r"audit \(its command changed\), .* and \d+ more would run again"}),
        (
            key_deleted,
            {"ATT023": r"^metrics/bm25\.json has no recall@5, which main has; restore it, or list it in gate"},
        ),
        (
            gated_key_deleted,
            {
                "ATT011": r"metrics/drift\.json has no is_drifted; run",
                "ATT023": r"metrics/drift\.json has no is_drifted,",
            },
        ),
        (
            file_deleted,
            {"ATT020": r"metrics/bm25\.json: missing; run", "ATT023": r"metrics/bm25\.json is missing, which"},
        ),
        (
            bad_quantisation,
            {"ATT017": r"keeps 90\.00% of tuned nDCG@10, interval 88\.00% to 92\.00%: less than 95\.00% is certain"},
        ),
        (quantisation_worse_than_before, {"ATT022": r"tuned_int8 ndcg@10 -0\.1\d+, interval .* against main: a loss"}),
    ],
    ids=lambda value: value.__name__ if callable(value) else "",
)
def test_a_planted_change_fails_its_rule_alone_and_says_why(
    clone: Path, change: Callable[[Path], None], expected: dict[str, str]
) -> None:
    """Its message has the figures and the next step."""
    change(clone)
    failures = failing(clone)
    assert failures.keys() == expected.keys()
    assert all(re.search(words, failures[rule]) for rule, words in expected.items()), failures


def test_without_dvc_lock_no_figure_is_trusted(clone: Path) -> None:
    """Every stage is stale, every file has no hash, and the test split is unknown."""
    no_lock(clone)
    failures = failing(clone)
    assert {"ATT019", "ATT020", "ATT021"} <= failures.keys()
    assert "audit (not in dvc.lock)" in failures["ATT019"] and "no hash in dvc.lock" in failures["ATT020"]


def test_a_revision_without_groups_is_undecided(main: Path, tmp_path: Path) -> None:
    """A mean that fell cannot be told from chance: gate.undecided says whether that stops the merge."""
    old = Path(shutil.copytree(main, tmp_path / "old"))
    git(old, "rm", "-q", "-r", "--cached", "metrics/plots/groups")
    git(old, "commit", "-q", "-m", "before groups were kept")
    shift(old, "tuned", -0.15)
    assert failing(old, "HEAD") == {}
    miniature.change(old, {"gate": {"undecided": "fail"}})
    assert "keeps no scores by group" in failing(old, "HEAD")["ATT022"]


def test_losses_that_the_parameters_allow_pass(clone: Path) -> None:
    """A loss within the margin, a figure that is retired, another test split: each by a line in section gate.

    The report shows what section gate says, so dvc.lock is stale until it runs.
    """
    worse(clone)
    key_deleted(clone)
    assert failing(clone).keys() == {"ATT022", "ATT023"}
    miniature.change(clone, {"gate": {"margin": 0.5, "retired": ["metrics/bm25.json recall@*"]}})
    assert failing(clone).keys() == {"ATT019"}
    other_split(clone)
    assert failing(clone).keys() == {"ATT019", "ATT021"}


def test_an_excuse_for_another_test_names_a_commit_and_expires(clone: Path) -> None:
    """ATT021 says what to write; compared with the next commit it is void, and ATT021 cannot be ignored for good."""
    other_split(clone)
    main = git(clone, "rev-parse", "HEAD")
    sentence = failing(clone, "HEAD")["ATT021"]
    assert sentence.endswith(f"gate.allow_other_test: {{{main[:7]}: 'the reason'}}")
    miniature.change(clone, {"gate": {"allow_other_test": {main[:10]: "a week of new rows"}}})
    assert failing(clone, "HEAD").keys() == {"ATT019"}  # the report has to run
    git(clone, "commit", "-q", "--allow-empty", "-m", "later")
    assert failing(clone, "HEAD").keys() == {"ATT019", "ATT021"}
    miniature.change(clone, {"gate": {"ignore": {"ATT021": "for ever"}}})
    with pytest.raises(BadInput, match="ATT021 .* is excused by gate.allow_other_test, which names a commit"):
        judge_project(clone, "HEAD")


def champion(**change: float) -> dict[str, Any]:
    """Figures of a champion in report.json, with the same change in every measure."""
    own = {"p_holm": 0.001, **change}
    measures = dict.fromkeys(("recall@10", "mrr@10", "ndcg@10"), own)
    return {"name": "v1", "n_queries": 90, "n_clusters": 80, "n_left_out": 3, "paired": measures}


def test_a_champion_tells_a_regression_whatever_the_test(clone: Path) -> None:
    """With grown data no excuse is needed: a tuned encoder below the champion fails, one above it passes."""
    other_split(clone)
    assert failing(clone).keys() == {"ATT021"}
    good, bad = champion(delta=0.1, ci_low=0.05, ci_high=0.15), champion(delta=-0.1, ci_low=-0.15, ci_high=-0.05)
    rewrite(clone, "report", lambda report: report.update(champion=good))
    assert failing(clone) == {}
    rewrite(clone, "report", lambda report: report.update(champion=bad))
    failures = failing(clone)
    assert failures.keys() == {"ATT046"}
    words = "recall@10 -0.100, interval -0.150 to -0.050 against v1 on 90 queries (3 left out): a loss above 0.02 is"
    assert any(words in each.sentence for each in judge_project(clone, "main") if each.check.code == "ATT046")
    assert "| champion v1 | -0.100 (-0.150 to -0.050) |" in comment(clone, "main", "")
    assert "| main | another test, not compared |  |  |" in comment(clone, "main", "")


@pytest.mark.parametrize(("change", "code"), [(better, 0), (hand_edited, 1)])
def test_the_command_exits_with_0_or_1(clone: Path, change: Callable[[Path], None], code: int) -> None:
    """0 if no check stops the merge, 1 if one does; the last line counts."""
    change(clone)
    done = attune(clone, "gate", "--against", "origin/main")
    assert done.returncode == code, done.stdout + done.stderr
    assert ("ATT020  FAILED" in done.stdout) == bool(code)
    last = r"attune gate: (none|2) of \d+ checks stops? the merge(: ATT019, ATT020)?(; warnings: (ATT\d+ \w+(, )?)+)?"
    assert re.fullmatch(last, done.stdout.splitlines()[-1])


def test_a_project_behind_a_symbolic_link_is_judged_as_itself(clone: Path, tmp_path: Path) -> None:
    """Gate and comment give the same text and code for the link and for the folder that it leads to."""
    hand_edited(clone)
    (tmp_path / "links").mkdir()
    (tmp_path / "links" / "project").symlink_to(clone)
    for command, code in (("gate", 1), ("comment", 0)):
        itself, linked = (attune(tmp_path, command, f, "--against", "origin/main") for f in ("clone", "links/project"))
        assert itself.returncode == linked.returncode == code, linked.stderr
        assert linked.stdout == itself.stdout


def test_a_gate_that_cannot_tell_exits_with_2_and_one_line(finished: Path, clone: Path, tmp_path: Path) -> None:
    """No project, no such revision, no git repository."""
    for folder, words in ((clone, r"revision 'nope': not found here"), (finished, "no git repository")):
        with pytest.raises(BadInput, match=words):
            judge_project(folder, "nope")
    done = attune(tmp_path, "gate", "none")
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    (clone / "dvc.lock").write_text("stages: {\n")
    with pytest.raises(BadInput, match="DVC says"):
        judge_project(clone, "")


def test_the_comment_has_the_verdict_and_all_changes(clone: Path) -> None:
    """Verdict, failed rules, deltas against base and main, figures, parameters, links; the same text each time."""
    worse(clone)
    miniature.change(clone, {"gate": {"min_delta": 0.001}, "report": {"n_examples": 3}})
    text = comment(clone, "origin/main", "https://host.example/o/r/blob/abc/metrics")
    before, here = (
        json.loads(t)["ndcg@10"] for t in (git(clone, "show", "main:metrics/tuned.json"), read_tuned(clone))
    )
    assert f"\n| ndcg@10 | {before:.4g} | {here:.4g} | {here - before:+.3g} | worse |" in text
    assert text.startswith("## attune: this model must not be merged")
    assert "| ATT022 | **failed** | regression | tuned ndcg@10 -0.1" in text
    delta = json.loads((clone / "metrics/report.json").read_text())["paired"]["recall@10"]["delta"]
    assert re.search(rf"\| base \| {re.escape(f'{delta:+.3f}')} \(", text)
    assert re.search(r"\| origin/main \| -0\.1\d+ \(-0\.\d+ to -0\.\d+\) \| -0\.1", text)
    assert "| advanced.yaml | gate.min\\_delta | 0 | 0.001 |" in text
    assert "[report.md](https://host.example/o/r/blob/abc/metrics/report.md)" in text
    assert comment(clone, "origin/main", "") == comment(clone, "origin/main", "")


def test_a_limit_loosened_in_the_same_change_is_named_on_top(clone: Path) -> None:
    """In small letters in the gate's output, and above the comment's table of passed checks."""
    worse(clone)
    miniature.change(clone, {"gate": {"margin": 0.5}})
    words = "looser limits: looser here than at main: gate.margin 0.02 → 0.5; merge only if that is meant"
    done = attune(clone, "gate", "--against", "main")
    assert re.search(rf"ATT024  failed +{words}", done.stdout), done.stdout + done.stderr
    assert re.search(r"checks stops the merge: ATT019; warnings: .*ATT024 failed", done.stdout)  # the report has to run
    text = comment(clone, "main", "")
    assert text.index("gate.margin 0.02 → 0.5") < text.index("stops the merge: ATT019")


def read_tuned(folder: Path) -> str:
    return (folder / "metrics" / "tuned.json").read_text()


def test_the_comment_of_a_clone_without_the_revisions_says_so(clone: Path) -> None:
    """It names the revision and how to get it; the report's verdict needs none."""
    text = comment(clone, "nope", "")
    assert "## attune: cannot tell whether this model may be merged" in text
    assert "revision 'nope': not found here; git fetch it" in text
    assert json.loads((clone / "metrics/report.json").read_text())["verdict"].partition(":")[0] in text


def test_texts_in_parameters_do_not_become_markup(clone: Path) -> None:
    """In a cell: no second column, no tag, link, emphasis or code, and nobody is mentioned."""
    miniature.change(clone, {"release": {"limits": "a|b\n<img> [x](y) *z* `c` @you recall@10"}})
    cell = "a\\|b &lt;img&gt; \\[x\\](y) \\*z\\* \\`c\\` @\u200byou recall@10"
    assert f"| advanced.yaml | release.limits |  | {cell} |" in comment(clone, "main", "")


def test_a_comment_that_would_be_refused_for_its_length_is_cut(clone: Path) -> None:
    """The table of all figures goes; the rest stays."""
    file = clone / "metrics" / "judged.json"
    file.write_text(json.dumps({f"figure{i}.ndcg@10": 0.1 for i in range(3000)}))
    git(clone, "commit", "-qam", "figures")
    file.write_text(json.dumps({f"figure{i}.ndcg@10": 0.2 for i in range(3000)}))
    text = comment(clone, "HEAD", "")
    assert len(text) <= MAX_CHARACTERS + 1 and "Too many figures changed" in text and "near-domain tasks" in text


def test_a_system_is_found_at_a_revision_under_its_former_name(clone: Path) -> None:
    """The int8 file was onnx_int8 once: a loss against such a revision is found, and no loss passes."""
    git(clone, "mv", "metrics/plots/groups/tuned_int8.csv", "metrics/plots/groups/onnx_int8.csv")
    git(clone, "commit", "-qm", "former name")
    shutil.copy(clone / "metrics/plots/groups/onnx_int8.csv", clone / "metrics/plots/groups/tuned_int8.csv")
    assert "ATT022" not in failing(clone, "HEAD")
    shift(clone, "tuned_int8", -0.15)
    assert re.search(r"tuned_int8 ndcg@10 -0\.1\d+", failing(clone, "HEAD")["ATT022"])
