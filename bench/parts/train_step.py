"""Seconds per training step at the default batch size, by attention, dropout, determinism, compilation, frozen layers.

Reads models/base and data/prepared of a finished pipeline. Results are in docs/experiments.md.
"""

import argparse
import statistics
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.losses import MultipleNegativesRankingLoss
from sentence_transformers.util import batch_to_device

from attune.encoding.encoders import best_precision, load_torch
from attune.errors import BadInput
from attune.stage import fail
from attune.tables import CLUSTERED_QUERIES, CORPUS, full_texts, read

BATCH_SIZE = 32


class Variant(NamedTuple):
    """Settings of the training step; everything else is the same in all variants."""

    name: str
    dropout: float
    attention: str
    deterministic: bool = False
    is_compiled: bool = False
    n_frozen: int = 0  # first layers that are not trained, the embedding table with them


VARIANTS = (
    Variant("defaults: dropout .1, fused attention (sdpa)", 0.1, "sdpa"),
    Variant("full determinism flags", 0.1, "sdpa", deterministic=True),
    Variant("dropout 0", 0.0, "sdpa"),
    Variant("eager attention", 0.1, "eager"),
    Variant("dropout 0, eager attention", 0.0, "eager"),
    Variant("the same, torch.compile for any length", 0.0, "eager", is_compiled=True),
    Variant("the same, embedding table frozen and two layers", 0.0, "eager", n_frozen=2),
)


def batches(prepared: Path, n: int) -> Iterator[list[list[str]]]:
    """Yields batches of queries, positives and one negative each; only the lengths of the texts matter."""
    queries = read(prepared / "queries.parquet", CLUSTERED_QUERIES)["text"].to_list()
    documents = full_texts(read(prepared / "corpus.parquet", CORPUS))
    n_rows = n * BATCH_SIZE
    if len(queries) < n_rows or len(documents) < 2 * n_rows:
        raise BadInput(f"{prepared}: too few texts for {n} steps; lower --steps")
    for start in range(0, n_rows, BATCH_SIZE):
        end = start + BATCH_SIZE
        yield [queries[start:end], documents[start:end], documents[n_rows + start : n_rows + end]]


def make_ready(model: SentenceTransformer, variant: Variant) -> None:
    """Applies a variant to the model."""
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = variant.dropout
    encoder = model.transformers_model
    encoder.set_attn_implementation(variant.attention)
    if variant.is_compiled:
        encoder.forward = torch.compile(encoder.forward, dynamic=True)
    for part in (encoder.embeddings, *encoder.encoder.layer[: variant.n_frozen]) if variant.n_frozen else ():
        part.requires_grad_(requires_grad=False)
    torch.use_deterministic_algorithms(variant.deterministic)
    model.train()


def step_seconds(model: SentenceTransformer, texts: list[list[list[str]]]) -> float:
    """Returns the median seconds of forward and backward pass and optimiser; the first two steps do not count."""
    loss = MultipleNegativesRankingLoss(model)
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-5, fused=True)
    kind, is_bf16 = model.device.type, best_precision() == "bf16"
    seconds = []
    for columns in texts:
        features = [batch_to_device(model.preprocess(column), model.device) for column in columns]
        start = time.perf_counter()
        with torch.autocast(kind, torch.bfloat16, enabled=is_bf16):
            value = loss(features, None)
        value.backward()
        optimiser.step()
        optimiser.zero_grad()
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds[2:])


def main() -> None:
    """Prints a row per variant and a column per maximum length."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, default=Path("models/base"))
    parser.add_argument("--prepared", type=Path, default=Path("data/prepared"))
    parser.add_argument("--lengths", type=int, nargs="+", default=[128, 96])
    parser.add_argument("--steps", type=int, default=7)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    if options.steps < 3:
        raise BadInput(
            f"--steps: got {options.steps}, expected 3 or more; the first two, which may compile, do not count"
        )
    torch.set_num_threads(options.threads)
    texts = list(batches(options.prepared, options.steps))
    print(f"Seconds per training step: batch {BATCH_SIZE}, one negative, {best_precision()}, {options.threads} threads")
    print(f"| variant | {' | '.join(f'{length} tokens' for length in options.lengths)} |")
    print(f"|---|{'---:|' * len(options.lengths)}")
    for variant in VARIANTS:
        cells = []
        for length in options.lengths:
            model = load_torch(options.model)
            model.max_seq_length = length
            make_ready(model, variant)
            cells.append(f"{step_seconds(model, texts):.2f}")
        print(f"| {variant.name} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    try:
        main()
    except (BadInput, OSError) as error:
        fail("bench", error)
