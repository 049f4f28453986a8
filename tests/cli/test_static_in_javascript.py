"""The demo page's static encoder, run by Node: the runtime's vectors, and the tokenizers library's words."""

import json
import random
import shutil
import subprocess
import unicodedata
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file
from static_folders import HARD_TEXTS
from tokenizers import AddedToken, Tokenizer, models, normalizers, pre_tokenizers

from attune.runtime.static import EMBEDDINGS, RECORD, VECTORS, WEIGHTS, StaticEncoder
from attune.stage import sha256_of

MODULE = Path(str(files("attune.cli.demo") / "templates" / "static_encoder.js"))
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
LETTERS = [letter for text in HARD_TEXTS for letter in unicodedata.normalize("NFD", text.lower())]


def ran(program: str, request: dict[str, Any]) -> Any:
    """Runs a program after the module's import, with a request on stdin; returns the JSON that it prints."""
    node = shutil.which("node")
    if not node:
        pytest.skip("no node on the PATH")
    head = f"""
      import {{ readFileSync }} from "node:fs";
      import {{ StaticEncoder, Tokenizer, tensors }} from {json.dumps(MODULE.as_uri())};
      const request = JSON.parse(readFileSync(0, "utf8"));
      const json = (file) => JSON.parse(readFileSync(file, "utf8"));
      const bytes = (file) => new Uint8Array(readFileSync(file)).buffer;
    """
    command = [node, "--input-type=module", "-e", head + program]
    done = subprocess.run(command, input=json.dumps(request), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout)


ENCODE = """
  const [content, vectors] = [json(request.folder + "/tokenizer.json"), bytes(request.folder + "/model.safetensors")];
  const encoder = new StaticEncoder(content, vectors);
  const rows = request.texts.map((text) => Array.from(encoder.encode(text)));
  console.log(JSON.stringify({ rows, ids: request.texts.map((text) => encoder.tokenizer.ids(text)) }));
"""
WORDS = """
  const tokenizer = new Tokenizer(request.tokenizer);
  console.log(JSON.stringify(request.texts.map((text) => tokenizer.words(text))));
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A static encoder with random vectors of words and of each letter of HARD_TEXTS, alone and within a word."""
    made = tmp_path_factory.mktemp("static")
    letters = sorted({letter for letter in LETTERS if not letter.isspace()})
    words = ["sort", "rows", "matrix", "the", "of", "##ing", "##tion", "path", *letters]
    pieces = dict.fromkeys([*SPECIAL, *words, *(f"##{letter}" for letter in letters)])
    tokenizer = Tokenizer(models.WordPiece({piece: id_ for id_, piece in enumerate(pieces)}, unk_token="[UNK]"))
    tokenizer.normalizer, tokenizer.pre_tokenizer = normalizers.BertNormalizer(), pre_tokenizers.BertPreTokenizer()
    tokenizer.add_special_tokens([AddedToken(token, normalized=False, special=True) for token in SPECIAL])
    tokenizer.enable_truncation(32)
    tokenizer.save(str(made / "tokenizer.json"))
    random_ = np.random.default_rng(0)
    vectors = random_.integers(-127, 128, size=(len(pieces), 24), dtype=np.int8)
    weights = random_.random(len(pieces), dtype=np.float32)
    weights[: len(SPECIAL)] = 0
    save_file({EMBEDDINGS: vectors, WEIGHTS: weights}, made / VECTORS)
    files = {name: {"sha256": sha256_of(made / name)} for name in (VECTORS, "tokenizer.json")}
    (made / RECORD).write_text(json.dumps({"format": 1, "encoder": "any", "dim": 24, "files": files}))
    return made


def drawn(n: int, seed: int) -> list[str]:
    """Returns random texts of words, signs and letters of many scripts."""
    pool = [*"sort matrix the of Graph node-list x_y".split(), *" .,-()'\"[]/\\\t", *LETTERS, "[SEP]"]
    of = random.Random(seed)
    return ["".join(of.choices(pool, k=of.randrange(1, 60))) for _ in range(n)]


def test_vectors_are_the_runtimes(folder: Path) -> None:
    """Within 1e-5, token for token, on accents, CJK, punctuation, long words, written special tokens, and 500 drawn."""
    texts = HARD_TEXTS + drawn(500, 0)
    got = ran(ENCODE, {"folder": str(folder), "texts": texts})
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    expected = [encoding.ids for encoding in tokenizer.encode_batch(texts, add_special_tokens=False)]
    assert got["ids"] == expected
    np.testing.assert_allclose(got["rows"], StaticEncoder(folder).encode_query(texts), atol=1e-5)
    known = [sum(id_ != tokenizer.token_to_id("[UNK]") for id_ in ids) for ids in expected]
    assert known[:2] == [0, 0] and min(known[2:5]) > 3 and known[5:7] == [0, 32]  # 32: the maximum length


@pytest.mark.parametrize(
    "rules",
    [
        {},
        {"lowercase": False, "strip_accents": True},
        {"lowercase": True, "strip_accents": False},
        {"clean_text": False, "handle_chinese_chars": False},
    ],
)
def test_each_rule_of_the_normaliser_does_what_the_library_does(folder: Path, rules: dict[str, bool]) -> None:
    """Words of all letters between two others; where they differ, Unicode has named a mark or sign since."""
    content = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
    content["normalizer"] |= rules
    tokenizer = Tokenizer.from_str(json.dumps(content))
    assert tokenizer.normalizer and tokenizer.pre_tokenizer
    codes = [*range(0x3400), *range(0x3400, 0xD800, 97), *range(0xE000, 0x30000, 97)]
    letters = [chr(code) for code in codes]
    texts = [f"A{letter}b" for letter in letters]
    got = ran(WORDS, {"tokenizer": content, "texts": texts})
    normalised = [tokenizer.normalizer.normalize_str(text) for text in texts]
    expected = [[word for word, _ in tokenizer.pre_tokenizer.pre_tokenize_str(text)] for text in normalised]
    differ = [letter for letter, one, other in zip(letters, got, expected, strict=True) if one != other]
    assert len(differ) < 300 and min(map(ord, differ), default=0x61D) >= 0x61D
    kinds = {unicodedata.category(letter) for letter in differ} - {"So", "Mc"}  # two that Unicode has named otherwise
    assert {kind for kind in kinds if kind[0] != "P"} <= {"Mn", "Cf", "Cn"}  # Cn: named since this Python's Unicode


def test_other_tokenizers_and_other_numbers_are_refused_by_name(folder: Path) -> None:
    """BPE, another normaliser, added words, float64: an error with what was got and expected, and no vectors."""
    content = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
    word = {"id": 9, "content": "sort", "single_word": True, "normalized": True, "special": False}
    changed = [
        content | {"model": content["model"] | {"type": "BPE"}},
        content | {"normalizer": None},
        content | {"pre_tokenizer": {"type": "ByteLevel"}},
        content | {"added_tokens": [*content["added_tokens"], word]},
    ]
    program = """
      const failure = (make) => { try { make(); return "none"; } catch (error) { return error.message; } };
      const header = '{"weights": {"dtype": "F64", "shape": [1], "data_offsets": [0, 8]}}';
      const file = new ArrayBuffer(8 + header.length + 8);
      new DataView(file).setBigUint64(0, BigInt(header.length), true);
      new Uint8Array(file, 8).set(new TextEncoder().encode(header));
      const messages = request.changed.map((content) => failure(() => new Tokenizer(content)));
      console.log(JSON.stringify([...messages, failure(() => tensors(file))]));
    """
    assert ran(program, {"changed": changed}) == [
        "the tokenizer's model is BPE, expected WordPiece",
        "the tokenizer's normalizer is undefined, expected BertNormalizer",
        "the tokenizer's pre-tokenizer is ByteLevel, expected BertPreTokenizer",
        "the tokenizer has added words that are no special tokens, expected none",
        "weights holds F64, expected I8 or F32",
    ]
