"""Parity texts have the critical lengths; the figures are those computed by hand."""

from pathlib import Path

import numpy as np
import pytest
from tokenizers import Tokenizer

from attune.export import parity


def test_parity_texts_have_the_critical_lengths(tiny_onnx: Path) -> None:
    """1 and 8 tokens, one less than the maximum, the maximum, more, none; enough texts for a mixed batch of 32."""
    tokenizer = Tokenizer.from_file(str(tiny_onnx / "tokenizer.json"))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    texts = parity.parity_texts(tokenizer, 32)
    lengths = [len(encoding.ids) for encoding in tokenizer.encode_batch(texts)]
    assert lengths[:5] == [3, 8, 31, 32, 42]
    assert {"", " "} < set(texts)
    assert len(set(texts)) == len(texts) == 31
    assert parity.BATCH_SIZES == (1, 2, 7, 32)


def test_parity_figures_by_hand() -> None:
    """Two batch sizes, two texts, two dimensions; int8 is wrong by a right angle in one of four places."""
    truth = np.array([[1, 0], [0, 1]], dtype=np.float32)
    fp32 = np.array([truth, [[0.8, 0.6], [0, 1]]], dtype=np.float32)
    int8 = np.array([truth, [[0, 1], [0, 1]]], dtype=np.float32)
    figures = parity.int8_parity(fp32, int8, truth)
    assert figures.fp32_min_cosine == pytest.approx(0.8)
    assert figures.fp32_max_abs_diff == pytest.approx(0.6)
    assert (figures.int8_mean_cosine, figures.int8_min_cosine, figures.int8_batch_max_abs_diff) == (0.75, 0, 1)
