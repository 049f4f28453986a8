"""The report's figures and verdicts follow from runs and receipts, on data small enough to check by hand."""

import html
import json
import re
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from markdown_it import MarkdownIt
from page_inputs import (
    ADAPTED,
    BASE,
    CURVED,
    LABELS_CSV,
    MERGE_CSV,
    MERGED,
    RATES_CSV,
    STORED,
    TRAINED,
    TUNED,
    ranking,
)
from prepared_tables import filled
from ruamel.yaml import YAML
from shipped_params import PANEL

from attune.errors import BadInput
from attune.evaluation.page.cpu import cpu_class
from attune.evaluation.page.provenance import NOT_RUN
from attune.evaluation.report.examples import largest_changes
from attune.evaluation.report.judged import JudgedShare, sample_hash, write_judged
from attune.evaluation.report.markdown import p_value, plain
from attune.evaluation.report.summary import SCORES, SEED_SCORES
from attune.evaluation.report.verdict import HeadlineResult, too_few, verdict
from attune.evaluation.report.ways import SCORED
from attune.evaluation.scoring.measures import MEASURES, measure
from attune.evaluation.statistics.power import Sensitivity
from attune.evaluation.statistics.significance import Comparison, Interval, compare, compare_seeds
from attune.evaluation.statistics.slices import traits_of
from attune.stage import call, write_json
from attune.stages.report import RECEIPTS, ReportParams, report
from attune.stages.seeds import values_on_test
from attune.tables import (
    CLUSTERED_QUERIES,
    CORPUS,
    LEAKS,
    NEGATIVE_SAMPLE,
    NEGATIVES,
    QRELS,
    RUN,
    SPLIT_QUERIES,
    read,
    write,
)

ROOT = Path(__file__).resolve().parents[2]


PARAMS = ReportParams(
    headline="recall@10",
    seed=0,
    power=0.8,
    n_bins=2,
    n_names=3,
    min_slice_queries=3,
    max_slice_loss=0.05,
    n_examples=2,
    holes=True,
    max_characters=140,
    min_carried_share=0.25,
    max_dev_decline=0.02,
)

# base ships, as the lead of the next candidate may be chance
BASE_KEPT = MERGED | {"step": 0, "share": 0.0, "dev_ndcg@10": 0.5, "gain_standard_error": 0.0}
BASE_KEPT |= {"n_candidates": 4, "next_step": 10, "next_n_averaged": 1, "next_share": 0.5, "next_dev_ndcg@10": 0.503}
BASE_KEPT |= {"next_reason": "within noise", "next_standard_error": 0.006}
BASE_KEPT_CSV = """step,n_averaged,share,dev_ndcg@10,se,general_ndcg@10,near_domain_ndcg@10,is_chosen,is_next
0,1,0.0,0.5,0.0,0.9,,true,false
10,1,0.5,0.503,0.006,0.88,,false,true
10,1,1.0,0.48,0.012,,,false,false
10,2,0.5,0.502,0.006,,,false,false
"""
NASTY = "<script>alert(1)</script> | `a`\n# b [c](d)"


@dataclass(frozen=True)
class Case:
    """Outputs of the earlier stages, on disk."""

    root: Path

    def write_system(self, system: str, ranks: list[int]) -> None:
        """A run of ten documents in which query i finds its document i at the given rank."""
        n = len(ranks)
        rows = np.array([ranking(i, rank) for i, rank in enumerate(ranks)])
        values = measure(rows, np.array([(i, i, 1) for i in range(n)]))
        ids = [f"q{i}" for i in range(n)]
        scores = pl.DataFrame({"query_id": ids, "split": ["test"] * n} | values)
        dev = scores.with_columns(query_id="dev" + pl.col("query_id"), split=pl.lit("dev"))
        train = scores.head(1).with_columns(query_id=pl.lit("q8"), split=pl.lit("train"))
        train = train.with_columns(pl.lit(0.5 if ranks == BASE else 0.9).alias("ndcg@10"))
        write(pl.concat([dev, scores, train]), self.root / f"runs/{system}/scores.parquet", SCORES)
        queries = {"query_id": dev["query_id"], "cluster_id": dev["query_id"]}
        write(filled(queries, SPLIT_QUERIES), self.root / "splits/dev/queries.parquet", SPLIT_QUERIES)
        if system == "tuned":
            self.write_seeds(scores)
        run = [
            (ids[i], rank + 1, f"d{d}", 1 - rank / 16)
            for i, row in enumerate(rows)
            for rank, d in enumerate(row)
            if d >= 0
        ]
        write(pl.DataFrame(run, schema=RUN, orient="row"), self.root / f"runs/{system}/run.parquet", RUN)
        means = {name: float(column.mean()) for name, column in values.items()}
        self.write_receipt(
            system,
            means
            | {"n_queries": n, "n_documents": 20, "dev_recall@10": 0.5, "dev_ndcg@10": 0.4 if ranks == BASE else 0.6}
            | {"train_ndcg@10": 0.5 if ranks == BASE else 0.9},
        )

    def write_seeds(self, *scores: pl.DataFrame) -> None:
        """The scores of each seed's encoder on test, the first one's those of tuned."""
        frames = [frame.select(pl.lit(13 + n).cast(pl.Int64).alias("seed"), *SCORES) for n, frame in enumerate(scores)]
        write(pl.concat(frames), self.root / "seeds/scores.parquet", SEED_SCORES)

    def write_receipt(self, name: str, figures: dict[str, Any]) -> None:
        """Figures of a stage, as JSON."""
        path = self.root / f"metrics/{name}.json"
        path.parent.mkdir(exist_ok=True, parents=True)
        write_json(path, figures)

    def write_plot(self, name: str, text: str) -> None:
        """A csv file of metrics/plots."""
        path = self.root / f"metrics/plots/{name}.csv"
        path.parent.mkdir(exist_ok=True, parents=True)
        path.write_text(text)

    def write_side_effects(self) -> None:
        """Receipts and tables of probe, drift, merge, train, seeds, and the sample of mine."""
        for system, gain in (("base", 0.0), ("tuned", 0.05)):
            task = {"general_similarity.spearman": 0.8 + gain, "general_similarity.n": 330}
            self.write_receipt(f"probe/{system}", task | {"general_similarity.counts_as": "general"})
            self.write_receipt(f"static/{system}", {"is_off": False})
        moved = {f"{texts}.cka": value for texts, value in (("domain", 0.7), ("general", 0.9))}
        cost = {"largest_cost": 0.05, "largest_cost_of": "general_similarity.spearman", "is_reindex_needed": True}
        self.write_receipt("drift", cost | moved | {"is_drifted": False, "verdict": "Not drifted. The space moved."})
        self.write_receipt("merge", MERGED)
        self.write_receipt("query_adapter", ADAPTED)
        self.write_receipt("calibrate", {"is_off": True})
        self.write_receipt("storage", STORED)
        self.write_receipt("curve", CURVED)
        self.write_plot("labels", LABELS_CSV)
        self.write_plot("merge", MERGE_CSV)
        self.write_plot("rates", RATES_CSV)
        self.write_plot("training", "seed,step,loss,dev_ndcg@10\n13,0,,0.5\n13,10,0.9,0.7\n13,20,0.8,0.6\n21,0,,0.1\n")
        each = {f"{key}_{m}": 0.25 for key in ("mean", "sd", "delta", "ci_low", "ci_high") for m in MEASURES}
        self.write_receipt("seeds", {"n_seeds": 1} | each)
        sample = {name: ["x"] for name, kind in NEGATIVE_SAMPLE.items() if kind == pl.String}
        sample |= {"text": [f"wish {NASTY}"], "source": ["dense"], "positive_score": [0.61], "negative_score": [0.52]}
        write(pl.DataFrame(sample).select(list(NEGATIVE_SAMPLE)), self.root / "mined/sample.parquet", NEGATIVE_SAMPLE)

    def write_raw(self, n: int = 8, group: Callable[[int], str] = lambda _: "") -> None:
        """The queries as collect leaves them, with the user's groups."""
        (self.root / "raw").mkdir(exist_ok=True)
        queries = [{"_id": f"q{i}", "text": f"query {i}", "group": group(i), "stratum": ""} for i in range(n)]
        documents = [{"_id": "d0", "title": "", "text": "body"}]
        for name, rows in (("queries", queries), ("corpus", documents)):
            (self.root / f"raw/{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))

    def write_queries(self, columns: dict[str, list[str]], clusters: list[str] | None = None) -> None:
        """The test queries as prepare and split leave them; without clusters each is one of its own."""
        table = filled({"cluster_id": clusters or columns["query_id"]} | columns, CLUSTERED_QUERIES)
        write(table, self.root / "prepared/queries.parquet", CLUSTERED_QUERIES)
        write(table.select(list(SPLIT_QUERIES)), self.root / "splits/test/queries.parquet", SPLIT_QUERIES)

    def write_exported(self) -> None:
        """The manifest of the exported folder, and the versions of the libraries."""
        (self.root / "exported").mkdir()
        graph = {"onnx/model.onnx": {"sha256": "ab" * 32, "size": 90_322_828}}
        write_json(self.root / "exported/manifest.json", {"base": {"model": "some/encoder"}, "files": graph})
        (self.root / "libraries.yaml").write_text("numpy: 2.4.6\n")

    def write_leaks(self, *leaks: tuple[str, str, str, str, float]) -> None:
        """Leaks as stage audit leaves them."""
        write(pl.DataFrame(leaks, LEAKS, orient="row"), self.root / "audit/leaks.parquet", LEAKS)

    def paths(self) -> dict[str, Path]:
        """Arguments of the stage: inputs and outputs."""
        inputs = {
            name: self.root / name
            for name in (
                "runs",
                "seeds",
                "raw",
                "prepared",
                "splits",
                "audit",
                "mined",
                "champion",
                "metrics",
                "exported",
            )
        }
        inputs["libraries"] = self.root / "libraries.yaml"
        outs = {"out": "report.json", "markdown": "report.md", "page": "report.html"}
        outs |= {name: f"plots/{name}.csv" for name in ("comparisons", "slices")}
        outs |= {"choices": "choices.json", "plotted_choices": "plots/choices.csv"}
        return inputs | {name: self.root / "metrics" / file for name, file in outs.items()}

    def report(self, params: ReportParams = PARAMS) -> tuple[dict[str, Any], str]:
        """Runs the stage; returns report.json and report.md."""
        call(report, params, None, round="r1", **self.paths())
        return json.loads(self.paths()["out"].read_text()), self.paths()["markdown"].read_text()


@pytest.fixture
def case(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Case:
    """Eight test queries and 20 documents, scored by every system; the page stays empty to save its charts."""
    monkeypatch.setattr("attune.stages.report.html_page", lambda *_, **__: "<!DOCTYPE html>")
    return make_case(tmp_path)


def make_case(tmp_path: Path) -> Case:
    """Writes the outputs of all earlier stages."""
    case = Case(tmp_path)
    for system in SCORED:
        case.write_system(system, BASE if system in ("bm25", "base") else TUNED)
    leaks = {f"{split}_leaks.{kind}": 0 for split in ("dev", "test") for kind in ("exact_queries", "near_documents")}
    sizes = {"n_train_queries": 1000, "n_dev_queries": 8, "n_test_queries": 8}
    case.write_receipt("split", sizes | leaks)
    semantic = {f"{split}_leaks.semantic_queries": 0 for split in ("dev", "test")}
    held_out = {f"n_{split}_{what}": 8 for what in ("queries", "documents") for split in ("dev", "test")}
    case.write_receipt("audit", held_out | semantic)
    case.write_leaks()
    case.write_receipt("prepare", {"n_documents": 20, "n_queries_merged": 3})
    case.write_receipt("mine", {"n_too_close": 59775, "scored_by": "cosine"})
    case.write_receipt("train", TRAINED)
    case.write_side_effects()
    case.write_receipt("champion", {"name": ""})
    case.write_receipt("export", {"fp32_min_cosine": 0.999999})
    case.write_receipt("base_encoder", {"model": "some/encoder", "revision": "0123abcd"})
    case.write_exported()
    titles = [NASTY if i == 3 else "" if i == 4 else f"title_{i}" for i in range(20)]
    texts = [f"body of {i}" for i in range(20)]
    documents = {"document_id": [f"d{i}" for i in range(20)], "title": titles, "text": texts}
    write(filled(documents, CORPUS), tmp_path / "prepared/corpus.parquet", CORPUS)
    case.write_queries({"query_id": [f"q{i}" for i in range(8)], "text": [f"- query {i} {NASTY}" for i in range(8)]})
    qrels = pl.DataFrame([(f"q{i}", f"d{i}", 1) for i in range(8)], schema=QRELS, orient="row")
    write(qrels, tmp_path / "splits/test/qrels.parquet", QRELS)
    write(pl.DataFrame(schema=NEGATIVES), tmp_path / "splits/test/negatives.parquet", NEGATIVES)
    trained = {"query_id": ["q8"], "text": ["query of train"]}
    write(filled(trained, SPLIT_QUERIES), tmp_path / "splits/train/queries.parquet", SPLIT_QUERIES)
    dev_answers = qrels.with_columns(query_id="dev" + pl.col("query_id"))
    write(dev_answers, tmp_path / "splits/dev/qrels.parquet", QRELS)
    answer = pl.DataFrame([("q8", "d8", 1)], schema=QRELS, orient="row")
    write(answer, tmp_path / "splits/train/qrels.parquet", QRELS)
    case.write_raw()
    return case


def test_report_json_names_the_class_of_cpu(case: Case) -> None:
    """Scores are equal to the byte on one class only, so `attune same` reads it there."""
    assert case.report()[0]["cpu"] == cpu_class()


def test_the_headline_figures_come_first_in_report_json(case: Case) -> None:
    """baseline_recall@10, tuned_recall@10, mrr and delta, with hand-computed values."""
    summary, _ = case.report()
    assert list(summary)[:4] == ["baseline_recall@10", "tuned_recall@10", "mrr", "delta"]
    assert summary["baseline_recall@10"] == 6 / 8
    assert summary["tuned_recall@10"] == 7 / 8
    assert summary["mrr"] == pytest.approx((5 * 1 + 1 / 3 + 1 / 2 + 0) / 8, abs=1e-6)
    assert summary["delta"] == "+0.12"


def test_side_effects_are_reported_with_their_figures(case: Case) -> None:
    """Tasks, drift, candidates, rates and a sample of negatives show the figures of their stages."""
    _, page = case.report()
    assert "**Not drifted. The space moved.**" in page
    assert "| general similarity | spearman | 330 | 0.800 | 0.850 | +0.050 |" in page
    assert "| dev | ndcg@10 |  | 0.400 | 0.600 | +0.200 |" in page
    assert "| cka | 0.700 | 0.900 |" in page
    assert "| checkpoint | share 0.5 | share 1 |\n|---|---:|---:|\n| step 10 | **0.720** | 0.700 |\n" in page
    assert "| the average of 2 checkpoints up to step 20 | 0.710 | – |" in page
    assert "| step 10 at share 0.5 | 0.720 | 0.010 | 0.890 | 0.600 | yes |" in page
    assert "| base | 0.500 | 0.000 | 0.900 | 0.590 |  |" in page
    assert "| 5e-05 | 4 | 0.560 | 0.550 | yes |" in page and "and cannot be\ncompared with these." in page
    assert re.search(r"\| wish .* \| x \| 0\.610 \| x \| 0\.520 \| dense \|", page)
    assert "## Seeds" not in page


def test_judged_negatives_are_reported_with_their_interval_and_their_judge(case: Case) -> None:
    """The share of answers among mined negatives; who judged is shown as text; another mining's estimate as such."""
    summary, page = case.report()
    assert summary["judged_negatives"] == {} and "Nobody has judged how many mined negatives are answers" in page
    sample = sample_hash(read(case.root / "mined/sample.parquet", NEGATIVE_SAMPLE))
    share = JudgedShare(f"Ann {NASTY}", 100, 12, 0, 0.12, 0.0636, 0.2002, 0.95, sample)
    write_judged(case.root / "metrics", {"r1": share, "old": replace(share, sample_sha256="ab")})
    summary, page = case.report()
    assert summary["judged_negatives"]["r1"]["ci_high"] == 0.2002 and summary["judged_negatives"]["r1"]["is_current"]
    sentence = "Mined negatives that are answers: 12.0%, 95% interval 6.4% to 20.0%; 12 of 100 drawn at random"
    assert page.count(sentence) >= 2 and "Nobody has judged" not in page and "<script>" not in page
    assert page.count("An earlier mining was judged, not this one.") == 1
    assert not summary["judged_negatives"]["old"]["is_current"]


def test_holes_are_reported_and_the_verdict_says_that_it_depends_on_them(case: Case) -> None:
    """Eight queries cannot tell whatever is judged; a gain on a hundred hangs on what base alone finds."""
    summary, page = case.report()
    holes = summary["holes"]
    assert holes["judged@10"]["base"] == pytest.approx(6 / 8 / 10) and holes["judged_since"] == {}
    assert holes["measures"]["recall@10"]["judged"] == pytest.approx(1 / 8)
    assert holes["measures"]["recall@10"]["worst"] < 0 < holes["measures"]["recall@10"]["best"]
    assert not holes["depends"] and "Unjudged documents." not in page
    assert holes["condensed"] == {} and "(condensed lists, bpref) are left out" in page
    many(case)
    summary, page = case.report()
    assert summary["holes"]["depends"] and summary["holes"]["turn"]["n_answers"] > 0
    assert f"**Unjudged documents.** {plain(summary['holes']['sentence'], None)}" in page.split("## ")[0]


def test_holes_are_left_out_by_their_key(tmp_path: Path) -> None:
    """`report.holes: false`: no figures, no section of report or page, no entry among the page's sections."""
    case = make_case(tmp_path)
    summary, written = case.report(PARAMS.model_copy(update={"holes": False}))
    page = case.paths()["page"].read_text()
    assert summary["holes"] == {} and "Holes in the judgments" not in written + page and 'href="#holes"' not in page
    assert "Holes in the judgments" in case.report()[1] and 'href="#holes"' in case.paths()["page"].read_text()


def test_judged_documents_alone_are_compared_where_some_were_refused(case: Case) -> None:
    """With a refused document for every query; what `attune judge --test` added is counted beside it."""
    refused = pl.DataFrame([(f"q{i}", "d15") for i in range(8)], NEGATIVES, orient="row")
    write(refused, case.root / "splits/test/negatives.parquet", NEGATIVES)
    counts = {"n_judged_rows": 12, "n_judged_rows_left_out": 1, "n_judged_answers": 2}
    counts |= {"n_judged_answers_outside_test": 1, "n_judged_no_answers": 9}
    case.write_receipt("split", json.loads((case.root / "metrics/split.json").read_text()) | counts)
    summary, page = case.report()
    assert set(summary["holes"]["condensed"]) == {"recall@10", "mrr@10", "ndcg@10", "bpref"}
    assert summary["holes"]["judged_since"] == counts
    assert "| bpref | " in page and "Of 12 judgments added by `attune judge --test`, 2 documents are answers" in page


def test_the_report_begins_with_what_was_new_and_what_it_costs_next_door(case: Case) -> None:
    """Protocol in words, near-domain tasks base beside tuned with their losses; no claim beyond what was measured."""
    summary, page = case.report()
    new = "new queries and new documents (split.by: cluster)"
    assert summary["new_in_test"] == new and f"Test: {new}." in page.partition("## Test scores")[0]
    assert summary["near_domain"] == {} and summary["verdict"].endswith(" Measured on queries like these only.")
    judged = {"measure": "ndcg@10", "cost": 0.068, "cost_low": 0.03, "cost_high": 0.104, "detectable_cost": 0.05}
    judged |= {"p_holm": 0.0123}
    for system, score in (("base", 0.589), ("tuned", 0.549)):
        known = json.loads((case.root / f"metrics/probe/{system}.json").read_text())
        task = {"near_as_indexed.ndcg@10": score, "near_as_indexed.n": 500, "near_as_indexed.counts_as": "near_domain"}
        case.write_receipt(f"probe/{system}", known | task)
    drift = json.loads((case.root / "metrics/drift.json").read_text())
    losses = {f"near_as_indexed.{key}": value for key, value in (judged | {"is_counted": True}).items()}
    case.write_receipt("drift", drift | losses)
    split = json.loads((case.root / "metrics/split.json").read_text())
    case.write_receipt("split", split | {"by": "query", "test_known_answers_share": 0.598})
    summary, page = case.report()
    headline = page.partition("## Test scores")[0]
    assert summary["near_domain"] == {"near_as_indexed": {"n": 500, "base": 0.589, "tuned": 0.549}}
    assert "| near as indexed | 500 | 0.589 | 0.549 | -0.040 |" in headline
    assert "training knew 60% of the answers from other queries, and mined" in headline and "by: query" in headline
    assert "like these only" not in summary["verdict"]
    assert "| -0.040 | near domain | +6.8%, +3.0% to +10.4% | p = 0.012 | 5.0% |" in page
    assert "Documents are shared on purpose (`split.by: query`)" in page


def test_test_queries_in_another_style_are_queries_like_these(case: Case) -> None:
    """near_as_searched has the same queries, so the verdict rests on them alone still."""
    for system in ("base", "tuned"):
        known = json.loads((case.root / f"metrics/probe/{system}.json").read_text())
        task = {"near_as_searched.ndcg@10": 0.5, "near_as_searched.n": 9, "near_as_searched.counts_as": "near_domain"}
        case.write_receipt(f"probe/{system}", known | task)
    summary, _ = case.report()
    assert "near_as_searched" in summary["near_domain"]
    assert summary["verdict"].endswith(" Measured on queries like these only, as given and as rewritten by rules.")


def test_the_report_names_what_ships_and_what_came_next(case: Case) -> None:
    """Step, share, gain on dev with its standard error, and why the next one was not taken; nothing on base kept."""
    summary, page = case.report()
    sentence = (
        "Step 10 at share 0.5 ships, one of 6 candidates: nDCG@10 0.720 on dev against base's 0.500 (+0.220, standard "
        "error 0.010). The average of 2 checkpoints up to step 20 at share 0.5 came next, with nDCG@10 0.710 on dev "
        "against base's 0.500 (+0.210, standard error 0.011): it keeps less than merge.min_near_domain of base's "
        "nDCG@10 on a near-domain task."
    )
    assert summary["choice"]["sentence"] == sentence and "No change, explained" not in page
    assert (summary["choice"]["shipped"], summary["choice"]["is_base_kept"]) == ("step 10 at share 0.5", False)
    assert summary["checks"]["ATT043"]["status"] == "passed"


def test_base_kept_after_a_training_is_explained(case: Case) -> None:
    """Rates, steps, candidates, the best of them with the reason, and what dev says about the room."""
    case.write_receipt("merge", BASE_KEPT)
    case.write_plot("merge", BASE_KEPT_CSV)
    case.write_receipt("train", TRAINED | {"n_restarts": 1})
    summary, page = case.report()
    explained = page.partition("No change, explained:")[2].partition("Stage `merge`")[0]
    assert summary["choice"]["sentence"] == (
        "Base ships, with nDCG@10 0.500 on dev: no other of 4 candidates was taken. Step 10 at share 0.5 came next, "
        "with nDCG@10 0.503 on dev against base's 0.500 (+0.003, standard error 0.006): its lead over base is within "
        "one standard error."
    )
    assert (
        "- Rates, with their best nDCG@10 on dev after 4 steps: 2e-05 (0.520), 5e-05 (0.560). Training: 20 steps at "
        "rate 5e-05, a third of the rate before, after a restart. Candidates: 1 checkpoint and 1 average, each at "
        "shares 0.5, 1." in explained
    )
    # six of eight answers are found among the first ten documents, and two are not ranked at all
    ndcg = read(case.root / "runs/base/scores.parquet", SCORES).filter(pl.col("split") == "dev")["ndcg@10"].mean()
    assert f"base has nDCG@10 {ndcg:.3f} and finds 75.0% of the answers among the first 100 documents" in explained
    assert summary["checks"]["ATT043"]["status"] == "failed" and summary["choice"]["is_base_kept"]


def test_a_baseline_run_has_nothing_to_explain(case: Case) -> None:
    """With train.epochs 0 base is the only candidate, no rate was probed, and the check does not apply."""
    case.write_receipt("merge", {key: value for key, value in BASE_KEPT.items() if not key.startswith("next_")})
    case.write_plot("merge", "\n".join(BASE_KEPT_CSV.splitlines()[:2]) + "\n")
    case.write_plot("rates", RATES_CSV.splitlines()[0] + "\n")
    case.write_plot("training", "seed,step,loss,dev_ndcg@10\n13,0,,0.5\n")
    case.write_receipt("train", {"n_steps": 0, "kept_step": 0})
    summary, page = case.report()
    assert summary["choice"]["sentence"] == "Base ships: nothing was trained (train.epochs: 0)."
    assert "No change, explained" not in page and "Learning rates" not in page
    assert "| base | 0.500 | 0.000 | 0.900 |  | yes |" in page
    assert summary["checks"]["ATT043"]["status"] == "not applicable"


def test_a_later_round_shows_its_own_training(case: Case) -> None:
    """Curve, kept step and rejected candidates are those of the shipped round, not of round 1."""
    case.write_receipt("train_r2", TRAINED | {"n_steps": 7})
    case.write_receipt("mine_r2", {"n_too_close": 1234, "scored_by": "cosine"})
    case.write_plot("training_r2", "seed,step,loss,dev_ndcg@10\n13,0,,0.5\n13,10,0.9,0.8\n")
    case.write_plot("rates_r2", RATES_CSV.replace("5e-05", "0.0002"))
    call(report, PARAMS, None, round="r2", **case.paths())
    page = case.paths()["markdown"].read_text()
    assert "Dev was best at the end of training" in page
    assert "| too close | 1,234 |" in page and "59,775" not in page
    assert "| 0.0002 | 4 | 0.560 | 0.550 | yes |" in page and "| 5e-05 | 4 |" not in page


def test_several_seeds_have_a_table(case: Case) -> None:
    """With more than one seed the report lists mean, deviation, delta and interval by measure."""
    each = {f"{key}_{m}": 0.25 for key in ("mean", "sd", "delta", "ci_low", "ci_high") for m in MEASURES}
    case.write_receipt("seeds", {"n_seeds": 3} | each)
    _, page = case.report()
    assert "3 training runs with different seeds" in page
    assert "| ndcg@10 | 0.250 | 0.250 | +0.250 | +0.250 to +0.250 |" in page


def test_overfitting_is_judged_on_the_first_seed(case: Case) -> None:
    """Gains are those of the scored queries, of which eight decide nothing; what is kept is merge's choice."""
    summary, page = case.report()
    overfitting = summary["overfitting"]
    assert overfitting["train_gain"] == pytest.approx(0.4)
    assert overfitting["dev_gain"] == overfitting["test_gain"] == summary["paired"]["ndcg@10"]["delta"]
    assert (overfitting["status"], overfitting["is_overfitted"]) == ("cannot tell", False)
    assert "to 0.600 while the training loss kept falling; step 10 at share 0.5 is kept." in overfitting["verdict"]
    assert overfitting["verdict"] in page
    assert (overfitting["n_candidates"], overfitting["n_looks"]) == (6, 10)  # two rates were probed at two shares each
    case.write_receipt("merge", MERGED | {"step": 20, "share": 1.0})
    verdict = case.report()[0]["overfitting"]["verdict"]
    assert "and step 20 with all of its weights is kept; that may be chance." in verdict


@pytest.mark.parametrize(
    ("file", "text", "message"),
    [
        ("merge", "share,is_chosen\n0.1,true\n", "merge.csv: no column step, n_averaged, dev_ndcg@10, se, general"),
        ("rates", "share,is_chosen\n0.1,true\n", "rates.csv: no column learning_rate, n_steps, dev_ndcg@10;"),
        ("training", "seed,step\n1,2\n", "training.csv: no column loss, dev_ndcg@10;"),
    ],
)
def test_a_curve_without_its_columns_is_bad_input(case: Case, file: str, text: str, message: str) -> None:
    """The message names file and missing columns."""
    case.write_plot(file, text)
    with pytest.raises(BadInput, match=message):
        case.report()


def test_probes_of_different_tasks_are_not_compared(case: Case) -> None:
    """Base and tuned must have been probed with the same tasks."""
    case.write_receipt("probe/tuned", {"other.spearman": 0.1, "other.n": 3})
    with pytest.raises(BadInput, match="probed with different tasks"):
        case.report()


def test_the_report_takes_clusters_of_test_queries_whole(case: Case) -> None:
    """Eight queries in four clusters: intervals, p-values and smallest detectable difference are those of clusters."""
    ids, clusters = [f"q{i}" for i in range(8)], np.array([0, 0, 1, 1, 2, 2, 3, 3])
    case.write_queries({"query_id": ids, "text": ids}, [f"c{cluster}" for cluster in clusters])
    summary, _ = case.report()
    assert (summary["n_test_queries"], summary["n_test_clusters"]) == (8, 4)
    base, tuned = (read(case.root / f"runs/{name}/scores.parquet", SCORES) for name in ("base", "tuned"))
    sides = [
        {name: side.filter(pl.col("split") == "test").sort("query_id")[name].to_numpy() for name in MEASURES}
        for side in (base, tuned)
    ]
    for name, expected in compare(*sides, clusters, 0.95).items():
        shown = {key: summary["paired"][name][key] for key in asdict(expected)}
        assert shown == pytest.approx(asdict(expected), abs=1e-6)
    whole = Sensitivity.of(sides[1]["recall@10"] - sides[0]["recall@10"], clusters, 0.95, 0.8, len(MEASURES))
    assert summary["smallest_detectable"] == pytest.approx(whole.smallest_detectable, abs=1e-6)
    case.write_leaks(("test", "exact_queries", "q0", "q5", 1.0))
    clean = case.report()[0]["without_leaks"]["lexical"]
    of_clean = [{"m": side["recall@10"][1:]} for side in sides]
    expected = compare(*of_clean, clusters[1:], 0.95)["m"]
    assert (clean["ci_low"], clean["ci_high"]) == pytest.approx((expected.ci_low, expected.ci_high), abs=1e-6)


def test_the_size_of_a_cluster_is_that_in_prepared_whatever_the_split_keeps_whole(case: Case) -> None:
    """By query, the split's clusters have names of their own; the slices are by clusters of queries and documents."""
    ids = [f"q{i}" for i in range(8)]
    case.write_queries({"query_id": ids, "text": ids}, ["a"] * 3 + ["b"] * 5)
    kept_whole = filled({"query_id": ids, "text": ids, "cluster_id": [f"like {id_}" for id_ in ids]}, SPLIT_QUERIES)
    write(kept_whole, case.root / "splits/test/queries.parquet", SPLIT_QUERIES)
    traits = traits_of(ids[::-1], case.root / "raw", case.root / "prepared", case.root / "splits")
    assert list(traits["cluster size"]) == [5] * 5 + [3] * 3
    assert case.report()[0]["n_test_clusters"] == 8


def test_clean_queries_of_one_cluster_are_not_compared(case: Case) -> None:
    """Seven queries in one cluster and a leaked eighth: the verdict is Not measurable; scored queries must be known."""
    ids = [f"q{i}" for i in range(8)]
    case.write_queries({"query_id": ids, "text": ids}, ["a"] * 7 + ["b"])
    leak(case, exact_queries=1)
    case.write_leaks(("test", "exact_queries", "q7", "q5", 1.0))
    summary, _ = case.report()
    assert summary["verdict"].startswith("Not measurable: fewer than two clusters of test queries are without leaks")
    assert "ci_low" not in summary["without_leaks"]["lexical"]
    case.write_queries({"query_id": ids[:7], "text": ids[:7]})
    with pytest.raises(BadInput, match=r"test/queries.parquet: lacks 1 scored queries \(first: 'q7'\)"):
        case.report()


def test_scores_are_given_without_the_leaked_queries(case: Case) -> None:
    """q0 leaks by words, q7 through its document, q3 by meaning: they are left out, and each leak is listed."""
    case.write_leaks(
        ("test", "near_queries", "q0", "q5", 0.9),
        ("test", "shared_documents", "d7", "d7", 1.0),
        ("test", "semantic_queries", "q3", "q6", 0.83),
        ("dev", "semantic_queries", "q4", "q6", 0.99),
    )
    summary, page = case.report()
    expected = {"baseline": 4 / 6, "tuned": 1.0}  # of q1 to q6 base misses q3 and q4
    lexical, without = summary["without_leaks"]["lexical"], summary["without_leaks"]["any"]
    assert lexical["n_queries"] == 6 and {k: lexical[k] for k in expected} == pytest.approx(expected, abs=1e-6)
    assert (without["n_queries"], without["baseline"], without["tuned"]) == (5, 0.8, 1.0)
    assert without["ci_low"] <= without["delta"] == 0.2 <= without["ci_high"]
    between = f"{without['ci_low']:+.3f} to {without['ci_high']:+.3f}"
    assert f"| without any leak | 5 | 0.800 | 1.000 | +0.200 | {between} |" in page
    assert "| title\\_7 | title\\_7 | 1.000 |" in page and page.count("| 0.830 |") == 1 and "| 0.990 |" not in page


def test_systems_and_paired_measures_agree(case: Case) -> None:
    """Each delta is the difference of the means, lies in its interval, and its counts sum to the queries."""
    summary, _ = case.report()
    assert list(summary["systems"]) == [*SCORED]
    assert list(summary["paired"]) == list(MEASURES)
    for name, comparison in summary["paired"].items():
        expected = summary["systems"]["tuned"][name] - summary["systems"]["base"][name]
        assert comparison["delta"] == pytest.approx(expected, abs=2e-6)
        assert comparison["ci_low"] <= comparison["delta"] <= comparison["ci_high"]
        assert comparison["wins"] + comparison["ties"] + comparison["losses"] == 8
    mrr = summary["paired"]["mrr@10"]
    assert (mrr["wins"], mrr["ties"], mrr["losses"]) == (6, 1, 1)


def test_a_tuned_model_equal_to_base_on_eight_queries_tells_nothing(case: Case) -> None:
    """As with train.epochs 0, but of eight queries: Cannot tell, every p-value is 1, and there are no examples."""
    for system in SCORED:
        case.write_system(system, BASE)
    summary, page = case.report()
    assert summary["delta"] == "+0.00"
    assert summary["verdict"] == (
        "Cannot tell: tuned scores exactly as base on every query and measure (recall@10 0.750, 95% interval -0.337 to "
        "+0.337 of the change). Measured on queries like these only."
    )
    assert summary["too_few_queries"].startswith("The test set is too small for telling whether recall@10 changed: ")
    assert {comparison["p_value"] for comparison in summary["paired"].values()} == {1}
    assert {comparison["delta"] for comparison in summary["paired"].values()} == {0}
    assert "### Wins" not in page
    assert "### Losses" not in page


def with_seeds(case: Case, *ranks: list[int]) -> None:
    """Writes the scores of tuned, and of other seeds that give the relevant documents these ranks."""
    tuned = read(case.root / "runs/tuned/scores.parquet", SCORES).filter(pl.col("split") == "test")
    for_each = []
    for one in ranks:
        values = measure(
            np.array([ranking(i, rank) for i, rank in enumerate(one)]), np.array([(i, i, 1) for i in range(8)])
        )
        for_each.append(tuned.with_columns(**values))
    case.write_seeds(tuned, *for_each)


def test_the_verdict_gives_both_intervals(case: Case) -> None:
    """The shipped seed gains on two of eight queries and the other loses all: Cannot tell, with both intervals."""
    case.write_system("tuned", [1] * 8)
    with_seeds(case, [0] * 8)
    summary, page = case.report()
    own, interval = summary["paired"]["recall@10"], summary["paired_over_seeds"]["recall@10"]
    assert interval["delta"] == pytest.approx((0.25 - 0.75) / 2)
    assert summary["verdict"].startswith(
        f"Cannot tell: recall@10 went from 0.750 to 1.000 (+0.250, 95% interval {own['ci_low']:+.3f} to "
        f"{own['ci_high']:+.3f}, p = "
    )
    assert (
        "; -0.250 on average over 2 seeds, 95% interval -1.000 to +1.000 over queries and seeds, by t with 1 degree of "
        "freedom for the seeds); " in summary["verdict"]
    )
    assert f"**{summary['verdict']}**" in page


def test_the_interval_over_seeds_is_that_of_stage_seeds(case: Case) -> None:
    """Same draws and same figures as those that the gate uses."""
    with_seeds(case, [1, 1, 2, 0, 4, 1, 1, 3], [2, 1, 1, 1, 0, 1, 3, 0])
    summary, _ = case.report()
    sides = {
        13 + n: table
        for n, table in enumerate(read(case.root / "seeds/scores.parquet", SEED_SCORES).partition_by("seed"))
    }
    base = read(case.root / "runs/base/scores.parquet", SCORES)
    expected = compare_seeds(*values_on_test(sides, base, case.root / "splits/test"), 0.95)
    assert list(summary["paired_over_seeds"]) == list(expected)
    for name, interval in expected.items():
        assert summary["paired_over_seeds"][name] == pytest.approx(asdict(interval), abs=1e-6)


def test_with_one_seed_there_is_no_second_interval(case: Case) -> None:
    """report.json has no comparison over seeds, and the verdict does not mention seeds."""
    summary, _ = case.report()
    assert summary["paired_over_seeds"] == {}
    assert "seeds" not in summary["verdict"]


def test_a_leaking_test_compares_seeds_on_clean_queries(case: Case) -> None:
    """Both seeds find q3 and q4, which leak; on the others the second equals base. So are other systems compared."""
    leak(case, exact_queries=2)
    case.write_leaks(("test", "exact_queries", "q3", "q5", 1.0), ("test", "exact_queries", "q4", "q5", 1.0))
    with_seeds(case, [*BASE[:3], 1, 1, *BASE[5:]])
    summary, _ = case.report()
    assert summary["paired_over_seeds"]["recall@10"]["delta"] == pytest.approx(-1 / 6 / 2, abs=1e-6)
    assert "on average over 2 seeds" in summary["verdict"]
    gains = summary["others"]["adapter"]["recall@10"]
    assert gains["wins"] + gains["ties"] + gains["losses"] == 6


def test_seeds_scored_on_other_queries_are_refused(case: Case) -> None:
    """Every seed must have been scored on the test queries of base."""
    table = read(case.root / "seeds/scores.parquet", SEED_SCORES)
    write(table.filter(pl.col("query_id") != "q3"), case.root / "seeds/scores.parquet", SEED_SCORES)
    with pytest.raises(BadInput, match="base and the seeds were scored on different test queries"):
        case.report()


def test_a_test_with_too_few_queries_is_reported_on_top(case: Case) -> None:
    """Three of eight queries change by 1, 1 and -1: delta .125, about 300 queries needed for nine comparisons."""
    summary, page = case.report()
    test = Sensitivity.of(np.array([1.0, 1, -1, 0, 0, 0, 0, 0]), np.arange(8), 0.95, 0.8, len(MEASURES))
    assert summary["smallest_detectable"] == pytest.approx(test.smallest_detectable, abs=1e-6)
    assert 250 < test.queries_for(0.125) < 400
    warning = summary["too_few_queries"]
    assert warning.startswith(
        "The test set is too small for a change of +0.125 in recall@10: with 8 queries, the test "
    )
    assert warning.endswith(f"About {test.queries_for(0.125)} test queries are needed.")
    assert f"**Warning.** {warning}" in page.split("## ")[0]


@pytest.mark.parametrize(("delta", "is_small"), [(0.0, True), (0.05, True), (-0.05, True), (0.2, False), (-0.2, False)])
def test_the_warning_depends_on_the_size_of_the_change(delta: float, is_small: bool) -> None:
    """100 queries with an error of .03 detect .085 with power 80%: smaller changes are warned of, and none at all."""
    warning = too_few(headline_of(delta - 0.1, delta + 0.1, 0.1, n_comparisons=1))
    assert bool(warning) == is_small
    assert not is_small or "one of 0.085 or more with power 80%" in warning
    assert delta or warning.endswith("test queries are needed to exclude a loss of 0.02.")


def test_a_worse_slice_is_named_on_top_and_in_the_json(case: Case) -> None:
    """Tuning loses the queries of one customer and gains the others; the customer's name is no markup."""
    many(case)
    summary, page = case.report()
    assert summary["verdict"].startswith("Better: ")
    assert summary["n_worse_slices"] == 1
    assert summary["worse_slices"] == f"group: {NASTY}"
    (worse,) = (row for name, row in summary["slices"]["group"].items() if name == NASTY)
    assert worse["n"] == 30 and worse["delta"] < 0 and worse["p_holm"] < 0.05 and worse["high"] < 0
    top = page.split("## ")[0]
    assert "**Significantly worse slices:** *group: &lt;script&gt;" in top
    assert f"({worse['delta']:+.3f} nDCG@10 on 30 queries, " in top
    assert re.search(r"\*\*1 of \d+ slices got significantly worse: group: &lt;script", page)
    assert summary["slice_counts"]["outcome"] == "failed" and summary["slice_counts"]["n_lost"] == 1
    assert worse["outcome"] == "failed" and 0 < worse["detectable"] < 1


def test_the_verdict_quotes_the_corrected_p_value(case: Case) -> None:
    """That of report.json, with the number of comparisons; it has no floor of resamples."""
    many(case)
    summary, page = case.report()
    recall = summary["paired"]["recall@10"]
    assert recall["p_holm"] > recall["p_value"]
    p = p_value(recall["p_holm"])
    words = f"{p}, Holm-corrected for {len(MEASURES)} comparisons). Measured on queries like these only."
    assert summary["verdict"].endswith(words)
    assert recall["p_holm"] < 0.01 and p in page


def many(case: Case) -> None:
    """A hundred test queries of two customers instead of eight of none; as many documents, one relevant to each.

    Tuning loses a third of the thirty queries of one, and finds half of the seventy of the other anew.
    """
    n = 100
    hurt = [i < 30 for i in range(n)]
    for system in SCORED:
        is_base = system in ("bm25", "base")
        ranks = [i % (3 if is_hurt else 2) * 4 for i, is_hurt in enumerate(hurt)]
        case.write_system(system, [1 if h == is_base else rank for h, rank in zip(hurt, ranks, strict=True)])
    ids = [f"q{i}" for i in range(n)]
    case.write_queries({"query_id": ids, "text": [f"query number {i}" for i in range(n)]})
    documents = {"document_id": [f"d{i}" for i in range(n)], "text": [f"body of {i}" for i in range(n)]}
    write(filled(documents, CORPUS), case.root / "prepared/corpus.parquet", CORPUS)
    qrels = pl.DataFrame([(f"q{i}", f"d{i}", 1) for i in range(n)], schema=QRELS, orient="row")
    write(qrels, case.root / "splits/test/qrels.parquet", QRELS)
    case.write_raw(n, lambda i: NASTY if hurt[i] else "other")


def test_csv_files_agree_with_the_report(case: Case) -> None:
    """comparisons.csv and slices.csv hold the figures of report.json and report.md."""
    many(case)
    summary, page = case.report()
    slices = pl.read_csv(case.paths()["slices"])
    assert slices.columns == ["slice", "bin", "n", "base", "tuned", "delta", "low", "high", "p_holm"]
    # the queries are alike in every other trait, and a trait that all share makes no slice
    assert slices["slice"].unique().sort().to_list() == ["group"]
    assert slices.filter(pl.col("bin") == "other").row(0)[2:6] == pytest.approx((70, *side_means(case)), abs=1e-6)
    comparisons = pl.read_csv(case.paths()["comparisons"])
    assert comparisons["task"].unique().to_list() == ["test"]
    assert comparisons["measure"].to_list() == list(MEASURES)
    for row in comparisons.iter_rows(named=True):
        compared = summary["paired"][row["measure"]]
        assert (row["delta"], row["low"], row["high"]) == (compared["delta"], compared["ci_low"], compared["ci_high"])
        of_json = compared["p_value"], compared["p_holm"]
        assert (row["p"], row["p_holm"]) == pytest.approx(of_json, abs=1e-6)  # csv has six decimals
        assert row["smallest_detectable"] == compared["smallest_detectable"]
    base, tuned, delta = side_means(case)
    assert f"| group: other | 70 | {base:.3f} | {tuned:.3f} | {delta:+.3f} | " in page


def side_means(case: Case) -> tuple[float, float, float]:
    """nDCG@10 of base and of tuned, and the difference, of the queries from the 31st on."""
    others = [f"q{i}" for i in range(30, 100)]
    base, tuned = (
        read(case.root / f"runs/{system}/scores.parquet", SCORES)
        .filter(pl.col("query_id").is_in(others))["ndcg@10"]
        .mean()
        for system in ("base", "tuned")
    )
    return base, tuned, tuned - base


def test_paraphrases_are_a_task_and_count_for_holm(case: Case) -> None:
    """Paraphrases have their own comparisons, and Holm's correction counts them."""
    alone, _ = case.report()
    for system in ("base", "tuned"):
        file = case.root / f"runs/{system}/scores.parquet"
        table = read(file, SCORES)
        again = table.filter(pl.col("split") == "test").with_columns(
            query_id="p" + pl.col("query_id"), split=pl.lit("paraphrases")
        )
        write(pl.concat([table, again]), file, SCORES)
    ids = [f"pq{i}" for i in range(8)]
    paraphrases = filled({"query_id": ids, "text": ids, "cluster_id": ids}, SPLIT_QUERIES)
    write(paraphrases, case.root / "splits/paraphrases/queries.parquet", SPLIT_QUERIES)
    summary, page = case.report()
    assert summary["tasks"]["paraphrases"]["mrr@10"]["n"] == 8
    assert summary["tasks"]["paraphrases"]["mrr@10"]["delta"] == summary["paired"]["mrr@10"]["delta"]
    p = {name: report["paired"]["mrr@10"]["p_holm"] for name, report in (("alone", alone), ("both", summary))}
    assert p["alone"] < p["both"] <= 1
    assert "| paraphrases | mrr@10 |" in page and "*paraphrases* are 8 independently worded queries" in page
    assert alone["tasks"] == {}


@pytest.mark.parametrize(
    ("low", "high", "p_holm", "beginning", "end"),
    [
        (0.01, 0.2, 0.0001, "Better: ", "comparisons)."),
        (-0.2, -0.01, 0.05, "Worse: ", "comparisons)."),
        (-0.01, 0.2, 0.0001, "Cannot tell: ", "; the interval contains 0."),
        (0.0, 0.2, 0.0001, "Cannot tell: ", "; the interval contains 0."),
        (0.01, 0.2, 0.1, "Cannot tell: ", "; the corrected p-value is above 0.05."),
        (-0.2, -0.01, 0.051, "Cannot tell: ", "; the corrected p-value is above 0.05."),
        (-0.2, 0.1, 0.5, "Cannot tell: ", "; the interval contains 0 and the corrected p-value is above 0.05."),
        (-0.019, 0.015, 0.5, "No change: ", "comparisons)."),
        (-0.021, 0.015, 0.5, "Cannot tell: ", "; the interval contains 0 and the corrected p-value is above 0.05."),
        (0.001, 0.015, 0.01, "Better: ", "comparisons)."),
    ],
    ids=[
        *("gain", "loss", "around 0", "from 0", "gain, large p", "loss, large p", "neither"),
        *("within the margin", "beyond the margin", "small gain"),
    ],
)
def test_the_verdict_needs_both_the_interval_and_the_corrected_p_value(
    low: float, high: float, p_holm: float, beginning: str, end: str
) -> None:
    """Better or Worse where both exclude chance, No change within the margin of .02; else what is missing."""
    sentence = verdict(headline_of(low, high, p_holm))
    assert sentence.startswith(beginning) and sentence.endswith(end)
    p = "p < 0.001" if p_holm < 0.001 else f"p = {p_holm:.3f}"
    assert f"95% interval {low:+.3f} to {high:+.3f}, {p}, Holm-corrected for 18 comparisons)" in sentence


def headline_of(
    low: float,
    high: float,
    p_holm: float,
    over_seeds: dict[str, Interval] | None = None,
    n_comparisons: int = 18,
) -> HeadlineResult:
    """A result with this interval and corrected p-value of 18 comparisons."""
    comparison = Comparison((low + high) / 2, low, high, p_value=p_holm / 18, wins=20, ties=70, losses=10)
    tuned, sensitivity = 0.5 + comparison.delta, Sensitivity(100, 100, 0.03, 0.95, 0.8, n_comparisons)
    paired, corrected = {"recall@10": comparison}, {"recall@10": p_holm}
    return HeadlineResult(paired, corrected, 0.5, tuned, sensitivity, over_seeds or {}, 2, 0.02)


@pytest.mark.parametrize(
    ("own", "seeds", "beginning", "end"),
    [
        ((0.01, 0.2, 0.001), (0.02, 0.1), "Better: ", "for the seeds)."),
        ((0.01, 0.2, 0.001), (-0.02, 0.1), "Cannot tell: ", "; the interval over seeds contains 0."),
        ((0.01, 0.2, 0.001), (-0.2, -0.01), "Cannot tell: ", "; the interval over seeds lies below 0."),
        ((-0.2, -0.01, 0.001), (0.02, 0.1), "Worse: ", "for the seeds)."),
        ((-0.2, -0.01, 0.001), (-0.2, -0.01), "Worse: ", "for the seeds)."),
        (
            (-0.05, 0.01, 0.6),
            (0.02, 0.1),
            "Cannot tell: ",
            "interval contains 0 and the corrected p-value is above 0.05.",
        ),
        ((-0.01, 0.01, 0.6), (-0.01, 0.01), "No change: ", "for the seeds)."),
        ((-0.01, 0.01, 0.6), (-0.05, 0.01), "Cannot tell: ", "; the interval contains 0"),
    ],
)
def test_what_ships_is_what_is_judged(
    own: tuple[float, float, float], seeds: tuple[float, float], beginning: str, end: str
) -> None:
    """Better needs the shipped encoder and the mean over seeds; Worse is what the shipped encoder is."""
    sentence = verdict(headline_of(*own, {"recall@10": Interval(sum(seeds) / 2, *seeds)}))
    assert sentence.startswith(beginning) and (sentence.endswith(end) or end in sentence)


def test_examples_are_the_largest_changes_of_rank(case: Case) -> None:
    """By reciprocal rank q3 (none to 1) gains most, then q5 (5 to 1); only q7 (4 to none) loses."""
    _, page = case.report()
    wins, losses = page.split("### Wins")[1].split("### Losses")
    assert [line.split()[3] for line in wins.splitlines() if line.startswith("> ")] == ["3", "5"]
    assert [line.split()[3] for line in losses.splitlines() if line.startswith("> ")] == ["7"]
    assert "rank > 10 → 1." in wins
    assert "rank 5 → 1." in wins
    assert "title\\_7: rank 4 → > 10." in losses
    assert "| 1 | title\\_19 | **title\\_5** |" in wins


def test_a_document_without_a_title_is_shown_by_its_text(case: Case) -> None:
    """Its text stands where others have their title."""
    case.write_system("base", [1, 1, 1, 1, 0, 1, 1, 1])
    case.write_system("tuned", [1, 1, 1, 1, 1, 1, 1, 1])
    _, page = case.report()
    assert "**body of 4**" in page


def test_queries_with_equal_changes_are_drawn_by_the_seed() -> None:
    """The same seed draws the same queries, another seed others."""
    qrels = pl.DataFrame([(f"q{i:02}", "d", 1) for i in range(40)], schema=QRELS, orient="row")
    run = pl.DataFrame([(f"q{i:02}", 1, "d", 1.0) for i in range(40)], schema=RUN, orient="row")
    runs = {"base": run.clear(), "tuned": run}
    drawn = [[win["query_id"] for win in largest_changes(runs, qrels, 5, seed)[0]] for seed in (1, 1, 2)]
    assert drawn[0] == drawn[1] != drawn[2]
    assert len(set(drawn[0])) == 5


def test_no_text_of_the_data_becomes_markup(case: Case) -> None:
    """report.md has no HTML and no links but its own; the text is shown unchanged."""
    _, page = case.report()
    tokens = MarkdownIt("commonmark").enable("table").parse(page)
    inner = [child for token in tokens for child in token.children or []]
    assert not [token for token in [*tokens, *inner] if token.type.startswith("html")]
    assert {child.attrs["href"] for child in inner if child.type == "link_open"} == {
        "#overfitting",
        "#vector-sizes",
        "#more-labels",
        "report.json",
        "plots/training.csv",
        "plots/comparisons.csv",
    }
    shown = ["".join(child.content for child in token.children or []) for token in tokens if token.type == "inline"]
    assert " ".join(NASTY.split()) in shown


def test_all_rows_of_a_table_have_equal_length(case: Case) -> None:
    """Each row has as many cells as the head of its table."""
    _, page = case.report()
    tables = [block.splitlines() for block in page.split("\n\n") if block.startswith("|")]
    assert len(tables) >= 8
    for table in tables:
        assert len({line.replace("\\|", "").count("|") for line in table}) == 1


def leak(case: Case, **counts: int) -> None:
    """Changes counts of leaks of test in the receipt of split."""
    audit = json.loads((case.root / "metrics/split.json").read_text())
    case.write_receipt("split", audit | {f"test_leaks.{kind}": n for kind, n in counts.items()})


CLEAN = "None of these queries was used for training or model selection."


def test_a_clean_test_is_called_clean(case: Case) -> None:
    """Leaks of dev from train do not count; without leaks of test the report says that it was unused."""
    split = json.loads((case.root / "metrics/split.json").read_text())
    case.write_receipt("split", split | {"dev_leaks.exact_queries": 3})
    summary, page = case.report()
    assert CLEAN in page
    assert "is also in train or dev" not in page and "also in train or dev" not in summary["verdict"]


def test_the_verdict_of_a_leaking_test_is_of_clean_queries(case: Case) -> None:
    """Tuning gained on q3 and q4 alone, which leak: the verdict on the others comes first."""
    leak(case, exact_queries=2, near_documents=1077)
    case.write_leaks(("test", "exact_queries", "q3", "q5", 1.0), ("test", "exact_queries", "q4", "q5", 1.0))
    summary, page = case.report()
    overlap = "2 exact queries, 1,077 near documents of test are also in train or dev"
    assert summary["verdict"].startswith("Cannot tell: recall@10 went from 1.000 to 0.833 (-0.167, ")
    measured = (
        f"Measured on the 6 of 8 test queries without leaks ({overlap}); "
        "on all 8, recall@10 went from 0.750 to 0.875 (+0.125)."
    )
    saturated = "(base leaves 0.000 to gain): read ndcg@10 and mrr@10 beside it. Measured on queries like these only."
    assert measured in summary["verdict"] and summary["verdict"].endswith(saturated)
    assert summary["paired_without_leaks"]["recall@10"]["losses"] == 1
    assert f"**{summary['verdict']}**" in page
    assert CLEAN not in page


def test_a_fully_leaking_test_has_no_verdict(case: Case) -> None:
    """With fewer than two clean queries the verdict is Not measurable."""
    leak(case, exact_queries=8)
    case.write_leaks(*(("test", "exact_queries", f"q{i}", "q7", 1.0) for i in range(7)))
    summary, _ = case.report()
    assert summary["verdict"].startswith(
        "Not measurable: fewer than two clusters of test queries are without leaks (8 exact"
    )
    assert summary["paired_without_leaks"] == {}


def test_each_leak_is_listed_once(case: Case) -> None:
    """A text that leaks in several ways is listed under the first kind."""
    rows = [(kind, "q0", "q5") for kind in ("exact_queries", "near_queries", "semantic_queries")]
    rows += [("semantic_queries", "q1", "q6"), *((f"{kind}_documents", "d7", "d7") for kind in ("exact", "shared"))]
    case.write_leaks(*(("test", *row, 1.0) for row in rows))
    _, page = case.report()
    shown = re.findall(r"^Most similar leaks of kind \*(.*)\*:", page, re.MULTILINE)
    assert shown == ["shared documents", "exact queries", "semantic queries"]


def test_a_split_without_an_audit_is_refused(case: Case) -> None:
    """Without test_leaks.* in the receipt of split nothing could be overlap of leaks."""
    case.write_receipt("split", {"n_train_queries": 1000, "n_dev_queries": 8, "n_test_queries": 8})
    with pytest.raises(BadInput, match="no test_leaks"):
        case.report()


def test_receipts_and_leaks_are_listed(case: Case) -> None:
    """Figures of split, mine, train and prepare stand in the report."""
    leak(case, near_documents=77)
    audit = json.loads((case.root / "metrics/audit.json").read_text())
    kinds = {"near_forms": 2, "semantic_crossed_queries": 4}
    found = {f"{name}_leaks.{kind}": n for name in ("dev", "test") for kind, n in kinds.items()}
    case.write_receipt("audit", audit | {"n_test_documents": 16} | found)
    _, page = case.report()
    for line in ("| near forms | 2 | 2 | 12.5% |", "| semantic crossed queries | 4 | 4 | 50.0% |"):
        assert line in page
    for line in ("| near documents | 0 | 77 |", "| too close | 59,775 |", "| steps | 20 |", "| queries merged | 3 |"):
        assert line in page


@pytest.mark.parametrize(
    ("share", "words"),
    [
        (0.975, "\n**int8 keeps 97."),
        (0.995, "\nint8 keeps 99."),
        (1.01, "\nint8 keeps 101."),
    ],
)
def test_int8_below_its_floor_is_said_in_bold(
    case: Case, share: float, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The warning is bold below 98% of tuned nDCG@10, a plain sentence above, with enough queries for it."""
    interval = {"ci_low": share - 0.001, "ci_high": share + 0.001}
    monkeypatch.setattr("attune.stages.report.kept_intervals", lambda *_: {"tuned_int8": interval})
    tuned = json.loads((case.root / "metrics/tuned.json").read_text())
    case.write_receipt("tuned_int8", tuned | {"ndcg@10": share * tuned["ndcg@10"]})
    summary, page = case.report()
    assert summary["ndcg@10_kept_share"] == {"tuned_int8": pytest.approx(share, abs=1e-5)}
    assert words in page


def test_eight_queries_cannot_tell_what_int8_keeps(case: Case) -> None:
    """Equal scores of eight queries are no yes: the interval is wide, the sentence bold, the check undecided."""
    summary, page = case.report()
    ends = summary["ndcg@10_kept_interval"]["tuned_int8"]
    assert ends["ci_low"] < 0.9 and ends["ci_high"] > 1.1
    assert summary["checks"]["ATT017"]["status"] == "undecided"
    assert "\n**int8 keeps 100.00%" in page


def test_a_file_that_was_scored_on_other_queries_is_refused(case: Case) -> None:
    """Planted: one test query less; the line names the file and the next step."""
    file = case.root / "runs/tuned_int8/scores.parquet"
    write(read(file, SCORES).filter(pl.col("query_id") != "q7"), file, SCORES)
    with pytest.raises(BadInput, match="tuned and tuned_int8 were scored on different test queries; run `dvc repro`"):
        case.report()


def test_the_same_input_gives_the_same_bytes(case: Case) -> None:
    """report.json, report.md and report.html do not change when the stage runs again."""
    case.report()
    first = [case.paths()[name].read_bytes() for name in ("out", "markdown", "page")]
    case.report()
    assert [case.paths()[name].read_bytes() for name in ("out", "markdown", "page")] == first


def remove(path: Path) -> None:
    """Deletes a file."""
    path.unlink()


def garble(path: Path) -> None:
    """Makes a file invalid JSON."""
    path.write_text("{")


def empty(path: Path) -> None:
    """Removes all figures of a receipt."""
    path.write_text("{}")


@pytest.mark.parametrize("name", RECEIPTS)
@pytest.mark.parametrize(("harm", "message"), [(remove, "not found; run `dvc repro`"), (garble, "not JSON")])
def test_missing_and_damaged_receipts_are_named(
    case: Case, name: str, harm: Callable[[Path], None], message: str
) -> None:
    """The message names the file, and nothing is written."""
    harm(case.root / f"metrics/{name}.json")
    with pytest.raises(BadInput, match=rf"metrics/{name}\.json: {message}"):
        case.report()
    assert not case.paths()["out"].exists()


def test_a_receipt_without_measures_is_named(case: Case) -> None:
    """The message names the file and the first missing measure."""
    empty(case.root / "metrics/tuned_int8.json")
    with pytest.raises(BadInput, match=r"metrics/tuned_int8\.json: no recall@1, "):
        case.report()


def test_systems_scored_on_different_queries_are_refused(case: Case) -> None:
    """Base and tuned must have been scored on the same test queries."""
    case.write_system("tuned", TUNED[:-1])
    with pytest.raises(BadInput, match="base and tuned were scored on different test queries"):
        case.report()


def test_the_page_shows_the_same_report(tmp_path: Path) -> None:
    """report.html holds the verdict, the examples and the graphs of the exported manifest."""
    case = make_case(tmp_path)
    summary, _ = case.report()
    page = case.paths()["page"].read_text(encoding="utf-8")
    assert summary["verdict"].partition(": ")[2] in html.unescape(page)
    assert page.count('<article class="example">') == 4  # two wins, a loss, a mined negative
    assert "ab" * 32 in page and str(case.root / "exported/onnx/model.onnx") in page


def test_a_failed_page_leaves_the_reports_before(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    """All five files are written or none: an unreadable libraries.yaml changes nothing."""
    case.report()
    names = ("out", "markdown", "page", "comparisons", "slices")
    before = [case.paths()[name].read_bytes() for name in names]
    many(case)
    case.paths()["libraries"].write_text("[1, 2]")
    with pytest.raises(BadInput, match=r"libraries\.yaml: got list, expected versions by library"):
        case.report()
    assert [case.paths()[name].read_bytes() for name in names] == before


def test_dvc_tracks_all_parameters_on_the_page() -> None:
    """dvc.yaml tracks exactly the sections that the page shows, in both files, and the file with the versions."""
    stage = YAML(typ="safe").load((ROOT / "dvc.yaml").read_text())["stages"]["report"]
    (tracked,) = (entry for entry in stage["params"] if "params.yaml" in entry)
    for name in ("params.yaml", "advanced.yaml"):
        sections = YAML(typ="safe").load(PANEL.with_name(name).read_text())
        assert set(tracked[name]) == sections.keys() - set(NOT_RUN)
    assert "libraries.yaml" in stage["deps"]
