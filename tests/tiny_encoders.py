"""Tiny encoders with random weights, one for each family of transformers that people bring.

As sentence-transformers saves them: hidden size 16, one or two layers, a tokenizer of the family's kind, texts cut at
16 tokens. Builders of layouts that the library only reads stand in `layouts.py`.
"""

import json
import string
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

MAX_LENGTH = 16
PROMPTS = {"query": "search: ", "document": "text: "}
SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
SHAPE: dict[str, Any] = {
    **{"hidden_size": 16, "num_attention_heads": 2, "intermediate_size": 32, "num_hidden_layers": 1},
    **{"max_position_embeddings": 32, "initializer_range": 0.2},
}


def wordpiece(folder: Path) -> int:
    """Saves a tokenizer of BERT's kind, of single characters; returns the size of its vocabulary."""
    from transformers import BertTokenizer

    characters = string.ascii_lowercase + string.digits
    pieces = [*SPECIAL, *characters, *(f"##{c}" for c in characters), *string.punctuation]
    BertTokenizer(vocab={piece: i for i, piece in enumerate(pieces)}, model_max_length=MAX_LENGTH).save_pretrained(
        folder
    )
    return len(pieces)


def byte_level(folder: Path) -> int:
    """Saves a tokenizer of RoBERTa's and ModernBERT's kind: pieces of bytes, so white space counts; padding is 1."""
    from tokenizers import models, pre_tokenizers

    special = ("<s>", "<pad>", "</s>", "<unk>")
    vocabulary = {token: i for i, token in enumerate([*special, *sorted(pre_tokenizers.ByteLevel.alphabet())])}
    before = pre_tokenizers.ByteLevel(add_prefix_space=False)
    return _save_tokenizer(folder, models.BPE(vocabulary, []), before, special)


def unigrams(folder: Path) -> int:
    """Saves a tokenizer of XLM-R's, DeBERTa's and T5's kind; padding is 1."""
    from tokenizers import models, pre_tokenizers

    special = ("<s>", "<pad>", "</s>", "<unk>")
    pieces = [*((token, 0.0) for token in special), *((piece, -8.0) for piece in "▁abcdefghijklmnopqrstuvwxyz")]
    return _save_tokenizer(folder, models.Unigram(pieces, 3), pre_tokenizers.Metaspace(), special)


def _save_tokenizer(folder: Path, model: Any, pre_tokenizer: Any, special: tuple[str, str, str, str]) -> int:
    from tokenizers import Tokenizer, processors
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(model)
    tokenizer.pre_tokenizer = pre_tokenizer
    first, pad, last, unknown = special
    ends = [(token, tokenizer.token_to_id(token)) for token in (first, last)]
    tokenizer.post_processor = processors.TemplateProcessing(f"{first} $A {last}", special_tokens=ends)
    names = {"cls_token": first, "pad_token": pad, "sep_token": last, "unk_token": unknown}
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, model_max_length=MAX_LENGTH, **names).save_pretrained(folder)
    return int(tokenizer.get_vocab_size())


def decoder_bytes(folder: Path) -> int:
    """Saves a tokenizer of Qwen's kind: texts end in a token of their own, which also pads them, on the left."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    vocabulary = {token: i for i, token in enumerate(["<|end|>", *sorted(pre_tokenizers.ByteLevel.alphabet())])}
    tokenizer = Tokenizer(models.BPE(vocabulary, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.post_processor = processors.TemplateProcessing("$A <|end|>", special_tokens=[("<|end|>", 0)])
    names = {"pad_token": "<|end|>", "eos_token": "<|end|>", "padding_side": "left"}
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, model_max_length=MAX_LENGTH, **names).save_pretrained(folder)
    return len(vocabulary)


@dataclass(frozen=True)
class Family:
    """A family of transformers.

    Attributes:
        name: of its classes in transformers, without Config and Model.
        tokenizer: saves a tokenizer; returns the size of its vocabulary.
        settings: of its config, beside the size of the vocabulary.
        pooling: that its encoders use most.
        model: name of the class of the model; by default that of the family.
    """

    name: str
    tokenizer: Callable[[Path], int]
    settings: dict[str, Any] = field(default_factory=lambda: SHAPE)
    pooling: str = "mean"
    model: str = ""


ENDS: dict[str, Any] = {"pad_token_id": 1, "bos_token_id": 0, "eos_token_id": 2}
NUMBERED = SHAPE | ENDS | {"type_vocab_size": 1}
DECODER = SHAPE | {
    "num_key_value_heads": 1,
    "head_dim": 8,
    "num_hidden_layers": 2,
    "pad_token_id": 0,
    "eos_token_id": 0,
}
T5 = {"d_model": 16, "d_kv": 8, "d_ff": 32, "num_layers": 2, "num_heads": 2, "pad_token_id": 1, "eos_token_id": 2}

FAMILIES = {
    "bert": Family("Bert", wordpiece),
    "mpnet": Family("MPNet", wordpiece, SHAPE | {"pad_token_id": 0}),
    # one layer attends to all tokens, one only to neighbours
    "modernbert": Family(
        "ModernBert",
        byte_level,
        SHAPE
        | ENDS
        | {"num_hidden_layers": 2, "global_attn_every_n_layers": 2, "local_attention": 6}
        | {"cls_token_id": 0, "sep_token_id": 2},
    ),
    "xlm_r": Family("XLMRoberta", unigrams, NUMBERED, "cls"),
    "distilbert": Family(
        *("DistilBert", wordpiece),
        {
            "dim": 16,
            "n_heads": 2,
            "n_layers": 1,
            "hidden_dim": 32,
            "max_position_embeddings": 32,
            "initializer_range": 0.2,
        },
    ),
    "qwen3": Family("Qwen3", decoder_bytes, DECODER, "lasttoken"),
    "roberta": Family("Roberta", byte_level, NUMBERED),
    "electra": Family("Electra", wordpiece, SHAPE | {"embedding_size": 8}),
    "albert": Family("Albert", wordpiece, SHAPE | {"embedding_size": 8, "num_hidden_layers": 3}),
    "deberta_v2": Family(
        *("DebertaV2", unigrams),
        NUMBERED
        | {"relative_attention": True, "position_buckets": 8, "pos_att_type": ["p2c", "c2p"]}
        | {"position_biased_input": False, "share_att_key": True, "norm_rel_ebd": "layer_norm"},
    ),
    "convbert": Family("ConvBert", wordpiece, SHAPE | {"embedding_size": 16, "conv_kernel_size": 3}),
    "roformer": Family("RoFormer", wordpiece, SHAPE | {"embedding_size": 16}),
    "fnet": Family("FNet", wordpiece, SHAPE | {"tpu_short_seq_length": 32}),
    "nomic_bert": Family("NomicBert", wordpiece),
    "jina_v3": Family("JinaEmbeddingsV3", byte_level, NUMBERED),
    "t5": Family("T5", unigrams, T5, model="T5EncoderModel"),
    "eurobert": Family("EuroBert", byte_level, SHAPE | ENDS | {"num_key_value_heads": 1}),
    "mistral": Family("Mistral", decoder_bytes, DECODER, "lasttoken"),
    "gemma3": Family(
        *(
            "Gemma3Text",
            decoder_bytes,
            DECODER | {"num_hidden_layers": 2, "use_bidirectional_attention": True, "sliding_window": 8},
        ),
        model="Gemma3TextModel",
    ),
    "gpt2": Family("GPT2", decoder_bytes, {"n_embd": 16, "n_layer": 2, "n_head": 2, "n_positions": 32}, "weightedmean"),
    "xlnet": Family("XLNet", unigrams, {"d_model": 16, "n_layer": 1, "n_head": 2, "d_inner": 32, "pad_token_id": 1}),
}


def transformer(folder: Path, family: str) -> None:
    """Saves the bare transformer of a family with its tokenizer."""
    import transformers

    kind = FAMILIES[family]
    config = getattr(transformers, f"{kind.name}Config")(vocab_size=kind.tokenizer(folder), **kind.settings)
    encoder = getattr(transformers, kind.model or f"{kind.name}Model")(config)
    if kind.tokenizer is decoder_bytes:
        _embed_padding(encoder)
    encoder.save_pretrained(folder)


def _embed_padding(encoder: Any) -> None:
    """Gives the padding token, in which a decoder's texts end, an embedding: among random weights it has none."""
    import torch

    weight = encoder.get_input_embeddings().weight
    with torch.no_grad():
        weight[weight.eq(0).all(dim=1)] = weight[-1].flip(0)


def build(
    folder: Path,
    family: str,
    pooling: str = "",
    has_prompts: bool = False,
    has_dense: bool = False,
    name: str = "tuned",
) -> Path:
    """Saves a tiny encoder with random weights in the layout of users' encoders; returns its folder."""
    import torch
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Dense, Normalize, Pooling, Transformer

    with torch.random.fork_rng():
        torch.manual_seed(3)
        transformer(folder / "bare", family)
        layers: list[Any] = [Transformer(str(folder / "bare"), max_seq_length=MAX_LENGTH)]
        layers.append(Pooling(16, pooling or FAMILIES[family].pooling))
        layers += [Dense(16, 12), Dense(12, 8, bias=False)] if has_dense else []
        prompts = PROMPTS if has_prompts else None
        encoder = SentenceTransformer(modules=[*layers, Normalize()], prompts=prompts, device="cpu")
    encoder.save_pretrained(str(folder / name), create_model_card=False)
    return folder / name


def in_own_folder(folder: Path, name: str) -> None:
    """Moves an encoder's transformer and tokenizer into a folder of their own, as version 1 of the library did."""
    inner = folder / name
    inner.mkdir()
    for file in [path for path in folder.iterdir() if path.is_file()]:
        if file.name not in ("modules.json", "config_sentence_transformers.json"):
            file.rename(inner / file.name)
    modules = json.loads((folder / "modules.json").read_text())
    modules[0]["path"] = name
    (folder / "modules.json").write_text(json.dumps(modules))
