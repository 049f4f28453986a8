"""Compares attune with the plain sentence-transformers recipe: same pairs, same number of optimiser steps.

The plain recipe is the sentence-transformers trainer with MultipleNegativesRankingLoss over in-batch negatives, batches
without duplicates, a linear schedule with 10% warm-up, the base encoder's own dropout, and the last weights. Of the
learning rates 5e-5 and 2e-5 it takes the one with the higher dev nDCG@10 for the first seed. attune runs stages train
and merge with the folder's params.yaml. Both train in bf16 where the hardware has it. Scores are those of dev and test
over the whole corpus, and of STS-B where $ATTUNE_DATASETS holds it. Figures are saved in scratch/bench, so an
interrupted bench resumes.

    python -m bench.parts.recipe [--seeds 13,21,42] [--epochs N] FOLDER...

FOLDER is the project's root or a folder made by `make example`, in which stage mine has run.
"""

import argparse
import json
import os
import shutil
import statistics
import sys
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from scipy.stats import spearmanr
from sentence_transformers import SentenceTransformer

from attune.encoding.encoders import TorchEncoder, best_precision, load_torch
from attune.encoding.scratch import fingerprint
from attune.errors import BadInput
from attune.evaluation.scoring.judgments import load_split
from attune.evaluation.scoring.measures import measure
from attune.retrieval.exact import top_k
from attune.stage import call, fail, load_params
from attune.stages.merge import MergeParams, merge
from attune.stages.train import train
from attune.tables import CORPUS, full_texts, read
from attune.tuning.training.recipe import TrainParams
from bench.rivals import plain_recipe

ROOT = Path(__file__).resolve().parents[2]
STSB = Path(os.environ.get("ATTUNE_DATASETS", ROOT / "../shared/datasets")) / "stsb" / "test.jsonl"
RATES = (5e-5, 2e-5)
BATCH_TOKENS = 4096
# modules that compute the scores
SCORING = ("encoding/encoders", "evaluation/scoring/measures", "retrieval/exact", "evaluation/scoring/judgments")


def scores(model: SentenceTransformer, folder: Path) -> dict[str, float]:
    """Returns nDCG@10 and recall@10 on dev and test, and Spearman's correlation on STS-B's test pairs."""
    encoder = TorchEncoder(model, best_precision(), BATCH_TOKENS)
    corpus = read(folder / "data/prepared/corpus.parquet", CORPUS)
    documents = encoder.encode_document(full_texts(corpus))
    figures = {}
    for name in ("dev", "test"):
        split = load_split(folder / "data/splits" / name, corpus)
        values = measure(top_k(encoder.encode_query(split.texts), documents, 100, 2)[1], split.judgments)
        figures |= {f"{name}_{key}": float(values[key].mean()) for key in ("ndcg@10", "recall@10")}
    if STSB.is_file():
        pairs = [json.loads(line) for line in STSB.read_text(encoding="utf-8").splitlines()]
        first, second = (encoder.encode_document([pair[key] for pair in pairs]) for key in ("sentence1", "sentence2"))
        figures["stsb"] = float(spearmanr((first * second).sum(1), [pair["score"] for pair in pairs]).statistic)
    return figures


def attune(folder: Path, params: TrainParams, seed: int, scratch: Path) -> SentenceTransformer:
    """Runs stages train and merge; returns the encoder."""
    paths = {
        "base": folder / "models/base",
        "prepared": folder / "data/prepared",
        "dev_split": folder / "data/splits/dev",
    }
    one_seed = params.model_copy(update={"seeds": [seed]})
    mined = folder / "data/mined/r1"
    call(
        train,
        one_seed,
        None,
        start=paths["base"],
        mined=mined,
        out=scratch / "r1",
        curve_file=scratch / "train.csv",
        **paths,
    )
    settings = load_params(MergeParams, "merge", folder / "params.yaml")
    outs = {"out": scratch / "tuned", "seeds": scratch / "seeds", "curve_file": scratch / "merge.csv"}
    call(merge, settings, None, rounds=scratch / "r1", first=seed, **paths, **outs)
    return load_torch(scratch / "tuned")


class Bench:
    """Runs of all systems on the data of one folder; the figures of each run are saved."""

    def __init__(self, folder: Path, epochs: int | None) -> None:
        self.folder = folder
        params = load_params(TrainParams, "train", folder / "params.yaml")
        self.params = params.model_copy(update={"epochs": epochs}) if epochs else params
        torch.set_num_threads(self.params.machine.threads)

    def run(self, system: str, seed: int, rate: float = 0.0) -> dict[str, float]:
        """Returns the figures of one run, from scratch/bench if they are saved there."""
        file = ROOT / "scratch" / "bench" / f"{self._key(system, seed, rate)}.json"
        if not file.is_file():
            file.parent.mkdir(parents=True, exist_ok=True)
            scratch = file.with_suffix(".runs")
            shutil.rmtree(scratch, ignore_errors=True)
            match system:
                case "base":
                    model = load_torch(self.folder / "models/base")
                case "plain":
                    model = plain_recipe.plain(self.folder, self.params, seed, rate, scratch)
                case _:
                    model = attune(self.folder, self.params, seed, scratch)
            partial = file.with_suffix(".partial")
            partial.write_text(json.dumps(scores(model, self.folder)))
            partial.replace(file)
            shutil.rmtree(scratch, ignore_errors=True)
        figures: dict[str, float] = json.loads(file.read_text())
        print(f"{self.folder.name or ROOT.name} {system} seed {seed} lr {rate or '-'}: {figures}", file=sys.stderr)
        return figures

    def _key(self, system: str, seed: int, rate: float) -> str:
        """Returns the hash of all inputs of a run: data, settings, libraries and, for attune, its code."""
        split = sorted((self.folder / "data/splits").rglob("*.parquet"))
        scoring = [Path(__file__), Path(plain_recipe.__file__), *(ROOT / f"src/attune/{name}.py" for name in SCORING)]
        data = [
            self.folder / "data/prepared/corpus.parquet",
            self.folder / "models/base/model.safetensors",
            *split,
            *scoring,
        ]
        versions = [version(name) for name in ("torch", "transformers", "sentence-transformers")]
        settings: tuple[object, ...] = (
            system,
            seed,
            rate,
            self.params.epochs,
            self.params.batch_size,
            best_precision(),
            *versions,
        )
        if system == "attune":
            settings = (*settings, self.params.model_dump_json())
            triplets = self.folder / "data/mined/r1/triplets.parquet"
            data += [triplets, self.folder / "params.yaml", *sorted((ROOT / "src").rglob("*.py"))]
        return fingerprint(settings, (), data)

    def rows(self, seeds: list[int]) -> Iterator[list[str]]:
        """Yields the rows of the table, means over seeds: base, plain recipe at its better learning rate, attune."""
        yield self._row("base", [self.run("base", seeds[0])])
        rate = max(RATES, key=lambda rate: self.run("plain", seeds[0], rate)["dev_ndcg@10"])
        yield self._row(f"plain, {rate:g}", [self.run("plain", seed, rate) for seed in seeds])
        yield self._row("attune", [self.run("attune", seed) for seed in seeds])

    def _row(self, name: str, runs: list[dict[str, float]]) -> list[str]:
        cells = [self.folder.resolve().name, name, str(len(runs))]
        for key in ("dev_ndcg@10", "test_ndcg@10", "test_recall@10", "stsb"):
            values = [run[key] for run in runs if key in run]
            spread = f" ± {statistics.stdev(values):.4f}" if len(values) > 1 else ""
            cells.append(f"{statistics.mean(values):.4f}{spread}" if values else "")
        return cells


def main() -> None:
    """Runs what is not saved yet, and prints the table."""
    parser = argparse.ArgumentParser(description="attune against the plain recipe")
    parser.add_argument("folders", nargs="+", type=Path)
    parser.add_argument("--seeds", default="13,21,42", type=lambda text: [int(seed) for seed in text.split(",")])
    parser.add_argument("--epochs", type=int, help="epochs of both recipes, instead of train.epochs")
    options: Any = parser.parse_args()
    head: list[str] = ["data", "system", "seeds", "dev nDCG@10", "test nDCG@10", "test recall@10", "STS-B Spearman"]
    rows: list[list[str]] = [head, ["---", "---", *["---:"] * (len(head) - 2)]]
    for folder in options.folders:
        rows += Bench(folder, options.epochs).rows(options.seeds)
    print("\n".join(f"| {' | '.join(row)} |" for row in rows))


if __name__ == "__main__":
    try:
        main()
    except (BadInput, OSError) as error:
        fail("recipe", error)
