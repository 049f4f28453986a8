"""A base, rounds of candidates as stage train leaves them, and parameters of stage merge."""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch
from prepared_tables import write_corpus
from safetensors.torch import load_file, save_file
from sentence_transformers import SentenceTransformer

from attune.encoding.encoders import TorchEncoder, load_torch
from attune.stage import call
from attune.stages.merge import MergeParams, merge
from attune.tables import CORPUS, DOCUMENT_IDS, OWN_TEXTS, QRELS, SPLIT_QUERIES, full_texts, read, write
from attune.tuning.candidates import write_candidates, write_sample
from attune.tuning.curve import Candidate, Evaluation
from attune.tuning.dev import RetrievalScorer, RetrievalTask, read_dev
from attune.tuning.interpolation import Interpolation, average, difference, read_change

WORDS = "array graph matrix mean sum sort tree edge node vector signal table column index query filter".split()
WEIGHTS = "model.safetensors"
SHARES = (0.5, 1.0)


def params(**changes: object) -> MergeParams:
    """Returns parameters without floors, some of them changed."""
    values: dict[str, object] = {
        "round": "r1",
        "keep": "best",
        "min_retention": 0.0,
        "min_near_domain": 0.0,
        "min_gain_kept": 1.0,
    }
    machine = {"threads": 1, "precision": "fp32", "batch_tokens": 4096}
    return MergeParams.model_validate(values | {"machine": machine} | changes)


class Case:
    """A base, a round of two seeds, 16 dev documents of two words with a query each, 16 of train, and general pairs.

    The base is a good encoder with much noise in its weights. Checkpoints of steps 4 and 8 are half of the way back and
    nearly all of it, instead of training.
    """

    def __init__(self, root: Path, good: Path) -> None:
        self.root = root
        self.base = Path(shutil.copytree(good, root / "base"))
        (self.base / "attune.json").write_text('{"model": "tiny"}\n')
        faint = ("output.dense.weight", "position_embeddings.weight", "token_type_embeddings.weight")
        weights = load_file(good / WEIGHTS)
        # nearly a mean of word embeddings, which finds documents by their words
        self.good = {name: value * (0.05 if name.endswith(faint) else 1) for name, value in weights.items()}
        save_file(self.noisy(1, 3.0), self.base / WEIGHTS, metadata={"format": "pt"})
        self.write_texts()
        for seed in (13, 7):
            self.write_round(seed, {4: self.towards(0.5, seed), 8: self.towards(0.9, seed)})

    def write_texts(self) -> None:
        """Writes the dev split, the corpus and general text."""
        root, pairs = self.root, list(zip(WORDS, WORDS[1:] + WORDS[:1], strict=True))
        ids = [f"d{i:02}" for i in range(len(pairs))]
        texts = [f"{one} {other} of the data" for one, other in pairs]
        others = [f"t{i:02}" for i in range(len(pairs))]
        texts += [f"{one} of every {other}" for one, other in pairs]
        every = [*ids, *others]
        columns = {"document_id": every, "title": [""] * 32, "text": texts, "duplicate_of": every, "cluster_id": every}
        write_corpus(pl.DataFrame(columns, schema=CORPUS), root / "prepared")
        queries = pl.DataFrame({"query_id": ids, "text": [f"find {other} and {one}" for one, other in pairs]})
        blank = {name: pl.lit("") for name in ("near_group", "given_split", "stratum")}
        queries = queries.with_columns(cluster_id=pl.col("query_id"), **blank).select(list(SPLIT_QUERIES))
        write(queries, root / "dev" / "queries.parquet", SPLIT_QUERIES)
        judged = pl.DataFrame({"query_id": ids, "document_id": ids}).with_columns(relevance=pl.lit(1, pl.Int64))
        write(judged, root / "dev" / "qrels.parquet", QRELS)
        write(judged.select("document_id"), root / "dev" / "documents.parquet", DOCUMENT_IDS)
        write(pl.DataFrame(schema=OWN_TEXTS), root / "dev" / "own_texts.parquet", OWN_TEXTS)
        write(pl.DataFrame({"document_id": others}), root / "train" / "documents.parquet", DOCUMENT_IDS)
        (root / "near_domain").mkdir()
        lines = [{"query": f"the {b} of a {a}", "passage": f"a {a} with {b} and more"} for a, b in pairs]
        (root / "general.jsonl").write_text("\n".join(map(json.dumps, lines)))

    def noisy(self, seed: int, noise: float) -> dict[str, torch.Tensor]:
        """Returns the good weights with noise, in standard deviations of each tensor."""
        generator = torch.Generator().manual_seed(seed)
        return {
            name: value + noise * value.std() * torch.randn(value.shape, generator=generator)
            if value.numel() > 1 and value.is_floating_point()
            else value
            for name, value in self.good.items()
        }

    def towards(self, share: float, seed: int) -> dict[str, torch.Tensor]:
        """Returns weights between the base and the good ones, with a little noise of the seed's own."""
        base, good = load_file(self.base / WEIGHTS), self.noisy(seed, 0.02)
        return {
            name: share * good[name] + (1 - share) * value if value.is_floating_point() else value
            for name, value in base.items()
        }

    def write_round(
        self,
        seed: int,
        checkpoints: dict[int, dict[str, torch.Tensor]],
        gains: Mapping[tuple[int, float], Any] | None = None,
    ) -> None:
        """Writes checkpoints as stage train does, and scores on dev: true ones, or .1 for the base and given gains."""
        folder = self.root / "r1" / "candidates" / str(seed)
        shutil.rmtree(folder, ignore_errors=True)
        between, scorer = Interpolation(self.base), RetrievalScorer(self.dev(), "fp32")
        of_base = np.full(16, 0.1) if gains else scorer(between.at({}, 0.0))
        evaluations = [Evaluation(0, [0.0], [of_base.tolist()])]
        changes = {step: self.root / "differences" / f"{seed}-{step}.safetensors" for step in (0, *checkpoints)}
        changes[0].parent.mkdir(exist_ok=True)
        save_file({}, changes[0])
        prefix = next(name for name in between.base if name.endswith("word_embeddings.weight"))
        prefix = prefix.removesuffix(next(name for name in self.good if name.endswith("word_embeddings.weight")))
        for step, weights in checkpoints.items():
            named = {f"{prefix}{name}": value for name, value in weights.items()}
            save_file(difference(between.base, between.base | named), changes[step])
            change = read_change(changes[step])
            values = [
                (of_base + gains[step, share] if gains else scorer(between.at(change, share))).tolist()
                for share in SHARES
            ]
            evaluations.append(Evaluation(step, list(SHARES), values))
        write_candidates(evaluations, changes, scorer.query_ids, folder)
        write_sample(8, self.root / "r1")

    def add_near_domain(self, name: str) -> None:
        """Writes a near-domain task: dev's documents with more words and a title, one short query each."""
        folder = self.root / "near_domain" / name
        (folder / "qrels").mkdir(parents=True)
        words = list(enumerate(zip(WORDS, WORDS[1:] + WORDS[:1], strict=True)))
        documents = [{"_id": f"d{i:02}", "title": b, "text": f"{a} {b} in short"} for i, (a, b) in words]
        queries = [{"_id": f"q{i:02}", "text": f"{b} {a}"} for i, (a, b) in words]
        (folder / "corpus.jsonl").write_text("\n".join(map(json.dumps, documents)))
        (folder / "queries.jsonl").write_text("\n".join(map(json.dumps, queries)))
        judged = [f"q{i:02}\td{i:02}\t1\n" for i, _ in words]
        (folder / "qrels" / "dev.tsv").write_text("query-id\tcorpus-id\tscore\n" + "".join(judged))

    def dev(self) -> RetrievalTask:
        """Returns the task on dev."""
        corpus = read(self.root / "prepared" / "corpus.parquet", CORPUS)
        texts = dict(zip(corpus["document_id"], full_texts(corpus), strict=True))
        return read_dev(self.root / "dev", texts, self.root / "train" / "documents.parquet", 8)

    def run(self, first: int = 13, **changes: object) -> dict[str, Any]:
        """Runs stage merge; returns the receipt."""
        call(
            merge,
            params(**changes),
            self.root / "merge.json",
            base=self.base,
            rounds=self.root / "r1",
            first=first,
            prepared=self.root / "prepared",
            dev_split=self.root / "dev",
            train_documents=self.root / "train" / "documents.parquet",
            general=self.root / "general.jsonl",
            near_domain=self.root / "near_domain",
            out=self.root / "tuned",
            seeds=self.root / "seeds",
            curve_file=self.root / "merge.csv",
        )
        return dict(json.loads((self.root / "merge.json").read_text()))

    def curve(self) -> pl.DataFrame:
        """Returns the table of candidates."""
        return pl.read_csv(self.root / "merge.csv")

    def encoder(self, seed: int, candidate: Candidate) -> dict[str, bytes]:
        """Returns the bytes of a candidate's weights, made from the files of the round."""
        folder = self.root / "r1" / "candidates" / str(seed)
        steps = [step for step in (4, 8) if step <= candidate.step][-candidate.n_averaged :]
        changes = [read_change(folder / f"{step}.safetensors") for step in steps]
        change = changes[0] if candidate.n_averaged == 1 else average(changes)
        return bits(Interpolation(self.base).at(change, candidate.share))


def bits(model: SentenceTransformer) -> dict[str, bytes]:
    """Returns the bytes of each tensor."""
    return {name: value.cpu().numpy().tobytes() for name, value in model.state_dict().items()}


def files_of(folder: Path) -> dict[str, bytes]:
    """Returns the bytes of each file by its path in the folder."""
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def ndcg(folder: Path, task: RetrievalTask) -> float:
    """Mean nDCG@10 of queries with one answer each: 1 / log2(1 + rank), by a plain sort."""
    encoder = TorchEncoder(load_torch(folder), "fp32", 4096)
    ids = list(task.corpus)
    scores = encoder.encode_query(list(task.queries.values())) @ encoder.encode_document(list(task.corpus.values())).T
    gains = []
    for row, query in zip(scores, task.queries, strict=True):
        (answer,) = task.relevant[query]
        rank = 1 + int((row > row[ids.index(answer)]).sum())
        gains.append(1 / np.log2(1 + rank) if rank <= 10 else 0.0)
    return float(np.mean(gains))
