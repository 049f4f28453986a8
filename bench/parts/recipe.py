"""Compares attune with the recipes of the sentence-transformers trainer, each at its best on dev.

The rivals (bench/rivals/trainer_recipes.py) train on the same pairs, for as many steps, with the same dev, dropout and
number format, and with evaluations and early stopping of their own. Each takes, of the learning rates in RATES, the one
with the highest dev nDCG@10 for the first seed: the search goes from 1e-4, or the best rate of the rival before, to
higher and lower ones as long as dev rises. The strongest rival, too, is named by dev. attune is the
folder's models/tuned where dvc calls it up to date with today's code and the options are the folder's parameters; else,
and for other seeds, stages train and merge run with its params.yaml. Scores are those of dev and test over the whole
corpus, and of STS-B where $ATTUNE_DATASETS holds it. Figures are saved in scratch/bench, so a bench resumes.

    python -m bench.parts.recipe [--seeds 13,21,42] [--rivals in-batch,gist] [--epochs N] [--threads N] FOLDER...

FOLDER is the project's root or a folder made by `make example`, in which stage mine has run.
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import polars as pl
import torch
from scipy.stats import spearmanr
from sentence_transformers import SentenceTransformer

from attune.encoding.encoders import TorchEncoder, best_precision, load_torch
from attune.encoding.scratch import fingerprint
from attune.errors import BadInput
from attune.retrieval.passages import read_passages
from attune.stage import call, fail, load_params
from attune.stages.merge import MergeParams, merge
from attune.stages.seeds import score_encoder
from attune.stages.train import train
from attune.tables import CORPUS, read
from attune.tuning.training.recipe import TrainParams
from bench.rivals import trainer_recipes
from bench.rivals.rates import FIRST_RATE, best_rate

ROOT = Path(__file__).resolve().parents[2]
STSB = Path(os.environ.get("ATTUNE_DATASETS", ROOT / "../shared/datasets")) / "stsb" / "test.jsonl"
BATCH_TOKENS = 4096
MEANS = ("ndcg@10", "recall@10")
# modules that compute the scores
SCORING = (
    "encoding/encoders",
    "evaluation/scoring/measures",
    "evaluation/scoring/judgments",
    "retrieval/exact",
    "retrieval/grouped",
    "retrieval/ndcg",
    "retrieval/passages",
    "retrieval/ties",
    "stages/seeds",
    "tuning/dev",
)


def scores(model: SentenceTransformer, folder: Path) -> dict[str, float]:
    """Returns nDCG@10 and recall@10 on dev and test, and Spearman's correlation on STS-B's test pairs."""
    encoder = TorchEncoder(model, best_precision(), BATCH_TOKENS)
    prepared = folder / "data/prepared"
    passages = read_passages(prepared, read(prepared / "corpus.parquet", CORPUS))
    table = score_encoder(encoder, passages, folder / "data/splits", torch.get_num_threads())
    means = table.group_by("split").agg(pl.col(*MEANS).mean())
    figures = {f"{row['split']}_{key}": float(row[key]) for row in means.iter_rows(named=True) for key in MEANS}
    if STSB.is_file():
        pairs = [json.loads(line) for line in STSB.read_text(encoding="utf-8").splitlines()]
        first, second = (encoder.encode_document([pair[key] for pair in pairs]) for key in ("sentence1", "sentence2"))
        figures["stsb"] = float(spearmanr((first * second).sum(1), [pair["score"] for pair in pairs]).statistic)
    return figures


def is_made(folder: Path, params: TrainParams, seed: int) -> bool:
    """Tells whether the folder's models/tuned is of this seed, these parameters and today's code, and up to date."""
    of_folder = load_params(TrainParams, "train", folder / "params.yaml")
    if seed != params.seeds[0] or params != of_folder.model_copy(update={"machine": params.machine}):
        return False
    code, today = (fingerprint((), (), sorted((root / "src").rglob("*.py"))) for root in (folder, ROOT))
    command = [sys.executable, "-m", "dvc", "status", "--quiet", "train@r1", "merge"]
    return code == today and subprocess.run(command, cwd=folder, check=False).returncode == 0


def attune(folder: Path, params: TrainParams, seed: int, scratch: Path) -> SentenceTransformer:
    """Returns the tuned encoder; runs stages train and merge unless the folder has it."""
    if is_made(folder, params, seed):
        return load_torch(folder / "models/tuned")
    paths = {
        "base": folder / "models/base",
        "prepared": folder / "data/prepared",
        "dev_split": folder / "data/splits/dev",
    }
    splits = folder / "data/splits/train"
    one_seed = params.model_copy(update={"seeds": [seed]})
    mined = folder / "data/mined/r1"
    call(
        train,
        one_seed,
        None,
        start=paths["base"],
        mined=mined,
        train=splits,
        forms=folder / "data/prepared/forms.parquet",
        out=scratch / "r1",
        curve_file=scratch / "train.csv",
        rates_file=scratch / "rates.csv",
        **paths,
    )
    settings = load_params(MergeParams, "merge", folder / "params.yaml")
    outs = {"out": scratch / "tuned", "seeds": scratch / "seeds", "curve_file": scratch / "merge.csv"}
    tasks = {"train_documents": splits / "documents.parquet", "near_domain": folder / "data/near_domain/dev"}
    tasks |= {"general": Path(params.general)}
    call(merge, settings, None, rounds=scratch / "r1", first=seed, **paths, **tasks, **outs)
    return load_torch(scratch / "tuned")


class Bench:
    """Runs of all systems on the data of one folder; the figures of each run are saved."""

    def __init__(self, folder: Path, epochs: int | None, threads: int | None) -> None:
        self.folder = folder
        params = load_params(TrainParams, "train", folder / "params.yaml")
        machine = params.machine.model_copy(update={"threads": threads or params.machine.threads})
        self.params = params.model_copy(update={"epochs": epochs or params.epochs, "machine": machine})
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
                case "attune":
                    model = attune(self.folder, self.params, seed, scratch)
                case rival:
                    model = trainer_recipes.train_rival(rival, self.folder, self.params, seed, rate, scratch)
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
        scoring = [Path(trainer_recipes.__file__), *(ROOT / f"src/attune/{name}.py" for name in SCORING)]
        data = [
            *(
                self.folder / f"data/{name}.parquet"
                for name in ("prepared/corpus", "prepared/passages", "mined/r1/passages")
            ),
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
            self.params.max_steps,
            self.params.batch_size,
            self.params.dropout,
            self.params.n_dev_documents,
            best_precision(),
            *versions,
        )
        if system == "attune":
            settings = (*settings, self.params.model_dump_json())
            triplets = self.folder / "data/mined/r1/triplets.parquet"
            data += [
                triplets,
                *(self.folder / name for name in ("params.yaml", "advanced.yaml", "data/prepared/forms.parquet")),
            ]
            tasks = (self.folder / "data/near_domain/dev").rglob("*")
            data += [*sorted(path for path in tasks if path.is_file()), Path(self.params.general)]
            data += sorted((ROOT / "src").rglob("*.py"))
        return fingerprint(settings, (), data)

    def rows(self, seeds: list[int], rivals: list[str]) -> Iterator[list[str]]:
        """Yields the table's rows, means over seeds: base, each rival at its best rate, attune, and what attune adds.

        The last row is attune's difference to the rival with the highest dev nDCG@10.
        """
        yield self._row("base", [self.run("base", seeds[0])])
        best: dict[str, list[dict[str, float]]] = {}
        rate = FIRST_RATE
        for rival in rivals:
            rate = best_rate(lambda rate, rival=rival: self.run(rival, seeds[0], rate)["dev_ndcg@10"], rate)  # type: ignore[misc]
            best[rival] = [self.run(rival, seed, rate) for seed in seeds]
            yield self._row(f"{rival}, {rate:g}", best[rival])
        own = [self.run("attune", seed) for seed in seeds]
        yield self._row("attune", own)
        if best:
            name, strongest = max(best.items(), key=lambda item: statistics.mean(run["dev_ndcg@10"] for run in item[1]))
            added = [
                {key: of_attune[key] - of_rival[key] for key in of_attune}
                for of_attune, of_rival in zip(own, strongest, strict=True)
            ]
            yield self._row(f"attune minus {name}", added)

    def _row(self, name: str, runs: list[dict[str, float]]) -> list[str]:
        cells = [self.folder.resolve().name, name, str(len(runs))]
        for key in ("dev_ndcg@10", "test_ndcg@10", "test_recall@10", "stsb"):
            values = [run[key] for run in runs if key in run]
            spread = f" ± {statistics.stdev(values):.4f}" if len(values) > 1 else ""
            cells.append(f"{statistics.mean(values):.4f}{spread}" if values else "")
        return cells


def main() -> None:
    """Runs what is not saved yet, and prints the table."""
    parser = argparse.ArgumentParser(description="attune against the recipes of the sentence-transformers trainer")
    parser.add_argument("folders", nargs="+", type=Path)
    parser.add_argument("--seeds", default="13,21,42", type=lambda text: [int(seed) for seed in text.split(",")])
    parser.add_argument(
        "--rivals",
        default=",".join(trainer_recipes.RIVALS),
        type=lambda text: [name for name in text.split(",") if name],
    )
    parser.add_argument("--epochs", type=int, help="epochs of all recipes, instead of train.epochs")
    parser.add_argument("--threads", type=int, help="instead of machine.threads; 1 for two benches side by side")
    options: Any = parser.parse_args()
    head: list[str] = ["data", "system", "seeds", "dev nDCG@10", "test nDCG@10", "test recall@10", "STS-B Spearman"]
    rows: list[list[str]] = [head, ["---", "---", *["---:"] * (len(head) - 2)]]
    for folder in options.folders:
        rows += Bench(folder, options.epochs, options.threads).rows(options.seeds, options.rivals)
    print("\n".join(f"| {' | '.join(row)} |" for row in rows))


if __name__ == "__main__":
    try:
        main()
    except (BadInput, OSError) as error:
        fail("recipe", error)
