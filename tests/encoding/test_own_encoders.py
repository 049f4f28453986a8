"""Encoders that users choose: every supported family, pooling and module goes through the whole export."""

import json
from collections.abc import Callable, Iterator
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from conftest import _vocabulary, write_train_tables
from onnx.reference import ReferenceEvaluator
from training import params, run_params, task, trained

from attune.encoding.encoders import load_torch
from attune.runtime import Embedder, verify
from attune.stage import call, load_params, sha256_of
from attune.stages.base import BaseParams, base
from attune.stages.export import ExportParams, export

ROOT = Path(__file__).resolve().parents[2]
MAX_LENGTH = 16
POOLINGS = ("mean", "cls", "lasttoken")
PROMPTS = {"query": "search: ", "document": "text: "}
TEXTS = ["stack arrays vertically", "", " \t", "Sort the rows by their norm, then look at them. " * 5, "日本", "x" * 99]
SHAPE = {"hidden_size": 16, "num_attention_heads": 2, "intermediate_size": 32, "initializer_range": 0.2}


def wordpiece(folder: Path) -> None:
    """Saves a tokenizer of BERT's and MPNet's kind."""
    from transformers import BertTokenizer

    BertTokenizer(vocab=_vocabulary(), model_max_length=MAX_LENGTH).save_pretrained(folder)


def save_tokenizer(folder: Path, model: Any, pre_tokenizer: Any, special: tuple[str, str, str, str]) -> None:
    from tokenizers import Tokenizer, processors
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(model)
    tokenizer.pre_tokenizer = pre_tokenizer
    first, pad, last, unknown = special
    ends = [(token, tokenizer.token_to_id(token)) for token in (first, last)]
    tokenizer.post_processor = processors.TemplateProcessing(f"{first} $A {last}", special_tokens=ends)
    names = {"cls_token": first, "pad_token": pad, "sep_token": last, "unk_token": unknown}
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, model_max_length=MAX_LENGTH, **names).save_pretrained(folder)


def byte_level(folder: Path) -> None:
    """Saves a tokenizer of ModernBERT's kind: pieces of bytes, so nothing is unknown and white space counts."""
    from tokenizers import models, pre_tokenizers

    special = ("[CLS]", "[PAD]", "[SEP]", "[UNK]")
    vocabulary = {token: place for place, token in enumerate([*special, *sorted(pre_tokenizers.ByteLevel.alphabet())])}
    save_tokenizer(folder, models.BPE(vocabulary, []), pre_tokenizers.ByteLevel(add_prefix_space=False), special)


def unigrams(folder: Path) -> None:
    """Saves a tokenizer of XLM-R's kind; padding has the id 1."""
    from tokenizers import models, pre_tokenizers

    special = ("<s>", "<pad>", "</s>", "<unk>")
    pieces = [*((token, 0.0) for token in special), *((piece, -8.0) for piece in "▁abcdefghijklmnopqrstuvwxyz")]
    save_tokenizer(folder, models.Unigram(pieces, 3), pre_tokenizers.Metaspace(), special)


def bert(folder: Path) -> None:
    from transformers import BertConfig, BertModel

    size = {"vocab_size": len(_vocabulary()), "max_position_embeddings": 32}
    BertModel(BertConfig(num_hidden_layers=1, **SHAPE, **size)).save_pretrained(folder)
    wordpiece(folder)


def mpnet(folder: Path) -> None:
    from transformers import MPNetConfig, MPNetModel

    size = {"vocab_size": len(_vocabulary()), "max_position_embeddings": 32, "pad_token_id": 0}
    MPNetModel(MPNetConfig(num_hidden_layers=1, **SHAPE, **size)).save_pretrained(folder)
    wordpiece(folder)


def modernbert(folder: Path) -> None:
    """Saves two layers: one attends to all tokens, one only to neighbours."""
    from transformers import ModernBertConfig, ModernBertModel

    tokens = {"pad_token_id": 1, "cls_token_id": 0, "sep_token_id": 2, "bos_token_id": 0, "eos_token_id": 2}
    layers = {"num_hidden_layers": 2, "global_attn_every_n_layers": 2, "local_attention": 6}
    config = ModernBertConfig(vocab_size=260, max_position_embeddings=32, **SHAPE, **layers, **tokens)
    ModernBertModel(config).save_pretrained(folder)
    byte_level(folder)


def xlm_r(folder: Path) -> None:
    from transformers import XLMRobertaConfig, XLMRobertaModel

    size = {"vocab_size": 31, "max_position_embeddings": 32, "pad_token_id": 1, "type_vocab_size": 1}
    XLMRobertaModel(XLMRobertaConfig(num_hidden_layers=1, **SHAPE, **size)).save_pretrained(folder)
    unigrams(folder)


def distilbert(folder: Path) -> None:
    from transformers import DistilBertConfig, DistilBertModel

    size = {"vocab_size": len(_vocabulary()), "max_position_embeddings": 32, "initializer_range": 0.2}
    DistilBertModel(DistilBertConfig(dim=16, n_heads=2, n_layers=1, hidden_dim=32, **size)).save_pretrained(folder)
    wordpiece(folder)


def qwen3(folder: Path) -> None:
    """Saves a decoder: causal attention, rotary positions, grouped keys; texts end in its token and are padded left."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast, Qwen3Config, Qwen3Model

    vocabulary = {token: place for place, token in enumerate(["<|end|>", *sorted(pre_tokenizers.ByteLevel.alphabet())])}
    tokenizer = Tokenizer(models.BPE(vocabulary, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.post_processor = processors.TemplateProcessing("$A <|end|>", special_tokens=[("<|end|>", 0)])
    names = {"pad_token": "<|end|>", "eos_token": "<|end|>", "padding_side": "left"}
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, model_max_length=MAX_LENGTH, **names).save_pretrained(folder)
    heads = {"num_key_value_heads": 1, "head_dim": 8, "num_hidden_layers": 2, "pad_token_id": 0, "eos_token_id": 0}
    Qwen3Model(Qwen3Config(vocab_size=257, max_position_embeddings=32, **SHAPE, **heads)).save_pretrained(folder)


FAMILIES: dict[str, Callable[[Path], None]] = {
    **{"bert": bert, "mpnet": mpnet, "modernbert": modernbert, "xlm_r": xlm_r},
    **{"distilbert": distilbert, "qwen3": qwen3},
}


def build(folder: Path, family: str, pooling: str, has_prompts: bool, has_dense: bool) -> Path:
    """Saves a tiny encoder with random weights in the layout of users' encoders."""
    import torch
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Dense, Normalize, Pooling, Transformer

    with torch.random.fork_rng():
        torch.manual_seed(3)
        FAMILIES[family](folder / "bare")
        layers: list[Any] = [Transformer(str(folder / "bare"), max_seq_length=MAX_LENGTH), Pooling(16, pooling)]
        layers += [Dense(16, 12), Dense(12, 8, bias=False)] if has_dense else []
        prompts = PROMPTS if has_prompts else None
        encoder = SentenceTransformer(modules=[*layers, Normalize()], prompts=prompts, device="cpu")
    encoder.save_pretrained(str(folder / "tuned"), create_model_card=False)
    return folder / "tuned"


def test_dropout_also_reaches_attention_that_keeps_it_as_a_number(tmp_path: Path) -> None:
    """ModernBERT keeps it so, with the config's value: train.dropout replaces it in every layer."""
    from datasets import Dataset

    from attune.tuning.training import fit

    encoder = load_torch(build(tmp_path, "modernbert", "mean", has_prompts=False, has_dense=False))
    attention = [
        module for module in encoder.modules() if isinstance(getattr(module, "attention_dropout", None), float)
    ]
    for module in attention:
        module.attention_dropout = 0.5
    rows = Dataset.from_dict({"query": ["sort"], "positive": ["sort the rows"]})
    fit._prepare_model(encoder, run_params(dropout=0.25), rows)
    assert [module.attention_dropout for module in attention] == [0.25, 0.25]


def in_half_precision(folder: Path, embedder: Embedder, texts: list[str]) -> np.ndarray:
    """Embeds each text alone by ONNX's reference, which rounds to fp16 after every operator as a GPU may."""
    graph = onnx.load(folder / "onnx" / "model_fp16.onnx")
    onnx.checker.check_model(graph, full_check=True)
    reference, rows = ReferenceEvaluator(graph), embedder.token_ids(texts)
    return np.stack([reference.run(["sentence_embedding"], embedder._features([row]))[0][0] for row in rows])


def tuned(folder: Path, encoder: Path) -> Path:
    """Runs the encoder through stages base and train, two steps; returns the folder of what was tuned."""
    pins = {"model.safetensors": sha256_of(encoder / "model.safetensors")}
    changes = {"folder": str(encoder), "model": "own", "revision": "", "max_length": MAX_LENGTH, "sha256": pins}
    settings = load_params(BaseParams, "base", ROOT / "params.yaml").model_copy(update=changes)
    unread = {"corpus": folder / "none", "train": folder / "none"}
    panel = ROOT / "params.yaml"
    call(base, settings, folder / "base.json", **unread, parameters=panel, out=folder / "brought")
    inputs = task(folder, folder / "brought")
    # one evaluation, as the task is to be run through, not to be learnt
    _, receipt = trained(folder, inputs, params(max_steps=2, n_evaluations=1, epochs=1), "run")
    assert receipt["n_steps"] == 2
    before, after = (load_torch(path).state_dict() for path in (encoder, folder / "run" / "5"))
    changed = [name for name in after if not after[name].equal(before[name])]
    assert len(changed) > len(after) / 2
    return folder / "run" / "5"


def check(folder: Path, family: str, pooling: str, has_prompts: bool, has_dense: bool, is_tuned: bool = False) -> None:
    """Exports an encoder and compares a service's embeddings with torch's; the stage refuses an export that differs."""
    model, out = build(folder, family, pooling, has_prompts, has_dense), folder / "exported"
    model = tuned(folder, model) if is_tuned else model
    settings = load_params(ExportParams, "export", ROOT / "params.yaml").model_copy(update={"fp16": True})
    call(export, settings, folder / "export.json", model=model, out=out, **write_train_tables(folder / "tables"))
    receipt = json.loads((folder / "export.json").read_text())
    assert receipt["n_grid_batches"] >= 60 and receipt["fp16_min_cosine"] >= 0.9999
    embedder, encoder = Embedder(out, threads=1), load_torch(model)
    assert embedder.dim == (8 if has_dense else 16)
    for method in ("encode", "encode_query", "encode_document"):
        expected = getattr(encoder, method)(TEXTS, batch_size=1)
        np.testing.assert_allclose(getattr(embedder, method)(TEXTS), expected, atol=2e-6)
    changed = not np.allclose(embedder.encode_query(TEXTS), embedder.encode_document(TEXTS), atol=1e-3)
    assert changed == has_prompts
    verify(out, threads=1)
    half = in_half_precision(out, embedder, TEXTS[:3])
    np.testing.assert_allclose(np.linalg.norm(half, axis=1), 1, atol=1e-6)  # normalised in fp32
    assert (half * encoder.encode(TEXTS[:3], prompt="", batch_size=1)).sum(axis=1).min() > 0.999
    # the folder is the same encoder to sentence-transformers, its Dense layers too
    np.testing.assert_array_equal(load_torch(out).encode(TEXTS, batch_size=1), encoder.encode(TEXTS, batch_size=1))


def remaining() -> Iterator[tuple[str, str, bool, bool]]:
    """Yields the combinations that the quick test leaves out."""
    yield from sorted({*product(FAMILIES, POOLINGS, (False, True), (False, True))} - {*QUICK})


# each family once, each pooling, prompts and dense layers, both with and without
QUICK = (
    ("bert", "cls", True, True),
    ("mpnet", "mean", False, True),
    ("modernbert", "mean", True, False),
    ("xlm_r", "lasttoken", False, False),
    ("distilbert", "mean", True, False),
    ("qwen3", "lasttoken", True, True),
)


@pytest.mark.parametrize("kind", QUICK, ids=lambda kind: "-".join(map(str, kind[:2])))
def test_an_encoder_of_any_family_is_tuned_exports_and_equals_torch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: tuple[str, str, bool, bool]
) -> None:
    """Vectors, prompts, truncation of texts, pooling and dense layers, through the code that services run."""
    monkeypatch.chdir(tmp_path)
    check(tmp_path, *kind, is_tuned=True)


@pytest.mark.slow
@pytest.mark.parametrize("kind", list(remaining()), ids=lambda kind: "-".join(map(str, kind)))
def test_every_other_combination_exports_too(tmp_path: Path, kind: tuple[str, str, bool, bool]) -> None:
    """6 families x 3 poolings x prompts or none x dense layers or none."""
    check(tmp_path, *kind)
