"""Scripts of a data set: texts by script, and how much of their letters a tokenizer reads."""

from pathlib import Path
from typing import Any

import pytest
from shipped_params import PANEL
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers

from attune.cli.check.scripts import script_facts
from attune.evaluation.checks.data import scripts
from attune.evaluation.checks.facts import Facts
from attune.evaluation.checks.limits import GateParams
from attune.stage import load_params

PIECES = ["[UNK]", "in", "##ch", "co", "##de", "א", "ב", "##ב", "##א", "的", "手"]


def read(tokenizer: Tokenizer, folder: Path, *documents: str) -> dict[str, tuple[int, float, float]]:
    """Returns by script the number of documents, and the shares of unknown letters and of those taken apart."""
    tokenizer.save(str(folder / "tokenizer.json"))
    facts = script_facts({"documents": documents}, folder / "tokenizer.json")
    return {name: tuple(round(value, 3) for value in row.values()) for name, row in facts.items()}


@pytest.fixture
def word_pieces() -> Tokenizer:
    """A tokenizer that knows English syllables, some single Hebrew letters and two Chinese ones, as BERT's does."""
    vocabulary = {piece: place for place, piece in enumerate(PIECES)}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    return tokenizer


def test_words_of_pieces_unknown_words_and_spelled_ones_by_hand(word_pieces: Tokenizer, tmp_path: Path) -> None:
    """Latin is read; of seven Hebrew letters four are spelled and three unknown; of three Chinese one is unknown."""
    found = read(word_pieces, tmp_path, "inch code", "אב בא שלב", "手的页", "12 + 34", "")
    assert found == {"Hebrew": (1, 0.429, 0.571), "Han": (1, 0.333, 0), "Latin": (1, 0, 0)}


def test_a_text_counts_for_each_script_with_a_tenth_of_its_letters(word_pieces: Tokenizer, tmp_path: Path) -> None:
    """Ten Latin letters and one Hebrew are Latin alone; eight and one are both, and one letter is no spelled word."""
    assert read(word_pieces, tmp_path, "inch inch in א") == {"Latin": (1, 0, 0)}
    assert read(word_pieces, tmp_path, "inch inch א") == {"Hebrew": (1, 0, 0), "Latin": (1, 0, 0)}


def test_dropped_vowel_signs_are_unknown_and_accents_are_no_letters(word_pieces: Tokenizer, tmp_path: Path) -> None:
    """BERT's normaliser strips both: a decomposed Latin word is read, a Hebrew point is lost; joiners part no word."""
    assert read(word_pieces, tmp_path, "inch\u0301 co\u200dde") == {"Latin": (1, 0, 0)}
    assert read(word_pieces, tmp_path, "א\u05b8ב") == {"Hebrew": (1, 0.333, 0.667)}


def test_bytes_are_letters_taken_apart(tmp_path: Path) -> None:
    """By byte-level BPE and by SentencePiece's bytes: Thai letters are three bytes; "ab" is a token."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {piece: place for place, piece in enumerate([*alphabet, "ab"])}
    level = Tokenizer(models.BPE(vocabulary, [("a", "b")]))
    level.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    level.decoder = decoders.ByteLevel()
    expected = {"Latin": (1, 0, 0), "Thai": (1, 0, 1)}
    assert read(level, tmp_path, "ab", "กข") == expected
    pieces = [("<unk>", 0.0), ("ab", -1.0), *((f"<0x{byte:02X}>", -9.0) for byte in range(256))]
    assert read(Tokenizer(models.Unigram(pieces, unk_id=0, byte_fallback=True)), tmp_path, "ab", "กข") == expected
    without = Tokenizer(models.Unigram(pieces[:2], unk_id=0))
    assert read(without, tmp_path, "ab", "กข") == {"Latin": (1, 0, 0), "Thai": (1, 1, 0)}


def judged(n_thai: int, unknown: float, apart: float) -> dict[str, str]:
    """Returns status and sentence of ATT045 for 200 documents and 100 queries, some documents of them in Thai."""
    latin = {"n_documents": 200, "n_queries": 100, "unknown_share": 0.0, "apart_share": 0.01}
    thai = {"n_documents": n_thai, "n_queries": 0, "unknown_share": unknown, "apart_share": apart}
    known: dict[str, Any] = {"documents": {"n_sampled": 200}, "queries": {"n_sampled": 100}}
    known |= {"scripts": {"Latin": latin, "Thai": thai}, "params": {"base": {"model": "some/encoder"}}}
    limits = load_params(GateParams, "gate", PANEL)
    return {outcome.status.value: outcome.sentence for outcome in scripts.judge(Facts(known), limits)}


def test_a_script_that_the_tokenizer_cannot_read_warns() -> None:
    """More than a fifth of the letters of a script with a hundredth of the texts; the line names encoder and remedy."""
    told = judged(2, 0.9, 0.1)
    assert told["failed"] == (
        "the tokenizer of some/encoder cannot read Thai (2 of 200 documents): 90% of its letters are unknown to it, "
        "10% in words that it spells letter by letter; take an encoder trained on it (docs/encoders.md)"
    )
    assert told["passed"] == "the tokenizer of some/encoder reads Latin (200 of 200 documents and 100 of 100 queries)"
    assert "failed" in judged(2, 0.11, 0.1)
    assert "failed" not in judged(2, 0.1, 0.1) and "Thai" in judged(2, 0.1, 0.1)["passed"]
    stray = judged(1, 1.0, 0.0)
    assert set(stray) == {"passed"} and "Thai" not in stray["passed"]
