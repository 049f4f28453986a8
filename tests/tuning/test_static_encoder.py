"""Training of the static query encoder: texts, token rows, a step by hand, and a gain that is planted."""

from pathlib import Path

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer

from attune.runtime import Embedder
from attune.runtime.arrays import Float32, Float64, Int64
from attune.stage import Machine
from attune.tuning.adapter.fit import Pairs
from attune.tuning.static.fit import Fitted, Lines, StaticParams, embedded, fit
from attune.tuning.static.texts import drawn, lines_of
from attune.tuning.static.tokens import Bags, Vocabulary, bags_of, token_vectors

PARAMS = StaticParams(
    steps=60,
    batch_size=8,
    learning_rate=0.3,
    scale=20,
    n_lines=10,
    n_tokens=1000,
    n_documents=1000,
    evaluate_every=10,
    patience=6,
    machine=Machine(threads=1, precision="fp32", batch_tokens=4096),
)


def test_lines_are_distinct_have_three_words_and_long_ones_are_cut_at_sentences() -> None:
    """Symbols and numbers are no words; white space is one space; a line of more than 40 words is its sentences."""
    long = f"{'many words ' * 25}end. The second sentence is short."
    texts = ["def f(x):\n  return  the sum  of x\n\nreturn the sum of x\n1 2 3 4\nthe sum", long]
    assert lines_of(texts) == [
        "The second sentence is short.",
        f"{'many words ' * 25}end",
        "return the sum of x",
    ]


def test_an_added_document_replaces_few_of_the_drawn_lines() -> None:
    """Drawn by hashes: of 50 among 100 lines, one more line replaces one at most; another seed draws others."""
    lines = [f"line number {n}" for n in range(100)]
    before, after = drawn(lines, 50, 13), drawn([*lines, "one more line"], 50, 13)
    assert len(before) == 50 and len(set(before) - set(after)) <= 1
    assert set(drawn(lines, 50, 14)) != set(before)
    assert sorted(drawn(lines, 1000, 13)) == sorted(lines)


def test_rows_are_those_of_tokens_without_special_ones(tiny_onnx: Path) -> None:
    """Row numbers lead back to the tokenizer's ids; a small vocabulary holds the most frequent tokens."""
    file = tiny_onnx / "tokenizer.json"
    tokenizer = Tokenizer.from_file(str(file))
    texts = ["sort sort sort matrix", "[CLS] matrix [SEP] graph", ""]
    whole = Vocabulary(file, 10_000, texts)
    bags = whole.bags(texts)
    assert bags.offsets.tolist() == [0, 4, 6, 6] and len(bags) == 3
    ids = {word: tokenizer.token_to_id(word) for word in ("sort", "matrix", "graph")}
    expected = [ids[word] for word in ("sort", "sort", "sort", "matrix", "matrix", "graph")]
    assert whole.token_ids[bags.rows].tolist() == expected
    assert bags.take(np.array([1, 0])).rows.tolist() == [*bags.rows[4:6], *bags.rows[:4]]
    small = Vocabulary(file, 2, texts)
    assert small.token_ids.tolist() == sorted([ids["sort"], ids["matrix"]])
    assert len(small.bags(["graph"]).rows) == 0
    table = small.by_id(np.ones((2, 3), dtype=np.float32))
    assert table.shape == (small.size, 3) and table.sum() == 6 and table[ids["sort"]].tolist() == [1, 1, 1]
    # frequency 3 of 5: a / (a + p); a token that no text has keeps all of its weight
    assert small.first_weights[np.searchsorted(small.token_ids, ids["sort"])] == pytest.approx(0.001 / 0.601)
    assert whole.first_weights.max() == 1


def test_a_token_alone_is_embedded_as_the_encoder_embeds_its_word(tiny_onnx: Path) -> None:
    """Between the special tokens, for words that are one token."""
    tokenizer = Tokenizer.from_file(str(tiny_onnx / "tokenizer.json"))
    embedder, words = Embedder(tiny_onnx, threads=1), ["sort", "matrix", "tree"]
    ids = np.array([tokenizer.token_to_id(word) for word in words])
    np.testing.assert_allclose(token_vectors(embedder, ids), embedder.encode_query(words), atol=1e-6)


def test_sums_and_their_gradient_touch_the_tokens_of_the_texts_alone() -> None:
    """(1, 0) + (0, 1) has length sqrt(2); the third token is in no text; a text without tokens is zeros."""
    vectors = torch.nn.Parameter(torch.tensor([[1.0, 0.0], [0.0, 1.0], [5.0, 5.0]]))
    got = embedded(vectors, bags_of([np.array([0, 1]), np.array([], dtype=np.int64)]))
    assert got.detach().numpy() == pytest.approx(np.array([[0.5**0.5, 0.5**0.5], [0, 0]]))
    got[0, 0].backward()
    assert vectors.grad is not None and vectors.grad.is_sparse
    assert set(vectors.grad.coalesce().indices()[0].tolist()) == {0, 1}


def planted(n_lines: int) -> tuple[Float32, Bags, Pairs, Lines]:
    """Eight tokens that start as noise; the document of query i is axis i, and only token i is in the query."""
    random = np.random.default_rng(0)
    axes = np.eye(8, dtype=np.float32)
    bags = bags_of([np.array([row]) for row in range(8)])
    rows: Int64 = np.column_stack([np.arange(8), np.arange(8)])
    pairs = Pairs(axes, axes, rows, rows)
    lines = Lines(bags.take(np.arange(n_lines)), axes[:n_lines])
    return random.normal(size=(8, 8)).astype(np.float32), bags, pairs, lines


def trained(n_lines: int, params: StaticParams = PARAMS, seed: int = 13) -> Fitted:
    """Trains on the planted tokens; the score is the cosine to each query's document."""
    start, bags, pairs, lines = planted(n_lines)

    def score(vectors: Float32) -> Float64:
        mapped = embedded(torch.from_numpy(vectors), bags).numpy()
        return (mapped * pairs.documents).sum(axis=1).astype(np.float64)

    return fit(start, bags, pairs, lines, params, seed, score)


@pytest.mark.parametrize("n_lines", [0, 3])
def test_training_finds_what_is_planted_and_keeps_the_best_of_dev(n_lines: int) -> None:
    """Cosines rise from chance to above .6, with lines and without; what is kept is the best evaluation."""
    fitted = trained(n_lines)
    means = dict(fitted.curve)
    assert abs(means[0]) < 0.5 and means[fitted.step] > 0.6
    assert fitted.values.mean() == max(means.values()) == means[fitted.step]


def test_equal_seeds_give_equal_bytes_and_other_seeds_others() -> None:
    """With documents drawn anew in each step, too."""
    params = PARAMS.model_copy(update={"n_documents": 4, "batch_size": 3, "steps": 20})
    one, two, other = trained(3, params), trained(3, params), trained(3, params, seed=14)
    assert one.vectors.tobytes() == two.vectors.tobytes() != other.vectors.tobytes()


def test_a_start_that_no_step_beats_stays() -> None:
    """Where dev falls, training ends after `patience` evaluations and step 0 is kept, to the bit."""
    start, bags, pairs, lines = planted(3)
    scores = iter(range(100, 0, -1))
    fitted = fit(start, bags, pairs, lines, PARAMS, 13, lambda _: np.full(2, float(next(scores))))
    assert (fitted.step, fitted.n_steps) == (0, 60) and fitted.vectors.tobytes() == start.tobytes()
    early = PARAMS.model_copy(update={"patience": 2})
    scores = iter(range(100, 0, -1))
    assert fit(start, bags, pairs, lines, early, 13, lambda _: np.full(2, float(next(scores)))).n_steps == 20
