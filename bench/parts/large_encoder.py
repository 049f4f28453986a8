"""LoRA on encoders of 100 to 600 million parameters beside the default: memory, steps, encoding; about 8 minutes.

    python -m bench.parts.large_encoder [--encoders base large ...] [--rounds 2]

Encoders have the shapes of real ones and random weights, which change neither time nor memory. Each trains in a
process of its own by `fit` of stage train: LoRA, the texts of the default data, and batches embedded in parts
(cached_mnrl), with an evaluation before the first and after the last step. Steps have 8 rows, a quarter of the
recipe's, so that the part ends in minutes; parts of 8 rows bound the memory of larger batches alike. Steps and
encoding alternate with those of the default encoder, so that ratios hold under other load. Peak memory is of the whole
process; what is mapped from the file of weights counts in it, although the system may drop these pages.
"""

import argparse
import json
import shutil
import sys
import tempfile
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

import torch
from transformers import AutoModel, BertConfig, PretrainedConfig, Qwen3Config, XLMRobertaConfig

from attune.encoding.families import BERT_BASE, BERT_LARGE, MINILM, QWEN3_600M, XLM_R_LARGE, Shape
from bench.alternating import Spread, alternate, ratios
from bench.parts.ceilings import THREADS
from bench.section import ROOT, Section, Target, show, table
from bench.texts import KINDS, cut, pairs, present
from bench.workers import Worker

BATCH_SIZE, RECIPE_BATCH = 8, 32
DEFAULT = "default"
MOST_BYTES = 8e9  # half of a laptop with 16 GB
HEAD = [
    *("encoder", "million parameters", "peak MB", "steps of 32 a minute"),
    *("step, times default", "encoding, times default", "computed cost"),
]


class Encoder(NamedTuple):
    """An encoder to measure.

    Attributes:
        title: of its row.
        shape: by which its cost is computed.
        config: class of its configuration; None for the default encoder, which is there.
        pooling: mode.
        dtype: in which such encoders are saved.
        settings: of the configuration, beyond the shape's.
    """

    title: str
    shape: Shape
    config: Callable[..., PretrainedConfig] | None = None
    pooling: str = "mean"
    dtype: torch.dtype = torch.float32
    settings: Mapping[str, Any] = {}


ENCODERS = {
    DEFAULT: Encoder("default (MiniLM, 6 layers)", MINILM),
    "base": Encoder("BERT base (bge, e5, gte, arctic)", BERT_BASE, BertConfig, settings={"num_attention_heads": 12}),
    "large": Encoder("BERT large (mxbai, bge)", BERT_LARGE, BertConfig, settings={"num_attention_heads": 16}),
    "xlm-r": Encoder(
        *("XLM-R large (bge-m3, multilingual e5)", XLM_R_LARGE, XLMRobertaConfig),
        settings={"num_attention_heads": 16, "max_position_embeddings": 514, "type_vocab_size": 1, "pad_token_id": 0},
    ),
    "qwen3": Encoder(
        *("Qwen3-Embedding-0.6B", QWEN3_600M, Qwen3Config, "lasttoken", torch.bfloat16),
        {"num_attention_heads": 16, "num_key_value_heads": 8, "head_dim": 128, "max_position_embeddings": 32768},
    ),
}


def build(encoder: Encoder, like: Path, folder: Path) -> Path:
    """Saves an encoder with random weights, and the tokenizer and the modules of another one; returns the folder."""
    shutil.copytree(like, folder, ignore=shutil.ignore_patterns("*.safetensors", "config.json"))
    shape = encoder.shape
    assert encoder.config
    config = encoder.config(
        hidden_size=shape.width,
        num_hidden_layers=shape.layers,
        intermediate_size=shape.inner,
        vocab_size=shape.vocabulary,
        **encoder.settings,
    )
    with torch.device("meta"):
        model = AutoModel.from_config(config)
    model = model.to_empty(device="cpu")
    noise = 0.02 * torch.randn(1 << 20)  # repeated, as drawing 600 million numbers takes a minute
    with torch.no_grad():
        for name, values in model.named_parameters():
            if values.dim() > 1:
                values.copy_(noise.repeat(-(-values.numel() // len(noise)))[: values.numel()].view_as(values))
            else:
                values.fill_(float(name.endswith("weight")))
    model.to(encoder.dtype).save_pretrained(folder)
    (folder / "1_Pooling").mkdir(exist_ok=True)
    pooling = {"word_embedding_dimension": shape.width, "pooling_mode": encoder.pooling}
    (folder / "1_Pooling" / "config.json").write_text(json.dumps(pooling))
    return folder


def start(name: str, folder: Path, texts: Path, options: argparse.Namespace) -> Worker:
    """Starts the worker of an encoder; returns it before its first step."""
    program = ("-m", "bench.parts.large_encoder_worker")
    arguments = (str(folder), str(texts), *map(str, (BATCH_SIZE, options.rounds + 1, options.threads)))
    worker = Worker(name, program, *arguments, python=sys.executable)
    worker.ready()
    return worker


def row(name: str, encoder: Encoder, folder: Path, texts: Path, options: argparse.Namespace) -> tuple[list[str], int]:
    """Measures an encoder beside the default; returns its row and its peak memory in bytes."""
    with ExitStack() as stack:
        workers = {
            each: stack.enter_context(start(each, place, texts, options))
            for each, place in ((name, folder), (DEFAULT, options.model))
        }
        steps = alternate({each: worker.ask for each, worker in workers.items()}, options.rounds)
        for worker in workers.values():
            worker.ask()  # the evaluation at the end, and the checkpoint
        peak = workers[name].peak_bytes
        encoding = alternate({each: _encoding(worker, options) for each, worker in workers.items()}, options.rounds)
    a_minute = Spread.of(60 / (seconds * RECIPE_BATCH / BATCH_SIZE) for seconds in steps[name])
    cells = [
        encoder.title,
        f"{encoder.shape.n_parameters / 1e6:,.0f}",
        f"{peak / 1e6:,.0f}",
        f"{a_minute.median:.2f}",
        ratios(steps[name], steps[DEFAULT]).cell(1),
        ratios(encoding[name], encoding[DEFAULT]).cell(1),
        f"{encoder.shape.cost:.1f}",
    ]
    return cells, peak


def _encoding(worker: Worker, options: argparse.Namespace) -> Callable[[], float]:
    return lambda: worker.ask(n=options.documents)


def measure(section: Section, options: argparse.Namespace) -> None:
    """Measures all encoders, one after another."""
    if reason := present(KINDS["code"]):
        section.leave_out(reason)
        return
    n = (options.rounds + 1) * BATCH_SIZE
    queries, documents = pairs(KINDS["code"], 2 * n)
    rows, peaks = [], {}
    with tempfile.TemporaryDirectory() as scratch:
        texts = Path(scratch) / "texts.json"
        columns = {"query": queries[:n], "positive": documents[:n], "negative_1": documents[n:]}
        texts.write_text(json.dumps(columns), encoding="utf-8")
        options.model = cut(options.model, options.max_length, Path(scratch) / DEFAULT)
        for name in options.encoders:
            folder = build(ENCODERS[name], options.model, Path(scratch) / name)
            cells, peaks[name] = row(name, ENCODERS[name], folder, texts, options)
            rows.append(cells)
            print(f"attune bench: {cells}", file=sys.stderr, flush=True)
            shutil.rmtree(folder)
    section.add(
        f"LoRA of rank 16, `train.loss: cached_mnrl`, `train.mini_batch_size: {BATCH_SIZE}`, texts of at most "
        f"{options.max_length} tokens, {options.threads} threads; ratios within {options.rounds} rounds of one step of "
        f"{BATCH_SIZE} rows, and of {options.documents} documents; steps of {RECIPE_BATCH} rows a minute from those of "
        f"{BATCH_SIZE}, under the load of the moment. Computed cost: multiplications per token with the layers' "
        "matrices, times the default's.",
        table(HEAD, rows),
    )
    for name, peak in peaks.items():
        what, found = f"LoRA, {ENCODERS[name].title}", f"{peak / 1e6:,.0f} MB"
        section.targets.append(Target(what, f"<= {MOST_BYTES / 1e6:,.0f} MB", found, peak <= MOST_BYTES))


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    names = [name for name in ENCODERS if name != DEFAULT]
    parser.add_argument("--encoders", nargs="+", choices=names, default=names)
    parser.add_argument("--model", type=Path, default=ROOT / "models/base")
    parser.add_argument("--max-length", type=int, default=96)
    parser.add_argument("--documents", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--threads", type=int, default=THREADS)
    show("large_encoder", "Large encoders with LoRA", parser, measure)


if __name__ == "__main__":
    main()
