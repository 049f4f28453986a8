"""What the report's page shows of the runs: each system's ranking of the test queries, and those that changed most."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from attune.evaluation.page.charts import Values, recall_curve
from attune.evaluation.report.examples import largest_changes, tell
from attune.evaluation.scoring.measures import MEASURES
from attune.tables import CLUSTERED_QUERIES, CORPUS, QRELS, RUN, read, scores_columns


@dataclass(frozen=True)
class Rankings:
    """The test queries, their judgments, and each system's run over them."""

    queries: pl.DataFrame
    qrels: pl.DataFrame
    runs: Mapping[str, pl.DataFrame]

    @property
    def depth(self) -> int:
        """The deepest rank that any system filled."""
        return max(int(run["rank"].max() or 0) for run in self.runs.values())  # type: ignore[arg-type]


def read_rankings(runs: Path, test: Path, systems: Sequence[str]) -> Rankings:
    """The runs of these systems, cut to the test queries.

    Raises:
        BadInput: a table is missing or is not what its stage writes.
    """
    queries = read(test / "queries.parquet", CLUSTERED_QUERIES)
    of_test = {
        system: read(runs / system / "run.parquet", RUN).join(queries, on="query_id", how="semi") for system in systems
    }
    return Rankings(queries, read(test / "qrels.parquet", QRELS), of_test)


def recall_curves(rankings: Rankings) -> dict[str, Values]:
    """Each system's mean recall at every depth, (depth,)."""
    relevant = rankings.qrels.filter(pl.col("relevance") > 0)
    sized = relevant.with_columns(n_relevant=pl.len().over("query_id"))
    n_queries = relevant["query_id"].n_unique()
    curves = {}
    for system, run in rankings.runs.items():
        hits = run.join(sized, on=["query_id", "document_id"])
        ranks, n_relevant = (hits[name].cast(pl.Int64).to_numpy() for name in ("rank", "n_relevant"))
        curves[system] = recall_curve(ranks, n_relevant, n_queries, rankings.depth)
    return curves


def before_and_after(runs: Path, measure: str) -> tuple[Values, Values]:
    """The test scores of base and of tuned in one measure, (n_queries,) each, in one order."""
    base, tuned = (
        read(runs / system / "scores.parquet", scores_columns(MEASURES)).filter(pl.col("split") == "test")
        for system in ("base", "tuned")
    )
    paired = base.join(tuned, on="query_id", suffix="_tuned").sort("query_id")
    return paired[measure].to_numpy(), paired[f"{measure}_tuned"].to_numpy()


def examples(rankings: Rankings, corpus: Path, n: int, seed: int) -> dict[str, Any]:
    """The n largest wins and losses as `stories.tell` has them, but with ids for titles; and the documents by id."""
    both = {system: rankings.runs[system] for system in ("base", "tuned")}
    relevant = set(rankings.qrels.filter(pl.col("relevance") > 0).select("query_id", "document_id").iter_rows())
    documents = read(corpus, CORPUS).select("document_id", "title", "text")
    ids = {id_: id_ for id_ in documents["document_id"]}
    queries = dict(rankings.queries.select("query_id", "text").iter_rows())
    wins, losses = (
        [tell(change, both, queries, ids, relevant) for change in side]
        for side in largest_changes(both, rankings.qrels, n, seed)
    )
    shown = {id_ for story in wins + losses for top in story["tops"].values() for id_, _ in top}
    shown |= {story["title"] for story in wins + losses}
    rows = documents.filter(pl.col("document_id").is_in(sorted(shown))).to_dicts()
    return {"wins": wins, "losses": losses, "documents": {row["document_id"]: row for row in rows}}
