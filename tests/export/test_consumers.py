"""Consumers of the exported folder compute torch's vectors: programs are run, others are checked by their rules.

Opt-in (`make test-consumers`): every consumer gets an environment of its own, and the folder is that of a finished
pipeline (models/onnx, or the folder in ATTUNE_MODEL with the torch encoder in `tuned` beside it). Writes a table to
scratch/consumers/table.md.
"""

import json
from collections.abc import Iterator
from dataclasses import replace
from importlib.metadata import version
from typing import NamedTuple

import numpy as np
import onnxruntime
import pytest
from numpy.typing import NDArray
from roster import CONSUMERS, FP16, FP32, HAS_FP16, INT8, MODEL, SCRATCH, TUNED, Consumer, answer_of
from rules import RULES
from text_embeddings_inference import text_embeddings_inference
from tokenizers import Tokenizer

from attune.export.parity import SENTENCES, parity_texts
from attune.runtime import Embedder
from attune.runtime.arrays import Float64

MAX_ABS_DIFF = 1e-5  # of an fp32 embedding to torch's
INT8_MARGIN = 0.01  # by which the cosine may be lower on another machine; golden.json has the same margin
MIN_INT8_COSINE = 0.9999  # mean, to attune's runtime with the same graph and onnxruntime

Table = dict[str, dict[str, str]]

pytestmark = [
    pytest.mark.consumers,
    pytest.mark.skipif(not (MODEL / FP32).is_file(), reason=f"no {MODEL / FP32}: make repro, or set ATTUNE_MODEL"),
    pytest.mark.skipif(not TUNED.is_dir(), reason=f"no {TUNED}: make repro; torch's vectors are the reference"),
]


class Reference(NamedTuple):
    """Texts with torch's and attune's int8 embeddings, each text alone, and a mask of overlong texts."""

    texts: list[str]
    torch: Float64
    int8: Float64
    too_long: NDArray[np.bool_]


@pytest.fixture(scope="module")
def reference() -> Reference:
    """The parity texts of stage export, and one text longer than any encoder's positions."""
    from sentence_transformers import SentenceTransformer

    tokenizer = Tokenizer.from_file(str(MODEL / "tokenizer.json"))
    texts = [*parity_texts(tokenizer, tokenizer.truncation["max_length"]), " ".join(SENTENCES) * 30]
    encoder = SentenceTransformer(str(TUNED), device="cpu", local_files_only=True)
    torch = encoder.encode(texts, batch_size=1, prompt="", normalize_embeddings=True).astype(np.float64)
    embedder = Embedder(MODEL, INT8, threads=1)
    embedder.manifest = replace(embedder.manifest, default_prompt_name=None)
    too_long = np.array([bool(row.overflowing) for row in tokenizer.encode_batch(texts)])
    return Reference(texts, torch, embedder.encode(texts, batch_size=1).astype(np.float64), too_long)


@pytest.fixture(scope="module")
def table() -> Iterator[Table]:
    """One row per consumer, written as Markdown at the end even if tests fail."""
    rows: Table = {}
    yield rows
    columns = ("version", "checked", "fp32: largest difference to torch", "int8", *["fp16"] * HAS_FP16)
    lines = [f"| consumer | {' | '.join(columns)} |", "|---" * (len(columns) + 1) + "|"]
    lines += [f"| {name} | {' | '.join(row.get(column, '') for column in columns)} |" for name, row in rows.items()]
    SCRATCH.mkdir(parents=True, exist_ok=True)
    (SCRATCH / "table.md").write_text("\n".join(lines) + "\n", encoding="utf-8")


def cosines(found: Float64, expected: Float64) -> Float64:
    """Returns the cosine of each row with its counterpart, (n,)."""
    lengths = np.linalg.norm(found, axis=1) * np.linalg.norm(expected, axis=1)
    return np.asarray((found * expected).sum(axis=1) / lengths)


def compare(name: str, found: Float64, expected: Float64, texts: list[str]) -> float:
    """Returns the largest difference; fails with figures and worst text if it exceeds MAX_ABS_DIFF or is NaN."""
    assert found.shape == expected.shape, f"{name}: shape is {found.shape}, expected {expected.shape}"
    diffs = np.abs(found - expected).max(axis=1)
    largest, worst = float(diffs.max()), int(diffs.argmax())
    assert largest <= MAX_ABS_DIFF, (
        f"{name}: largest difference to torch is {largest:.2g} (limit {MAX_ABS_DIFF}), least cosine "
        f"{cosines(found, expected).min():.7f}; worst text {texts[worst][:80]!r}, "
        f"{(diffs > MAX_ABS_DIFF).sum()} of {len(texts)} beyond the limit"
    )
    return largest


def without_last_token(texts: list[str]) -> Float64:
    """Returns the graph's embeddings of texts cut after the special tokens were added, without the last one."""
    tokenizer = Tokenizer.from_file(str(MODEL / "tokenizer.json"))
    limit = tokenizer.truncation["max_length"]
    tokenizer.no_truncation()
    tokenizer.no_padding()
    session = onnxruntime.InferenceSession(str(MODEL / FP32), providers=["CPUExecutionProvider"])
    found = []
    for text in texts:
        ids = np.array([tokenizer.encode(text).ids[:limit]], dtype=np.int64)
        features = {"input_ids": ids, "attention_mask": np.ones_like(ids), "token_type_ids": np.zeros_like(ids)}
        fed = {node.name: features[node.name] for node in session.get_inputs()}
        found.append(session.run(["sentence_embedding"], fed)[0][0])
    return np.array(found, dtype=np.float64)


def expected_of(consumer: Consumer, reference: Reference) -> Float64:
    """Returns torch's vectors, or those of the cut texts where the consumer drops the last special token."""
    expected = reference.torch.copy()
    if consumer.cuts_last_token:
        cut = [text for text, long in zip(reference.texts, reference.too_long, strict=True) if long]
        expected[reference.too_long] = without_last_token(cut)
    return expected


@pytest.mark.parametrize("consumer", CONSUMERS, ids=lambda consumer: consumer.name)
def test_a_consumer_makes_the_vectors_of_torch(consumer: Consumer, reference: Reference, table: Table) -> None:
    """The fp32 graph or the torch weights give torch's vectors, alone and in batches of mixed lengths."""
    row = table.setdefault(consumer.name, {"checked": "not run"})
    answer = answer_of(consumer, reference.texts)
    row |= {
        "version": answer.versions[consumer.package],
        "checked": "run",
        "fp32: largest difference to torch": "failed",
    }
    expected = expected_of(consumer, reference)
    diffs = [compare(consumer.name, answer.vectors[run], expected, reference.texts) for run in ((FP32, 1), (FP32, 8))]
    row["fp32: largest difference to torch"] = f"{max(diffs):.1g}" + " [^cut]" * consumer.cuts_last_token


@pytest.mark.parametrize("consumer", [c for c in CONSUMERS if c.graphs], ids=lambda consumer: consumer.name)
def test_a_consumer_makes_the_int8_vectors_of_attune(consumer: Consumer, reference: Reference, table: Table) -> None:
    """The same onnxruntime gives nearly attune's vectors; any version is as near to torch as the manifest states."""
    answer = answer_of(consumer, reference.texts)
    row, found = table.setdefault(consumer.name, {}), answer.vectors[INT8, 1]
    measured = json.loads((MODEL / "manifest.json").read_text(encoding="utf-8"))["parity"]["int8_min_cosine"]
    least, limit = float(cosines(found, reference.torch).min()), measured - INT8_MARGIN
    row["int8"] = f"cosine to torch {least:.4f} or more"
    assert least >= limit, f"{consumer.name}: least int8 cosine to torch is {least:.4f}, expected {limit:.4f} or more"
    if answer.versions["onnxruntime"] == version("onnxruntime"):
        mean = float(cosines(found, reference.int8).mean())
        row["int8"] = f"mean cosine to attune.runtime {mean:.7f}"
        assert mean >= MIN_INT8_COSINE, f"{consumer.name}: mean cosine to attune's int8 is {mean:.7f}"


@pytest.mark.skipif(not HAS_FP16, reason=f"no {FP16}: export.fp16 is false")
@pytest.mark.parametrize("consumer", [c for c in CONSUMERS if c.graphs], ids=lambda consumer: consumer.name)
def test_a_consumer_makes_the_fp16_vectors_of_torch(consumer: Consumer, reference: Reference, table: Table) -> None:
    """Batches of mixed lengths are as near to torch as golden.json demands of any machine."""
    found = answer_of(consumer, reference.texts).vectors[FP16, 8]
    least = float(cosines(found, expected_of(consumer, reference)).min())
    limit = json.loads((MODEL / "golden.json").read_text(encoding="utf-8"))["min_cosine"][FP16]
    table.setdefault(consumer.name, {})["fp16"] = f"cosine to torch {least:.6f} or more"
    assert least >= limit, f"{consumer.name}: least fp16 cosine to torch is {least:.6f}, expected {limit} or more"


@pytest.mark.parametrize("name", [*RULES, "Text Embeddings Inference"])
def test_a_consumer_s_rules_give_the_vectors_of_torch_for_models_onnx(
    name: str, reference: Reference, table: Table
) -> None:
    """Only texts without a token may have no vector."""
    row = table[name] = {"checked": "by rule", "fp32: largest difference to torch": "failed"}
    found = (RULES | {"Text Embeddings Inference": text_embeddings_inference})[name](MODEL, reference.texts)
    tokenizer = Tokenizer.from_file(str(MODEL / "tokenizer.json"))
    tokenizer.no_padding()
    has_tokens = np.array([bool(tokenizer.encode(t, add_special_tokens=False).ids) for t in reference.texts])
    none = np.isnan(found).any(axis=1)
    assert not (none & has_tokens).any(), (
        f"{name}: no vector for {reference.texts[int((none & has_tokens).argmax())]!r}"
    )
    texts = [text for text, missing in zip(reference.texts, none, strict=True) if not missing]
    diff = compare(name, found[~none].astype(np.float64), reference.torch[~none], texts)
    row["fp32: largest difference to torch"] = f"{diff:.1g}" + " [^empty]" * bool(none.any())


def test_the_reference_is_able_to_fail(reference: Reference) -> None:
    """A consumer that ignores the maximum length, or drops the last special token, fails the comparison."""
    cut = [text for text, long in zip(reference.texts, reference.too_long, strict=True) if long]
    with pytest.raises(AssertionError, match="planted: largest difference"):
        compare("planted", without_last_token(cut), reference.torch[reference.too_long], cut)
