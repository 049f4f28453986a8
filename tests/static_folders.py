"""A static query encoder with random token vectors over the space of an exported encoder."""

from pathlib import Path

import numpy as np
from tokenizers import Tokenizer

from attune.export.static_folder import Quantised, quantised, write_static_folder
from attune.runtime.arrays import Float32
from attune.runtime.manifest import read_manifest

TEXTS = ["", "sort the rows of a matrix", "Shortest path, between two nodes", "n_jobs=-1 zzz 42", "word " * 80]
# in which tokenizers of two programs may differ
HARD_TEXTS = [
    "",
    "   \t\n ",
    "sort the rows of a matrix",
    "Shortest path, between (two) nodes; n_jobs=-1!",
    "word " * 80,  # beyond the maximum length
    "x" * 101,  # longer than WordPiece reads
    "x" * 100,
    "naïve Café, Ångström, Größe, ﬁnd, e\u0301a\u0308",
    "ΟΔΟΣ Σίσυφος ς, ПРИВЕТ ёлка, İstanbul ıI",
    "排序数组的行 ソート 行列 정렬 𠀀字",
    "ascii…dash—“quoted”«x»¿why? 3×4 £5 100% a^b `c` ~d $e +f",
    "[CLS] sort [SEP][MASK] [mask] [UNK]x [PAD]",
    "zero\u200bwidth\u00adsoft \ufeffmark\ufffd nul\u0000 bell\u0007 line\u2028two\u3000wide\u0085next\u000bup",
    "🤗 emoji 👩\u200d💻 family, flag 🇫🇷",
    "شجرة البحث مرتبة, हिन्दी में खोज, ไทย",
]


def random_vectors(exported: Path) -> Float32:
    """Returns (n_tokens, dim) vectors, zeros for special tokens."""
    tokenizer = Tokenizer.from_file(str(exported / "tokenizer.json"))
    vectors = np.random.default_rng(0).normal(size=(tokenizer.get_vocab_size(), read_manifest(exported).dim))
    vectors[[id_ for id_, token in tokenizer.get_added_tokens_decoder().items() if token.special]] = 0
    return vectors.astype(np.float32)


def random_tokens(exported: Path) -> Quantised:
    """Returns them as they ship."""
    return quantised(random_vectors(exported))


def write_static(exported: Path, out: Path) -> Path:
    """Writes a folder as stage static does, and returns it."""
    write_static_folder(exported, random_tokens(exported), 18, {"is_off": False, "dev_ndcg@10": 0.5}, out)
    return out
