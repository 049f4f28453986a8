"""How well dev chooses an encoder: rankings of encoders by small corpora against the ranking by the whole allowed one.

Encoders are the candidates of the first seed of round r1 (base, and each checkpoint at each share of its weights), and
those of --encoders (other runs). Each is scored on the dev queries, by the code that chooses among candidates, among
dev's own documents alone, among these and a sample of train's documents (--sizes), and among all documents that dev may
see. The tables show how the orders of encoders agree (Spearman, Kendall), and what is lost in the last corpus by
choosing in another one.

    python -m bench.parts.dev_choice [--folder DIR] [--shares 0.5 1] [--sizes 0 500] [--encoders DIR ...]

Reads models/base, models/rounds, data/prepared and data/splits of a finished pipeline. Each encoder encodes the allowed
corpus once: about two minutes for the default data on two cores. --documents N allows at most N of train's, to try it.
"""

import argparse
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from scipy.stats import kendalltau, spearmanr
from sentence_transformers import SentenceTransformer
from tqdm import tqdm

from attune.encoding.encoders import best_precision, load_torch
from attune.errors import BadInput
from attune.retrieval.passages import read_passages
from attune.stage import fail, load_params
from attune.tables import CORPUS, DEV_SCORES, DOCUMENT_IDS, full_texts, read
from attune.tuning.candidates import read_sample
from attune.tuning.dev import RetrievalScorer, RetrievalTask, read_dev
from attune.tuning.interpolation import Interpolation, read_change
from attune.tuning.training.recipe import TrainParams
from bench.section import ROOT, table


class Agreement(NamedTuple):
    """How a corpus orders encoders, against the reference corpus.

    Attributes:
        chosen: number of the encoder that scores best; of equal ones the first.
        loss: best score in the reference corpus less the chosen encoder's there.
        spearman: rank correlation of the scores; nan where one corpus does not tell encoders apart.
        kendall: Kendall's tau-b of the scores; nan likewise.
    """

    chosen: int
    loss: float
    spearman: float
    kendall: float


def agreement(scores: Sequence[float], reference: Sequence[float]) -> Agreement:
    """Compares the scores of encoders in a corpus with those in the reference corpus, encoder by encoder."""
    chosen = scores.index(max(scores))
    can_rank = len({*scores}) > 1 and len({*reference}) > 1
    spearman, kendall = (
        float(measure(scores, reference).statistic) if can_rank else float("nan") for measure in (spearmanr, kendalltau)
    )
    return Agreement(chosen, max(reference) - reference[chosen], spearman, kendall)


def dev_tasks(folder: Path, sizes: Sequence[int], documents: int | None) -> dict[str, RetrievalTask]:
    """Returns dev's retrieval tasks from the smallest corpus to the whole allowed one, by a name for the table."""
    corpus = read(folder / "data/prepared/corpus.parquet", CORPUS)
    texts = dict(zip(corpus["document_id"], full_texts(corpus), strict=True))
    if read_passages(folder / "data/prepared", corpus).is_cut:
        raise BadInput(
            f"{folder}: documents are read in passages, expected whole ones; set prepare.passages.tokens to 0"
        )
    train_documents = folder / "data/splits/train/documents.parquet"
    whole = min(read(train_documents, DOCUMENT_IDS).height, documents or corpus.height)
    names = {size: f"dev's own + {size}" if size else "dev's own" for size in sorted({*sizes}) if size < whole}
    return {
        f"{name}: {len(task.corpus):,}": task
        for size, name in {**names, whole: "all allowed"}.items()
        for task in [read_dev(folder / "data/splits/dev", texts, train_documents, size)]
    }


def candidates(folder: Path, shares: Sequence[float] | None) -> list[tuple[int, float]]:
    """Returns step and share of each candidate in a seed's folder, base first: (0, 0).

    Args:
        folder: of the seed's candidates.
        shares: those that are taken beside the base; None for all.
    """
    scored = read(folder / "scores.parquet", DEV_SCORES).select("step", "share").unique().sort("step", "share").rows()
    return [(step, share) for step, share in scored if not share or shares is None or share in shares]


def encoders(
    folder: Path, base: Path, places: Sequence[tuple[int, float]], others: Sequence[Path]
) -> Iterator[tuple[str, SentenceTransformer]]:
    """Yields the encoders by a name for the table; the next one may overwrite the weights of the last."""
    between = Interpolation(base)
    for step, share in places:
        name = f"step {step} at share {share:g}" if share else "base"
        yield name, between.at(read_change(folder / f"{step}.safetensors") if share else {}, share)
    for path in others:
        yield path.name, load_torch(path)


def scores_by_task(
    model: SentenceTransformer,
    tasks: Mapping[str, RetrievalTask],
    scorers: Mapping[str, RetrievalScorer],
    documents: Mapping[str, str],
) -> list[float]:
    """Returns nDCG@10 of an encoder on each task; the documents, which all tasks are drawn from, are encoded once."""
    row_of = {document_id: row for row, document_id in enumerate(documents)}
    embeddings = next(iter(scorers.values())).embed_documents(model, list(documents.values()))
    return [
        float(scorer(model, embeddings[[row_of[id_] for id_ in tasks[name].corpus]]).mean())
        for name, scorer in scorers.items()
    ]


def measure(options: argparse.Namespace) -> None:
    """Scores every encoder on every task, and prints the scores and the agreement with the largest corpus."""
    params = load_params(TrainParams, "train", options.folder / "params.yaml")
    torch.set_num_threads(params.machine.threads)
    of_seed = options.folder / "models/rounds/r1/candidates" / str(params.seed)
    places = candidates(of_seed, options.shares)
    n_encoders = len(places) + len(options.encoders)
    if n_encoders < 2:
        raise BadInput(f"--shares, --encoders: got {n_encoders} encoders, expected 2 or more to choose from")
    sizes = options.sizes or [0, read_sample(options.folder / "models/rounds/r1")]
    tasks = dev_tasks(options.folder, sizes, options.documents)
    *_, largest = tasks.values()
    precision = best_precision() if params.machine.precision == "auto" else params.machine.precision
    scorers = {name: RetrievalScorer(task, precision) for name, task in tasks.items()}
    models = encoders(of_seed, options.folder / "models/base", places, options.encoders)
    scores = {
        name: scores_by_task(model, tasks, scorers, largest.corpus)
        for name, model in tqdm(models, desc="encoders", total=n_encoders, disable=None)
    }
    print(f"nDCG@10 on {len(largest.queries)} dev queries, {precision}, by corpus (its documents):\n")
    print(table(["encoder", *tasks], [[name, *(f"{score:.4f}" for score in row)] for name, row in scores.items()]))
    names, columns = list(scores), list(zip(*scores.values(), strict=True))
    rows = []
    for name, column in zip(tasks, columns, strict=True):
        own = agreement(column, columns[-1])
        rows.append([name, names[own.chosen], f"{own.loss:.4f}", f"{own.spearman:.3f}", f"{own.kendall:.3f}"])
    print(f"\n{table(['corpus', 'chosen', 'nDCG@10 lost by it', 'Spearman', 'Kendall'], rows)}")


def main() -> None:
    """Parses the options and prints the tables."""
    parser = argparse.ArgumentParser(description="how well dev chooses an encoder, by the size of the searched corpus")
    parser.add_argument("--folder", type=Path, default=ROOT)
    parser.add_argument("--shares", type=float, nargs="*", help="of the candidates; all of them by default")
    parser.add_argument("--encoders", type=Path, nargs="*", default=[], help="more sentence-transformers folders")
    parser.add_argument(
        "--sizes", type=int, nargs="+", help="sampled documents; 0 and as many as stage train took by default"
    )
    parser.add_argument("--documents", type=int, help="at most so many of train's documents are allowed, to try it")
    options = parser.parse_args()
    if missing := [path for path in options.encoders if not (path / "modules.json").is_file()]:
        parser.error(f"--encoders: {missing[0]} has no modules.json, expected a sentence-transformers folder")
    try:
        measure(options)
    except (BadInput, OSError) as error:
        fail("dev_choice", error)


if __name__ == "__main__":
    main()
