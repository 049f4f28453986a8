"""Systems that `attune compare` scores: encoders, BM25, systems with scores of stage evaluate, and TREC runs."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import polars as pl

from attune.cli.compare.encoders import Data
from attune.cli.compare.ranking import DEPTH, Values
from attune.cli.compare.trec import TrecRun, read_run
from attune.cli.compare.vectors import Ready
from attune.errors import BadInput
from attune.evaluation.scoring.judgments import Split
from attune.evaluation.scoring.measures import MEASURES, measure
from attune.retrieval.grouped import document_search
from attune.retrieval.passages import Passages
from attune.runtime.arrays import Int64
from attune.stage import Machine, load_params, sha256_of
from attune.stages.base import BaseParams
from attune.stages.evaluate import SCORES, EvaluateParams, Ranker, best_bm25
from attune.tables import SPLIT_QUERIES, read

BM25 = "bm25"
BYTES = 4  # of a number of a vector


@dataclass(frozen=True)
class Project:
    """The project whose queries decide.

    Attributes:
        prepared: data/prepared.
        splits: data/splits.
        runs: data/runs.
        corpus: documents.
        passages: of the documents.
        dev: queries and judgments.
        machine: threads and precision.
        base: section base.
        max_length: tokens at which all encoders cut texts; None for what base.max_length says.
    """

    prepared: Path
    splits: Path
    runs: Path
    corpus: pl.DataFrame
    passages: Passages
    dev: Split
    machine: Machine
    base: BaseParams
    max_length: int | None

    @property
    def data(self) -> Data:
        """Files that say at how many tokens texts are cut."""
        return Data(self.prepared / "corpus.parquet", self.splits / "train", self.max_length)


@dataclass
class Facts:
    """Facts about a system beside its scores.

    Attributes:
        kind: encoder, run, bm25, or scored by stage evaluate.
        about: of an encoder: model, prompts, maximum length, dimension, engine.
        notes: what a reader must know, one sentence each.
        seconds: to embed a thousand documents; None where it was not measured.
        bytes: of the vectors of a thousand documents, float32; None without vectors.
        is_chosen_on_dev: whether dev has helped to make the system, so that its figures there are too good.
    """

    kind: str
    about: dict[str, Any] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    seconds: float | None = None
    bytes: float | None = None
    is_chosen_on_dev: bool = False


class System(Protocol):
    """Something that ranks the project's documents for its queries."""

    facts: Facts

    def scored(self, split: Split) -> tuple[Values, Int64 | None]:
        """Returns the values of each measure, (n_queries,), and the ranked document rows where they are known."""


class EncoderSystem:
    """Ranks by an encoder's cosine, as stage evaluate does.

    Args:
        load: returns the encoder; called for each split, so that one encoder at a time is in memory.
        project: whose documents are ranked.
    """

    def __init__(self, load: Callable[[], Ready], project: Project) -> None:
        self.facts = Facts("encoder")
        self._load, self._project = load, project

    def scored(self, split: Split) -> tuple[Values, Int64 | None]:
        """Embeds and ranks; fills in the facts."""
        passages, threads = self._project.passages, self._project.machine.threads
        loaded = self._load()
        documents, queries = loaded.embed(passages.texts, split)
        self.facts.about = dict(loaded.about)
        per_text, n_texts = loaded.seconds.per_text, 1000 * len(passages) / self._project.corpus.height
        self.facts.seconds = None if per_text is None else per_text * n_texts
        self.facts.bytes = BYTES * documents.shape[1] * n_texts
        search = document_search(queries, documents, passages.document_rows, threads)
        scores, rows = split.ranked(search, DEPTH)
        return measure(rows, split.judgments, scores), rows


class Bm25System:
    """Ranks by BM25, its language chosen on dev, as stage evaluate does."""

    def __init__(self, project: Project) -> None:
        self.facts = Facts(BM25)
        self._project = project

    @cached_property
    def _ranker(self) -> Ranker:
        params = load_params(EvaluateParams, "evaluate").model_copy(update={"depth": DEPTH})
        ranker, told = best_bm25(params, self._project.corpus, [self._project.dev])
        self.facts.about = {"language": told["language"]}
        return ranker

    def scored(self, split: Split) -> tuple[Values, Int64 | None]:
        """Ranks the split's queries."""
        scores, rows = self._ranker(split)
        return measure(rows, split.judgments, scores), rows


class ScoredSystem:
    """A system of this project with the scores of stage evaluate.

    Raises:
        BadInput: it has not been scored.
    """

    def __init__(self, name: str, project: Project) -> None:
        self.facts = Facts("scored by stage evaluate", is_chosen_on_dev=True)
        self._file = project.runs / name / "scores.parquet"
        if not self._file.is_file():
            raise BadInput(f"{self._file}: not found; run `dvc repro evaluate@{name}`, or leave {name} out")

    def scored(self, split: Split) -> tuple[Values, Int64 | None]:
        """Reads the scores.

        Raises:
            BadInput: they are of other queries.
        """
        table = read(self._file, SCORES).filter(pl.col("split") == split.name).select("query_id", *MEASURES)
        queries = pl.DataFrame({"query_id": split.query_ids})
        joined = queries.join(table, on="query_id", how="left", maintain_order="left")
        if table.height != queries.height or joined[MEASURES[0]].null_count():
            raise BadInput(f"{self._file}: scores of other {split.name} queries than {split.name} has; run `dvc repro`")
        return {name: joined[name].to_numpy() for name in MEASURES}, None


class RunSystem:
    """A finished search engine's run."""

    def __init__(self, file: Path, project: Project) -> None:
        self.facts = Facts("run", {"sha256": sha256_of(file)})
        queries = [read(project.splits / name / "queries.parquet", SPLIT_QUERIES) for name in ("dev", "test")]
        self._run: TrecRun = read_run(file, project.corpus, {id_ for one in queries for id_ in one["query_id"]})
        self._project = project
        if n := self._run.n_unknown_documents:
            self.facts.notes.append(f"{n:,} line(s) of documents that the corpus lacks; they keep their ranks")
        if n := self._run.n_unordered:
            self.facts.notes.append(f"{n:,} queries whose ranks contradict their scores; scores count, as in trec_eval")

    def scored(self, split: Split) -> tuple[Values, Int64 | None]:
        """Scores the run; counts queries without lines, and those with fewer than 100 documents."""
        scores, rows = self._run.ranked(split, self._project.corpus)
        lacking, short = self._run.lacking(split), int(((rows >= 0).sum(axis=1) < DEPTH).sum())
        if lacking:
            self.facts.notes.append(
                f"{lacking:,} of {len(split.texts):,} {split.name} queries have no line; they score 0"
            )
        if short > lacking and min(DEPTH, self._project.corpus.height) == DEPTH:
            n = f"{short - lacking:,} {split.name} queries"
            self.facts.notes.append(f"{n} have fewer than {DEPTH} documents; recall@{DEPTH} is that of what they have")
        return measure(rows, split.judgments, scores), rows
