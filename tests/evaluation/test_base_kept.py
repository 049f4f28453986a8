"""The choice of merge in words: what ships, what came next and why not, what was tried, and what dev leaves to gain."""

from pathlib import Path
from typing import Any

import polars as pl
import pytest
from checkout import is_attunes_own
from page_inputs import MERGE_CSV, MERGED, RATES_CSV, TRAINED
from shipped_params import PANEL

from attune.errors import BadInput
from attune.evaluation.checks.catalogue import RETIRED, catalogue, findings
from attune.evaluation.checks.facts import Facts
from attune.evaluation.checks.limits import GateParams
from attune.evaluation.checks.loosened import loosened
from attune.evaluation.checks.training import base_kept
from attune.evaluation.report.choice import candidate_words, choice_of, looks_of_training, room, ships, tried
from attune.evaluation.report.panels import base_on_dev, by_checkpoint, interpolation_points, rate_probes
from attune.evaluation.scoring.measures import MEASURES
from attune.stage import load_params
from attune.tables import QRELS, scores_columns, write
from attune.tuning.curve import BASE, Candidate

LIMITS = load_params(GateParams, "gate", PANEL)
ADAPTER = {"is_identity": False, "dev_ndcg@10": 0.45, "base_dev_ndcg@10": 0.4, "gain_standard_error": 0.02}
BASE_KEPT = MERGED | {"step": 0, "share": 0.0, "dev_ndcg@10": 0.5, "gain_standard_error": 0.0}
LAST = {key: value for key, value in MERGED.items() if not key.startswith("next_")}
LAST |= {"keep": "last", "step": 20, "share": 1.0, "dev_ndcg@10": 0.6, "gain_standard_error": 0.02, "n_candidates": 1}


def read_csvs(folder: Path) -> tuple[list[dict[str, Any]], list[dict[str, Any]], list[dict[str, Any]]]:
    """Returns candidates, checkpoints and rates of the hand-made files."""
    (folder / "merge.csv").write_text(MERGE_CSV)
    (folder / "rates.csv").write_text(RATES_CSV)
    points = interpolation_points(folder / "merge.csv")
    return points, by_checkpoint(points), rate_probes(folder / "rates.csv")


@pytest.mark.parametrize(
    ("candidate", "words"),
    [
        (BASE, "base"),
        (Candidate(1480, 1, 1.0), "step 1,480 with all of its weights"),
        (Candidate(40, 1, 0.25), "step 40 at share 0.25"),
        (Candidate(40, 3, 1.0), "the average of 3 checkpoints up to step 40 with all of its weights"),
        (Candidate(40, 2, 0.5), "the average of 2 checkpoints up to step 40 at share 0.5"),
    ],
)
def test_candidates_are_named_in_words(candidate: Candidate, words: str) -> None:
    """Step, number of averaged checkpoints and share; base has none of them."""
    assert candidate_words(candidate) == words


@pytest.mark.parametrize(
    ("reason", "end"),
    [
        ("", "no better on dev."),
        ("within noise", "its lead over base is within one standard error."),
        ("general text", "it keeps less than merge.min_retention of base's nDCG@10 on general text."),
        ("near domain", "it keeps less than merge.min_near_domain of base's nDCG@10 on a near-domain task."),
    ],
)
def test_the_reason_against_the_next_candidate_is_given(reason: str, end: str) -> None:
    """Each reason of merge.json in words, where a candidate ships and where base does."""
    assert ships(MERGED | {"next_reason": reason}).endswith(f"(+0.210, standard error 0.011): {end}")
    kept = ships(BASE_KEPT | {"next_dev_ndcg@10": 0.71 if reason else 0.49, "next_reason": reason})
    assert kept.startswith("Base ships, with nDCG@10 0.500 on dev: no other of 6 candidates was taken. ")
    assert kept.endswith(end)


def test_without_a_next_candidate_there_is_no_sentence_on_one() -> None:
    """Where base was the only other candidate."""
    alone = "Step 10 at share 0.5 ships, one of 6 candidates: nDCG@10 0.720 on dev against base's 0.500 (+0.220, "
    alone += "standard error 0.010)."
    assert ships({key: value for key, value in MERGED.items() if not key.startswith("next_")}) == alone
    assert ships(MERGED | {"next_step": None}) == alone


def test_a_gain_given_up_for_a_smaller_share_is_named() -> None:
    """The next one is better on dev, and no floor is against it."""
    better = MERGED | {"next_dev_ndcg@10": 0.725, "next_reason": "", "next_n_averaged": 1, "next_share": 1.0}
    assert ships(better).endswith(
        " Step 20 with all of its weights came next, with nDCG@10 0.725 on dev against base's 0.500 (+0.225, standard "
        "error 0.011): a smaller share keeps merge.min_gain_kept of its gain."
    )


def test_one_cluster_of_dev_queries_has_no_standard_error() -> None:
    """Its errors are missing in merge.json: no sentence gives one, and a lead is not called a standard error's."""
    one = BASE_KEPT | {"next_reason": "within noise"}
    del one["next_standard_error"], one["gain_standard_error"]
    words = "(+0.210; one cluster of dev queries: cannot tell): its lead over base may be chance."
    assert ships(one).endswith(words) and "standard error" not in ships(one)
    last = {key: value for key, value in LAST.items() if key != "gain_standard_error"}
    assert ships(last).endswith("(+0.100; one cluster of dev queries: cannot tell).")


def test_the_last_checkpoint_is_not_called_chosen() -> None:
    """With merge.keep: last there is one candidate, and no other one came next."""
    assert ships(LAST) == (
        "Step 20 with all of its weights ships, as merge.keep: last asks, unchosen: nDCG@10 0.600 on dev against "
        "base's 0.500 (+0.100, standard error 0.020)."
    )


def test_candidates_are_listed_by_checkpoint_and_share(tmp_path: Path) -> None:
    """A row per checkpoint, then per average; a share that an average lacks is empty; the shipped share is named."""
    _, checkpoints, rates = read_csvs(tmp_path)
    assert [(row["words"], row["dev"], row["chosen"]) for row in checkpoints] == [
        ("step 10", {0.5: 0.72, 1.0: 0.7}, 0.5),
        ("step 20", {0.5: 0.69, 1.0: 0.6}, None),
        ("the average of 2 checkpoints up to step 20", {0.5: 0.71, 1.0: None}, None),
    ]
    assert rates == [
        {"learning_rate": 2e-5, "n_steps": 4, "dev": {0.5: 0.51, 1.0: 0.52}, "is_chosen": False},
        {"learning_rate": 5e-5, "n_steps": 4, "dev": {0.5: 0.56, 1.0: 0.55}, "is_chosen": True},
    ]


@pytest.mark.parametrize(
    ("n_restarts", "words"),
    [
        (0, "Training: 20 steps at rate 5e-05. Cand"),
        (1, "at rate 5e-05, a third of the rate before, after a restart. Cand"),
        (2, "at rate 5e-05, a third of the rate before, after 2 restarts. Cand"),
    ],
)
def test_what_was_tried_is_counted(tmp_path: Path, n_restarts: int, words: str) -> None:
    """Probed rates with their best dev score, steps, restarts, checkpoints, averages and shares."""
    _, checkpoints, rates = read_csvs(tmp_path)
    said = tried(TRAINED | {"n_restarts": n_restarts}, rates, checkpoints)
    assert said.startswith("Rates, with their best nDCG@10 on dev after 4 steps: 2e-05 (0.520), 5e-05 (0.560). ")
    assert words in said and said.endswith("Candidates: 2 checkpoints and 1 average, each at shares 0.5, 1.")
    for kind, ending in (
        ("rows", "no better on dev"),
        ("batch", "no better on dev"),
        ("none", "better on dev, and counts"),
    ):
        twice = TRAINED | {"is_tried_without_negatives": True, "hard_negatives": kind}
        assert f"run without hard negatives was tried: {ending}. Cand" in tried(twice, rates, checkpoints)
    assert tried(TRAINED, [], checkpoints[:1]) == (
        "Training: 20 steps at rate 5e-05. Candidates: 1 checkpoint, each at shares 0.5, 1."
    )


@pytest.mark.parametrize(
    ("recall", "ndcg", "beginning", "words"),
    [
        (0.99, 0.93, "Little room: ", "; the first ten ranks hold little else to gain."),
        (0.95, 0.6, "Room for training: ", "finds 95.0% of the answers among the first 100 documents, but ranks them"),
        (0.6, 0.4, "Room beyond the ranking: ", "another encoder (base.model), longer texts (base.max_length) or more"),
    ],
)
def test_dev_says_which_room_base_leaves(recall: float, ndcg: float, beginning: str, words: str) -> None:
    """Answers that rank high, that are found and rank low, that are not found: each names its next step."""
    said = room({"recall@100": recall, "ndcg@10": ndcg, "n_answers": 100.0})
    assert said.startswith(beginning) and words in said


@pytest.mark.parametrize(
    ("dev", "beginning"),
    [
        # a query of a thousand answers finds few of them among a hundred documents and may rank ten of them first
        ({"recall@100": 0.1, "ndcg@10": 0.95}, "Little room: on dev, over the whole corpus, base has nDCG@10 0.950; "),
        ({"recall@100": 0.1, "ndcg@10": 0.3}, "Room: on dev, over the whole corpus, base has nDCG@10 0.300. "),
        ({"recall@100": 0.4, "ndcg@10": 0.3, "n_answers": 101.0}, "Room: on dev, over the whole corpus, base has nDCG"),
    ],
)
def test_answers_beyond_a_hundred_are_not_called_unfound(dev: dict[str, float], beginning: str) -> None:
    """Where recall@100 lies below nDCG@10, or half of the queries have more answers than it can count."""
    said = room(dev)
    assert said.startswith(beginning)
    assert "found" not in said and "finds" not in said and "of the answers" not in said


def test_the_room_is_that_of_base_on_dev(tmp_path: Path) -> None:
    """Means over the queries of dev, not those of test."""
    rows = [("a", "dev", 1.0, 0.5), ("b", "dev", 0.8, 0.3), ("c", "test", 0.0, 0.0)]
    table = pl.DataFrame(rows, schema=["query_id", "split", "recall@100", "ndcg@10"], orient="row")
    columns = scores_columns(MEASURES)
    zeros = [pl.lit(0.0).alias(name) for name in columns if name not in table.columns]
    write(table.with_columns(zeros).select(list(columns)), tmp_path / "base/scores.parquet", columns)
    assert base_on_dev(tmp_path) == pytest.approx({"recall@100": 0.9, "ndcg@10": 0.4})


def test_the_answers_of_a_query_are_counted_on_dev(tmp_path: Path) -> None:
    """The median over the scored queries; documents judged irrelevant do not count."""
    columns = scores_columns(MEASURES)
    scores = pl.DataFrame({"query_id": ["a", "b", "c"], "split": ["dev"] * 3})
    zeros = [pl.lit(0.0).alias(name) for name in columns if name not in scores.columns]
    write(scores.with_columns(zeros), tmp_path / "runs/base/scores.parquet", columns)
    answers = [*(("a", f"d{i}", 1) for i in range(200)), *(("b", f"d{i}", 1) for i in range(3)), ("c", "d0", 2)]
    judged = [*answers, ("b", "d9", 0), *(("unscored", f"d{i}", 1) for i in range(300))]
    write(pl.DataFrame(judged, schema=QRELS, orient="row"), tmp_path / "splits/dev/qrels.parquet", QRELS)
    assert base_on_dev(tmp_path / "runs", tmp_path / "splits")["n_answers"] == 3


def test_looks_that_chose_the_training_are_counted(tmp_path: Path) -> None:
    """Each probed rate at each share, and each checkpoint and share of other runs; none where the rate was given."""
    rates = read_csvs(tmp_path)[2]
    assert looks_of_training({"n_discarded_scores": 16}, rates) == 20
    assert looks_of_training({}, rates) == 4
    assert looks_of_training({}, []) == 0


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({}, " has nDCG@10 0.450 on dev against base's 0.400 (+0.050, standard error 0.020)."),
        (
            {"gain_standard_error": None},
            " has nDCG@10 0.450 on dev against base's 0.400 (+0.050; one cluster of dev queries",
        ),
        ({"is_identity": True}, ""),
    ],
)
def test_where_base_is_kept_the_adapter_is_named(tmp_path: Path, changes: dict[str, object], words: str) -> None:
    """With its gain on dev, as it needs no other encoder; not where it is the identity."""
    _, checkpoints, rates = read_csvs(tmp_path)
    dev = {"recall@100": 0.9, "ndcg@10": 0.4}
    room = choice_of(BASE_KEPT, TRAINED, ADAPTER | changes, rates, checkpoints, dev)["room"]
    assert words in room and ("models/adapter" in room) == bool(words)


def test_only_base_kept_is_explained(tmp_path: Path) -> None:
    """Trials and room are empty where a candidate ships, and where nothing was trained."""
    _, checkpoints, rates = read_csvs(tmp_path)
    dev = {"recall@100": 0.9, "ndcg@10": 0.4}
    kept = choice_of(BASE_KEPT, TRAINED, ADAPTER, rates, checkpoints, dev)
    assert kept["is_base_kept"] and "nDCG@10 0.400 and finds 90.0% of the answers" in kept["room"] and kept["tried"]
    shipped = choice_of(MERGED, TRAINED, ADAPTER, rates, checkpoints, dev)
    assert (shipped["is_base_kept"], shipped["tried"], shipped["room"]) == (False, "", "")
    untrained = choice_of(BASE_KEPT, {"n_steps": 0}, ADAPTER, [], [], dev)
    assert (untrained["is_base_kept"], untrained["tried"], untrained["learning_rate"]) == (False, "", None)


@pytest.mark.parametrize(
    ("merge", "n_steps", "status", "words"),
    [
        (MERGED, 20, "passed", "Step 10 at share 0.5 ships, one of 6 candidates: nDCG@10 0.720 on dev"),
        (LAST, 20, "passed", "Step 20 with all of its weights ships, as merge.keep: last asks, unchosen: nDCG@10"),
        (BASE_KEPT, 20, "failed", "Base ships, with nDCG@10 0.500 on dev: no other of 6 candidates was taken."),
        (BASE_KEPT, 0, "not applicable", "nothing to judge here"),
        ({"share": 0.8}, 20, "failed", "metrics/merge.json has no step; run `dvc repro`"),
    ],
)
def test_base_kept_is_a_warning(merge: dict[str, Any], n_steps: int, status: str, words: str) -> None:
    """It fails where training ran and base ships, and never stops a merge."""
    facts = Facts({"merge": merge, "train": {"n_steps": n_steps}})
    (found,) = findings(facts, LIMITS, ["metrics"], [base_kept])
    assert (found.check.code, found.status, found.is_blocking) == ("ATT043", status, False)
    assert found.sentence.startswith(words)


@pytest.mark.parametrize(("code", "floor"), [("ATT012", "min_retention"), ("ATT013", "min_near_domain")])
def test_a_retired_code_is_refused_with_its_reason(code: str, floor: str) -> None:
    """One line that says what became of the check and what to do; no check has the code again."""
    ignoring = LIMITS.model_copy(update={"ignore": {code: "known since May"}})
    with pytest.raises(BadInput) as caught:
        findings(Facts(), ignoring, [])
    line = str(caught.value)
    assert line == f"gate.ignore: {code} is retired: ATT044 judges merge.{floor}; remove it from gate.ignore"
    assert code in RETIRED and code not in [each.code for each in catalogue()]


@pytest.mark.skipif(not is_attunes_own(), reason="a checkout without attune's pages")
def test_every_retired_code_is_told_on_the_page_of_the_gate() -> None:
    """docs/gate.md names what is retired by hand."""
    page = (Path(__file__).resolve().parents[2] / "docs/gate.md").read_text()
    told = page.partition("Retired codes are ")[2].partition("`gate.ignore`")[0]
    assert all(code in told for code in RETIRED)


class Revision:
    """A revision that holds params.yaml alone."""

    name = "main"
    commit = "0" * 40

    def __init__(self, text: str) -> None:
        self.text = text

    def read(self, path: str) -> str | None:
        """Returns params.yaml."""
        return self.text if path == "params.yaml" else None

    def paths(self, folder: str, suffix: str) -> list[str]:
        """No other file."""
        return []


@pytest.mark.parametrize(
    ("there", "here", "is_looser"),
    [
        ("{}", "merge: {keep: last}", True),
        ("merge: {keep: best}", "merge: {keep: last}", True),
        ("train: {keep: best}", "merge: {keep: last}", True),
        ("train: {keep: last}", "merge: {keep: last}", False),
        ("merge: {keep: last}", "merge: {keep: best}", False),
        ("{}", "merge: {keep: best}", False),
    ],
)
def test_keeping_the_last_checkpoint_is_looser(there: str, here: str, is_looser: bool) -> None:
    """It heeds neither dev nor a floor; earlier revisions had the knob in section train."""
    facts = Facts(read=lambda path: here if path == "params.yaml" else None, revision=Revision(there))
    (outcome,) = loosened.judge(facts, LIMITS)
    assert (outcome.status == "failed") == is_looser
    assert ("merge.keep best → last" in outcome.sentence) == is_looser
