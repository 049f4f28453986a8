"""Scores systems on dev, and the best two on test."""

from collections.abc import Sequence
from pathlib import Path

from attune.cli.compare.encoders import refuse_length
from attune.cli.compare.ranking import BASE, Values, compare_all, ranked, room_of, switching
from attune.cli.compare.sources import systems_of
from attune.cli.compare.systems import Project
from attune.cli.compare.table import Result
from attune.errors import BadInput
from attune.evaluation.checks.limits import GateParams
from attune.evaluation.scoring.judgments import Split, load_split
from attune.evaluation.statistics.clusters import numbered
from attune.retrieval.passages import read_passages
from attune.runtime.arrays import Int64
from attune.stage import Machine, all_params, load_params
from attune.stages.base import BaseParams
from attune.tables import CORPUS, read

PREPARED, SPLITS, RUNS = Path("data/prepared"), Path("data/splits"), Path("data/runs")
NEEDED = (
    *(PREPARED / name for name in ("corpus.parquet", "passages.parquet")),
    *(SPLITS / split / "queries.parquet" for split in ("train", "dev", "test")),
)


def compare(names: Sequence[str], max_length: int | None) -> Result:
    """Compares systems with base; reads test once, for the two that dev ranks first.

    Args:
        names: systems, beside base; see `sources`.
        max_length: tokens at which encoders cut texts; None for what base.max_length says.

    Raises:
        BadInput: stages collect, prepare and split have not run, a system cannot be scored, or queries are too few.
    """
    refuse_length(max_length)
    project = load_project(max_length)
    systems = systems_of(names, project)
    confidence = load_params(GateParams, "gate").confidence
    if len(systems) < 2:
        raise BadInput(f"attune compare: got {BASE} alone, which is always compared; name another system, such as bm25")
    dev, room = dict[str, Values](), None
    for name, system in systems.items():
        dev[name], rows = system.scored(project.dev)
        if name == BASE and rows is not None:
            room = room_of(dev[name], rows, project.dev.judgments)
    assert room is not None
    order = ranked(dev)
    test_split = load_split(SPLITS / "test", project.corpus)
    clusters = {split.name: clusters_of(split) for split in (project.dev, test_split)}
    test = {name: systems[name].scored(test_split)[0] for name in order[:2]}
    chosen = [name for name, system in systems.items() if system.facts.is_chosen_on_dev]
    comparisons = compare_all(dev, clusters["dev"], test, clusters["test"], chosen, confidence)
    return Result(
        order=order,
        facts={name: system.facts for name, system in systems.items()},
        dev=dev,
        test=test,
        n_clusters={name: int(numbers.max()) + 1 for name, numbers in clusters.items()},
        comparisons=comparisons,
        room=room,
        answers=switching(comparisons, confidence),
        n_documents=project.corpus.height,
        confidence=confidence,
    )


def load_project(max_length: int | None) -> Project:
    """Reads what stages collect, prepare and split have left.

    Raises:
        BadInput: they have not run, or dev has too few queries.
    """
    if missing := [path for path in NEEDED if not path.is_file()]:
        raise BadInput(
            f"{missing[0]}: not found; attune compare needs stages collect, prepare and split: run `dvc repro split`"
        )
    corpus = read(PREPARED / "corpus.parquet", CORPUS)
    dev = load_split(SPLITS / "dev", corpus)
    clusters_of(dev)
    return Project(
        prepared=PREPARED,
        splits=SPLITS,
        runs=RUNS,
        corpus=corpus,
        passages=read_passages(PREPARED, corpus),
        dev=dev,
        machine=Machine.model_validate(all_params()["machine"]),
        base=load_params(BaseParams, "base"),
        max_length=max_length,
    )


def clusters_of(split: Split) -> Int64:
    """Returns the (n_queries,) number of each query's cluster.

    Raises:
        BadInput: there are fewer than two, so that nothing can be tested.
    """
    if split.cluster_ids.n_unique() < 2:
        raise BadInput(
            f"{SPLITS / split.name}: {len(split.texts)} queries in {split.cluster_ids.n_unique()} cluster(s), expected "
            f"2 clusters or more; raise split.{split.name}_share and run `dvc repro split`"
        )
    return numbered(split.cluster_ids.to_list())
