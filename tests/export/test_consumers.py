"""Each program that may load the exported folder makes the vectors that torch makes: run for real, or by its rules.

Opt-in (`make test-consumers`): every consumer gets an environment of its own, and the folder is that of a finished
pipeline (models/onnx, or the folder in ATTUNE_MODEL with the torch encoder in `tuned` beside it). Leaves a table in
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
from roster import CONSUMERS, FP16, FP32, HAS_FP16, INT8, MODEL, SCRATCH, TUNED, Consumer, asked
from rules import RULES
from text_embeddings_inference import text_embeddings_inference
from tokenizers import Tokenizer

from attune.export.parity import SENTENCES, parity_texts
from attune.runtime import Embedder

MAX_ABS_DIFF = 1e-5  # of an fp32 embedding to torch's
INT8_SLACK = 0.01  # by how much another machine may fall short of the manifest's cosine; golden.json grants as much
MIN_INT8_COSINE = 0.9999  # mean, to what attune's runtime makes of the same graph with the same onnxruntime

Vectors = NDArray[np.float64]
Table = dict[str, dict[str, str]]

pytestmark = [
    pytest.mark.consumers,
    pytest.mark.skipif(not (MODEL / FP32).is_file(), reason=f"no {MODEL / FP32}: make repro, or set ATTUNE_MODEL"),
    pytest.mark.skipif(not TUNED.is_dir(), reason=f"no {TUNED}: make repro; torch's vectors are the reference"),
]


class Reference(NamedTuple):
    """Texts, torch's embeddings, and attune's int8 embeddings, each text alone; and which texts must be cut."""

    texts: list[str]
    torch: Vectors
    int8: Vectors
    too_long: NDArray[np.bool_]


@pytest.fixture(scope="module")
def reference() -> Reference:
    """The texts of the export stage's parity check, and one beyond every encoder's positions."""
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
    """One row per consumer; written as Markdown at the end, whatever failed."""
    rows: Table = {}
    yield rows
    columns = ("version", "checked", "fp32: largest difference to torch", "int8", *["fp16"] * HAS_FP16)
    lines = [f"| consumer | {' | '.join(columns)} |", "|---" * (len(columns) + 1) + "|"]
    lines += [f"| {name} | {' | '.join(row.get(column, '') for column in columns)} |" for name, row in rows.items()]
    SCRATCH.mkdir(parents=True, exist_ok=True)
    (SCRATCH / "table.md").write_text("\n".join(lines) + "\n", encoding="utf-8")


def cosines(found: Vectors, expected: Vectors) -> Vectors:
    """Of each row with its counterpart: (n,)."""
    lengths = np.linalg.norm(found, axis=1) * np.linalg.norm(expected, axis=1)
    return np.asarray((found * expected).sum(axis=1) / lengths)


def compare(name: str, found: Vectors, expected: Vectors, texts: list[str]) -> float:
    """The largest difference; fails, with the figures and the worst text, when it is beyond MAX_ABS_DIFF or NaN."""
    assert found.shape == expected.shape, f"{name}: shape is {found.shape}, expected {expected.shape}"
    diffs = np.abs(found - expected).max(axis=1)
    largest, worst = float(diffs.max()), int(diffs.argmax())
    assert largest <= MAX_ABS_DIFF, (
        f"{name}: largest difference to torch is {largest:.2g} (limit {MAX_ABS_DIFF}), least cosine "
        f"{cosines(found, expected).min():.7f}; worst text {texts[worst][:80]!r}, "
        f"{(diffs > MAX_ABS_DIFF).sum()} of {len(texts)} beyond the limit"
    )
    return largest


def without_last_token(texts: list[str]) -> Vectors:
    """The graph's embeddings of texts cut after the special tokens were added, so that the last one is lost."""
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


def expected_of(consumer: Consumer, reference: Reference) -> Vectors:
    """Torch's vectors; where the consumer cuts off the last special token, those of what it reads."""
    expected = reference.torch.copy()
    if consumer.cuts_last_token:
        cut = [text for text, long in zip(reference.texts, reference.too_long, strict=True) if long]
        expected[reference.too_long] = without_last_token(cut)
    return expected


@pytest.mark.parametrize("consumer", CONSUMERS, ids=lambda consumer: consumer.name)
def test_a_consumer_makes_the_vectors_of_torch(consumer: Consumer, reference: Reference, table: Table) -> None:
    """Alone and in batches of mixed lengths; from the fp32 graph or, where it runs torch, from the weights."""
    row = table.setdefault(consumer.name, {"checked": "not run"})
    answer = asked(consumer, reference.texts)
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
    """With the same onnxruntime nearly the same vectors; with any, as near to torch as the manifest says."""
    answer = asked(consumer, reference.texts)
    row, found = table.setdefault(consumer.name, {}), answer.vectors[INT8, 1]
    measured = json.loads((MODEL / "manifest.json").read_text(encoding="utf-8"))["parity"]["int8_min_cosine"]
    least, limit = float(cosines(found, reference.torch).min()), measured - INT8_SLACK
    row["int8"] = f"cosine to torch {least:.4f} or more"
    assert least >= limit, f"{consumer.name}: least int8 cosine to torch is {least:.4f}, expected {limit:.4f} or more"
    if answer.versions["onnxruntime"] == version("onnxruntime"):
        mean = float(cosines(found, reference.int8).mean())
        row["int8"] = f"mean cosine to attune.runtime {mean:.7f}"
        assert mean >= MIN_INT8_COSINE, f"{consumer.name}: mean cosine to attune's int8 is {mean:.7f}"


@pytest.mark.skipif(not HAS_FP16, reason=f"no {FP16}: export.fp16 is false")
@pytest.mark.parametrize("consumer", [c for c in CONSUMERS if c.graphs], ids=lambda consumer: consumer.name)
def test_a_consumer_makes_the_fp16_vectors_of_torch(consumer: Consumer, reference: Reference, table: Table) -> None:
    """In batches of mixed lengths, as near as golden.json demands of any machine."""
    found = asked(consumer, reference.texts).vectors[FP16, 8]
    least = float(cosines(found, expected_of(consumer, reference)).min())
    limit = json.loads((MODEL / "golden.json").read_text(encoding="utf-8"))["min_cosine"][FP16]
    table.setdefault(consumer.name, {})["fp16"] = f"cosine to torch {least:.6f} or more"
    assert least >= limit, f"{consumer.name}: least fp16 cosine to torch is {least:.6f}, expected {limit} or more"


@pytest.mark.parametrize("name", [*RULES, "Text Embeddings Inference"])
def test_by_its_rules_a_consumer_makes_the_vectors_of_torch(name: str, reference: Reference, table: Table) -> None:
    """Only texts without a single token may have none."""
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
    """A consumer that ignores the maximum length, or forgets the last special token, is found out."""
    cut = [text for text, long in zip(reference.texts, reference.too_long, strict=True) if long]
    with pytest.raises(AssertionError, match="planted: largest difference"):
        compare("planted", without_last_token(cut), reference.torch[reference.too_long], cut)
