"""Conventions of known families of encoders: pooling, prompts, length, by the model card of each; and their cost."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

SEARCHING = "Represent this sentence for searching relevant passages: "
SEARCHING_ZH = "为这个句子生成表示以用于检索相关文章："
INSTRUCTION = "Instruct: Given a web search query, retrieve relevant passages that answer the query\nQuery:"
WITHOUT_CODE = "Alibaba-NLP/gte-modernbert-base, nomic-ai/modernbert-embed-base or intfloat/multilingual-e5-small"

MAX_BYTES = 2**31 - 1  # of one ONNX file, and so of an encoder's weights in fp32


@dataclass(frozen=True)
class Shape:
    """Size of a transformer, by its config.json.

    Attributes:
        layers: number of layers.
        width: numbers per token between layers (hidden_size).
        inner: numbers per token inside the feed-forward network (intermediate_size).
        vocabulary: tokens that have a vector of their own.
        is_gated: whether the feed-forward network has a third matrix.
        attention: columns of the matrices for queries, keys, values and output together; 0 for four times the width.
    """

    layers: int
    width: int
    inner: int
    vocabulary: int
    is_gated: bool = False
    attention: int = 0

    @property
    def n_multiplied(self) -> int:
        """Numbers in the matrices of all layers; each token is multiplied with each of them once."""
        return (
            self.layers * self.width * ((self.attention or 4 * self.width) + (3 if self.is_gated else 2) * self.inner)
        )

    @property
    def n_parameters(self) -> int:
        """Numbers in matrices and token vectors, nearly all of the weights."""
        return self.n_multiplied + self.vocabulary * self.width

    @property
    def cost(self) -> float:
        """Multiplications per token, relative to the default encoder's; attention between tokens is left out."""
        return self.n_multiplied / MINILM.n_multiplied


MINILM = Shape(6, 384, 1536, 30522)
BERT_BASE, BERT_LARGE = Shape(12, 768, 3072, 30522), Shape(24, 1024, 4096, 30522)
MULTILINGUAL_MINILM, XLM_R_LARGE = Shape(12, 384, 1536, 250037), Shape(24, 1024, 4096, 250002)
MODERNBERT_BASE = Shape(22, 768, 1152, 50368, is_gated=True)
GEMMA_300M = Shape(24, 768, 1152, 262144, is_gated=True, attention=2048)
QWEN3_600M = Shape(28, 1024, 3072, 151669, is_gated=True, attention=6144)


@dataclass(frozen=True)
class Family:
    """Conventions of a family of encoders, as its makers use them.

    Attributes:
        title: name of the family.
        pattern: regular expression that is found in the names of its encoders, in lower case.
        pooling: mode, named as in sentence-transformers.
        query: text put before queries; "" for none.
        document: text put before documents; "" for none.
        max_length: tokens that its encoders read.
        card: encoder on the Hugging Face hub whose model card says so.
        instead: encoder to use instead where that which `card` names brings code of its own or is too large.
        shape: of the encoder that `card` names; None where it brings code.
    """

    title: str
    pattern: str
    pooling: str
    query: str
    document: str
    max_length: int
    card: str
    instead: str = ""
    shape: Shape | None = None


# the first whose pattern fits counts, so the special ones come first
FAMILIES = (
    Family(
        *("multilingual e5, instruct", r"multilingual-e5-\w+-instruct", "mean", f"{INSTRUCTION} ", "", 512),
        *("intfloat/multilingual-e5-large-instruct", "intfloat/multilingual-e5-base"),
        shape=XLM_R_LARGE,
    ),
    Family(
        *("multilingual e5", r"multilingual-e5-(small|base|large)", "mean", "query: ", "passage: ", 512),
        "intfloat/multilingual-e5-small",
        shape=MULTILINGUAL_MINILM,
    ),
    Family(
        "e5", r"\be5-(small|base|large)", "mean", "query: ", "passage: ", 512, "intfloat/e5-base-v2", shape=BERT_BASE
    ),
    Family(
        *("bge-m3", r"\bbge-m3\b", "cls", "", "", 8192, "BAAI/bge-m3", "intfloat/multilingual-e5-base"),
        shape=XLM_R_LARGE,
    ),
    Family(
        "bge, English",
        r"\bbge-(small|base|large)-en",
        "cls",
        SEARCHING,
        "",
        512,
        "BAAI/bge-base-en-v1.5",
        shape=BERT_BASE,
    ),
    Family(
        "bge, Chinese",
        r"\bbge-(small|base|large)-zh",
        "cls",
        SEARCHING_ZH,
        "",
        512,
        "BAAI/bge-base-zh-v1.5",
        shape=Shape(12, 768, 3072, 21128),
    ),
    Family(
        "gte-modernbert",
        r"\bgte-modernbert",
        "cls",
        "",
        "",
        8192,
        "Alibaba-NLP/gte-modernbert-base",
        shape=MODERNBERT_BASE,
    ),
    Family(
        *("gte, multilingual", r"\bgte-multilingual-base", "cls", "", "", 8192, "Alibaba-NLP/gte-multilingual-base"),
        instead="intfloat/multilingual-e5-base",
    ),
    Family(
        *("gte v1.5", r"\bgte-(base|large)-en-v1\.5", "cls", "", "", 8192, "Alibaba-NLP/gte-base-en-v1.5"),
        instead="Alibaba-NLP/gte-modernbert-base",
    ),
    Family(
        *("gte-Qwen2", r"\bgte-qwen2", "lasttoken", f"{INSTRUCTION} ", "", 32768),
        *("Alibaba-NLP/gte-Qwen2-1.5B-instruct", "Alibaba-NLP/gte-modernbert-base"),
    ),
    Family("gte", r"\bgte-(small|base|large)$", "mean", "", "", 512, "thenlper/gte-base", shape=BERT_BASE),
    Family(
        *("modernbert-embed", r"\bmodernbert-embed", "mean", "search_query: ", "search_document: ", 8192),
        "nomic-ai/modernbert-embed-base",
        shape=MODERNBERT_BASE,
    ),
    Family(
        *("nomic-embed-text v1", r"\bnomic-embed-text-v1\b", "mean", "search_query: ", "search_document: ", 8192),
        *("nomic-ai/nomic-embed-text-v1.5", "nomic-ai/modernbert-embed-base"),
    ),
    Family(
        *("nomic-embed-text v2", r"\bnomic-embed-text-v2", "mean", "search_query: ", "search_document: ", 512),
        *("nomic-ai/nomic-embed-text-v2-moe", "intfloat/multilingual-e5-base"),
    ),
    Family(
        *("arctic-embed-l v2", r"\barctic-embed-l-v2", "cls", "query: ", "", 8192),
        *("Snowflake/snowflake-arctic-embed-l-v2.0", "intfloat/multilingual-e5-base"),
        shape=XLM_R_LARGE,
    ),
    Family(
        *("arctic-embed-m v2", r"\barctic-embed-m-v2", "cls", "query: ", "", 8192),
        *("Snowflake/snowflake-arctic-embed-m-v2.0", "Snowflake/snowflake-arctic-embed-m-v1.5"),
    ),
    Family(
        *("arctic-embed-m-long", r"\barctic-embed-m-long", "cls", SEARCHING, "", 2048),
        *("Snowflake/snowflake-arctic-embed-m-long", "Snowflake/snowflake-arctic-embed-m-v1.5"),
    ),
    Family(
        *("arctic-embed", r"\barctic-embed-(xs|s|m|l)\b", "cls", SEARCHING, "", 512),
        "Snowflake/snowflake-arctic-embed-m-v1.5",
        shape=BERT_BASE,
    ),
    Family(
        "mxbai",
        r"\bmxbai-embed-large",
        "cls",
        SEARCHING,
        "",
        512,
        "mixedbread-ai/mxbai-embed-large-v1",
        shape=BERT_LARGE,
    ),
    Family(
        *("embeddinggemma", r"\bembeddinggemma", "mean", "task: search result | query: ", "title: none | text: "),
        *(2048, "google/embeddinggemma-300m"),
        shape=GEMMA_300M,
    ),
    Family(
        *("Qwen3-Embedding", r"\bqwen3-embedding", "lasttoken", INSTRUCTION, "", 32768),
        *("Qwen/Qwen3-Embedding-0.6B", "Alibaba-NLP/gte-modernbert-base"),
        shape=QWEN3_600M,
    ),
    Family(
        *("multilingual MiniLM", r"\bparaphrase-multilingual-minilm", "mean", "", "", 128),
        "sentence-transformers/paraphrase-multilingual-MiniLM-L12-v2",
        shape=MULTILINGUAL_MINILM,
    ),
    Family("MiniLM", r"\ball-minilm", "mean", "", "", 256, "sentence-transformers/all-MiniLM-L6-v2", shape=MINILM),
)


def family_of(model: str, families: Sequence[Family] = FAMILIES) -> Family | None:
    """Returns the family of an encoder by its name, without the owner; None where no family is known."""
    name = model.rstrip("/").rpartition("/")[2].lower()
    return next((family for family in families if re.search(family.pattern, name)), None)


def instead_of(model: str) -> str:
    """Names an encoder to use instead of one that brings code of its own or is too large."""
    family = family_of(model)
    return (family.instead if family else "") or WITHOUT_CODE


def is_too_large(n_parameters: int) -> bool:
    """Tells whether weights in fp32 exceed one ONNX file."""
    return 4 * n_parameters > MAX_BYTES


def families_table() -> str:
    """Returns the families as a Markdown table, in alphabetical order."""
    head = ("family", "model card", "parameters", "cost", "pooling", "before queries", "before documents", "tokens")
    rows = [
        (
            *(each.title, each.card, *_size(each), each.pooling),
            *(_shown(each.query), _shown(each.document), f"{each.max_length:,}"),
        )
        for each in sorted(FAMILIES, key=lambda family: family.title.lower())
    ]
    return "\n".join(f"| {' | '.join(row)} |" for row in (head, ("---",) * len(head), *rows))


def _size(family: Family) -> tuple[str, str]:
    """Returns parameters and relative cost, or what to use instead."""
    if not family.shape:
        return "brings code", f"use {family.instead}"
    said = f"{family.shape.n_parameters / 1e6:,.0f} million"
    if is_too_large(family.shape.n_parameters):
        return f"{said}, too large", f"use {family.instead}"
    return said, f"{family.shape.cost:.0f}"


def _shown(prompt: str) -> str:
    """Returns a prompt as code in a table; `|` is escaped there and a line break written \\n."""
    return "`" + prompt.replace("\n", "\\n").replace("|", "\\|") + "`" if prompt else "nothing"
