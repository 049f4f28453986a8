"""Every kind of encoder that the pipeline cannot tune or ship is refused before training, in one line; others pass."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_encoders
import torch
from conftest import _vocabulary, build_tiny_encoder
from safetensors.torch import load_file, save_file
from shipped_params import PANEL
from training import MACHINE, params

from attune.encoding import encoders, fitness
from attune.encoding.encoders import load_torch, precision_of
from attune.encoding.fitness import is_wrong_in_bf16
from attune.errors import BadInput
from attune.export.shipped import ExportParams
from attune.stage import load_params
from attune.stages.base import rehearsed
from attune.tuning import rehearsal
from attune.tuning.rehearsal import STEPS, Rehearsal, first_layers, rehearse, sample_texts
from attune.tuning.training.lora import LoraTrainer

SHAPE = {"hidden_size": 32, "num_attention_heads": 4, "intermediate_size": 64, "max_position_embeddings": 64}


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Keeps the scratch folder out of the project."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def rehearsed_with(encoder: Path, **changes: object) -> Rehearsal:
    """Rehearses an encoder named tiny with stage train's parameters, some of them changed."""
    return rehearse("tiny", encoder, params(**changes), load_params(ExportParams, "export", PANEL))


def saved(folder: Path, *modules: torch.nn.Module, **settings: Any) -> Path:
    from sentence_transformers import SentenceTransformer

    encoder = SentenceTransformer(modules=list(modules), device="cpu", **settings)
    encoder.save_pretrained(str(folder / "model"), create_model_card=False)
    return folder / "model"


def dot_product(folder: Path) -> Path:
    whole = load_torch(build_tiny_encoder(folder / "whole"))
    return saved(folder, whole[0], whole[1], similarity_fn_name="dot")


def two_poolings(folder: Path) -> Path:
    from sentence_transformers.sentence_transformer.modules import Pooling

    whole = load_torch(build_tiny_encoder(folder / "whole"))
    return saved(folder, whole[0], Pooling(32, ("mean", "max")), whole[2])


def gpt2(folder: Path, **names: str) -> Path:
    """Saves a decoder whose tokenizer adds no token of its own."""
    from sentence_transformers.sentence_transformer.modules import Normalize, Pooling, Transformer
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import GPT2Config, GPT2Model, PreTrainedTokenizerFast

    tokens = ["<|end|>", *sorted(pre_tokenizers.ByteLevel.alphabet())]
    tokenizer = Tokenizer(models.BPE({token: place for place, token in enumerate(tokens)}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    whole = PreTrainedTokenizerFast(tokenizer_object=tokenizer, model_max_length=16, eos_token="<|end|>", **names)
    whole.save_pretrained(folder / "bare")
    GPT2Model(GPT2Config(vocab_size=257, n_embd=32, n_layer=1, n_head=4, n_positions=64)).save_pretrained(
        folder / "bare"
    )
    return saved(folder, Transformer(str(folder / "bare"), max_seq_length=16), Pooling(32, "mean"), Normalize())


def no_padding_token(folder: Path) -> Path:
    return gpt2(folder)


def no_special_tokens(folder: Path) -> Path:
    return gpt2(folder, pad_token="<|end|>")


def ids_beyond_the_table(folder: Path) -> Path:
    encoder = load_torch(build_tiny_encoder(folder / "whole"))
    encoder.tokenizer.add_tokens(["newword"])
    return saved(folder, *encoder)


def special_tokens_alone(folder: Path) -> Path:
    """Saves the tokenizer that transformers makes of a folder without any."""
    from transformers import BertTokenizer

    encoder = build_tiny_encoder(folder)
    BertTokenizer().save_pretrained(encoder)
    return encoder


def damaged(folder: Path) -> Path:
    encoder = build_tiny_encoder(folder)
    (encoder / "model.safetensors").write_bytes((encoder / "model.safetensors").read_bytes()[:-8])
    return encoder


def without_pooling(folder: Path) -> Path:
    """Saves an encoder that lacks its pooling's settings."""
    encoder = build_tiny_encoder(folder)
    shutil.rmtree(encoder / "1_Pooling")
    return encoder


def no_embedding_of_the_last_token(folder: Path) -> Path:
    """Saves a decoder whose texts end in a token with an embedding of zeros."""
    encoder = tiny_encoders.build(folder, "qwen3")
    weights = load_file(encoder / "model.safetensors")
    weights["embed_tokens.weight"][0] = 0
    save_file(weights, encoder / "model.safetensors", {"format": "pt"})
    return encoder


N_TOKENS = len(_vocabulary())
REFUSED: dict[Callable[[Path], Path], str] = {
    dot_product: "tiny: export fails in the rehearsal: similarity is dot without Normalize; export needs cosine",
    two_poolings: "tiny: export fails in the rehearsal: pooling .* cannot be exported; use one mode",
    no_padding_token: "tiny: tokenizer .* has no padding token, .* set pad_token in tokenizer_config.json",
    no_special_tokens: "tiny: tokenizer .* its tokenizer adds no special token, so an empty text has no token",
    ids_beyond_the_table: rf"tiny: tokenizer .* gives ids up to {N_TOKENS} \('newword'\), but the embedding table has "
    f"{N_TOKENS} rows, expected at least {N_TOKENS + 1}",
    damaged: r"tiny: size fails in the rehearsal: model.safetensors is damaged \(.*\); fetch it again$",
    special_tokens_alone: "tiny: tokenizer .* has no token but 5 special ones, so every word is unknown",
    no_embedding_of_the_last_token: "tiny: encoding .* the vector of '' is 0, which has no direction",
    without_pooling: "tiny: loading fails in the rehearsal: .* save it again with sentence-transformers",
}


@pytest.mark.parametrize("kind", REFUSED, ids=lambda kind: kind.__name__)
def test_an_encoder_that_cannot_be_shipped_is_refused_in_one_line(
    folder: Path, kind: Callable[[Path], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The line names the encoder, what fails and what to do; no step is trained."""
    monkeypatch.setattr(rehearsal, "fit", None)
    with pytest.raises(BadInput, match=REFUSED[kind]) as error:
        rehearsed_with(kind(folder))
    assert len(error.value.args) == 1 and "\n" not in str(error.value)
    assert list((folder / "scratch").iterdir()) == []


def test_weights_beyond_one_onnx_file_are_refused_by_their_number(
    tiny_encoder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The bytes are those in fp32, four per weight, summed over the file; as many as fit are let through."""
    n_bytes = 4 * sum(value.numel() for value in load_file(tiny_encoder / "model.safetensors").values())
    monkeypatch.setattr(fitness, "MAX_BYTES", n_bytes)
    fitness.check_size("tiny", tiny_encoder)
    monkeypatch.setattr(fitness, "MAX_BYTES", n_bytes - 1)
    with pytest.raises(BadInput, match=f"tiny: its weights have {n_bytes:,} bytes in fp32, expected at most"):
        fitness.check_size("tiny", tiny_encoder)
    assert n_bytes > 4 * 32 * N_TOKENS


def test_an_encoder_that_can_be_shipped_passes_every_step(tiny_encoder: Path, folder: Path) -> None:
    """With adapters and a teacher, through training, a resumed checkpoint, merging, all graphs and the runtime."""
    found = rehearsed_with(tiny_encoder, lora_rank=2, distill_weight=1.0)
    assert found == Rehearsal("fp32", is_bf16_wrong=False, steps=STEPS)
    assert list((folder / "scratch").iterdir()) == []


def test_all_weights_but_the_token_vectors_are_trained(tiny_encoder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of every layer; the table of tokens alone, which can be most of an encoder, stays as it is."""
    changed: set[str] = set()
    read = rehearsal.read_change

    def noted(file: Path) -> Any:
        change = read(file)
        changed.update(change)
        return change

    monkeypatch.setattr(rehearsal, "read_change", noted)
    monkeypatch.setattr(rehearsal._Rest, "_exports", lambda *_: None)
    rehearsed_with(tiny_encoder)
    tables = {name for name in load_torch(tiny_encoder).state_dict() if "word_embeddings" in name}
    layers = {name for name in load_torch(tiny_encoder).state_dict() if ".layer.0." in name and "key.bias" not in name}
    assert len(tables) == 1 and not tables & changed
    assert len(layers) > 10 and layers <= changed  # a key's bias has no gradient: it adds the same to all scores


def test_an_encoder_whose_file_has_other_names_trains_with_adapters(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """nomic_bert is saved under its published names, also in checkpoints: reading them back must not depend on it."""
    from sentence_transformers.sentence_transformer.modules import Normalize, Pooling, Transformer
    from transformers import NomicBertConfig, NomicBertModel

    shutil.copytree(build_tiny_encoder(folder / "whole").parent / "bert", folder / "bare")
    config = NomicBertConfig(vocab_size=N_TOKENS, num_hidden_layers=1, initializer_range=0.2, **SHAPE)
    NomicBertModel(config).save_pretrained(folder / "bare")
    encoder = saved(folder, Transformer(str(folder / "bare"), max_seq_length=16), Pooling(32, "mean"), Normalize())
    names = {name.removeprefix("0.model.") for name in load_torch(encoder).state_dict()}
    assert names.isdisjoint(
        set(load_file(encoder / "model.safetensors")) - {"embeddings.word_embeddings.weight"} - names
    )
    assert names != set(load_file(encoder / "model.safetensors"))
    monkeypatch.setattr(rehearsal._Rest, "_exports", lambda *_: None)
    assert rehearsed_with(encoder, lora_rank=2).steps == STEPS


def test_a_checkpoint_that_is_not_read_back_is_found(tiny_encoder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that goes on from other weights than it saved ends in other weights: refused before any training."""
    monkeypatch.setattr(LoraTrainer, "_load_from_checkpoint", lambda *_: None)
    with pytest.raises(BadInput, match="^tiny: resuming from a checkpoint ends in other weights than training on"):
        rehearsed_with(tiny_encoder, lora_rank=2)


def test_what_torch_cannot_trace_is_refused(tiny_encoder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A forward pass that depends on the values of its input trains, but has no graph."""
    from transformers.models.bert.modeling_bert import BertEmbeddings

    whole = BertEmbeddings.forward

    def forward(self: Any, input_ids: torch.Tensor, *more: Any, **named: Any) -> Any:
        embedded = whole(self, input_ids, *more, **named)
        return embedded if embedded.sum() > 0 else -embedded

    monkeypatch.setattr(BertEmbeddings, "forward", forward)
    with pytest.raises(BadInput, match="^tiny: export fails in the rehearsal .*; choose another base.model$") as error:
        rehearsed_with(tiny_encoder)
    assert "\n" not in str(error.value)


def unsuited(encoder: Path, out: Path) -> Path:
    """Copies an encoder with a bias of 8192 on every channel before a LayerNorm, which takes it off again.

    fp32 keeps a thousandth of what is added to it, bf16 rounds it to a multiple of 64.
    """
    shutil.copytree(encoder, out)
    weights = load_file(out / "model.safetensors")
    for name in [name for name in weights if name.endswith("output.dense.bias")]:
        weights[name] = torch.full_like(weights[name], 8192.0)
    save_file(weights, out / "model.safetensors", {"format": "pt"})
    return out


def test_auto_takes_the_precision_in_which_the_encoder_is_right(
    tiny_encoder: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """bf16 where the vectors are those in fp32; fp32 where they are not, and where the hardware has no bf16."""
    wrong = load_torch(unsuited(tiny_encoder, folder / "wrong"))
    right = load_torch(tiny_encoder)
    texts = sample_texts(right)
    assert not is_wrong_in_bf16("tiny", right, texts, "auto") and is_wrong_in_bf16("tiny", wrong, texts, "auto")
    assert not is_wrong_in_bf16("tiny", right, texts, "bf16") and not is_wrong_in_bf16("tiny", wrong, texts, "fp32")
    monkeypatch.setattr(rehearsal._Rest, "follow", lambda _self, _encoder, precision, _scratch: precision)
    auto = {"machine": MACHINE | {"precision": "auto"}}
    for best, of_right in (("bf16", "bf16"), ("fp32", "fp32")):
        monkeypatch.setattr(rehearsal, "best_precision", lambda best=best: best)
        assert rehearsed_with(tiny_encoder, **auto) == Rehearsal(of_right, is_bf16_wrong=False, steps=STEPS)
        assert rehearsed_with(folder / "wrong", **auto) == Rehearsal("fp32", is_bf16_wrong=True, steps=STEPS)
    with pytest.raises(BadInput, match="machine.precision: got bf16, .* cosine .*; set it to auto or fp32"):
        is_wrong_in_bf16("tiny", wrong, texts, "bf16")


def test_training_that_overflows_in_bf16_is_done_in_fp32(tiny_encoder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A loss that is not finite in bf16: auto trains again in fp32, and says that bf16 is wrong."""
    monkeypatch.setattr(rehearsal, "best_precision", lambda: "bf16")
    monkeypatch.setattr(rehearsal._Rest, "_trains", lambda _self, _encoder, precision, _scratch: precision == "fp32")
    monkeypatch.setattr(rehearsal, "read_change", lambda _: {})
    monkeypatch.setattr(rehearsal._Rest, "_exports", lambda *_: None)
    auto = rehearsed_with(tiny_encoder, machine=MACHINE | {"precision": "auto"})
    assert (auto.precision, auto.is_bf16_wrong) == ("fp32", True)
    with pytest.raises(BadInput, match="not finite in bf16; set machine.precision to fp32"):
        rehearsed_with(tiny_encoder, machine=MACHINE | {"precision": "bf16"})


def test_every_stage_takes_the_precision_that_the_folder_says(
    tiny_encoder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One source: attune.json beside the weights. Without it auto is the hardware's best; what is set stays set."""
    monkeypatch.setattr(encoders, "best_precision", lambda: "bf16")
    assert [precision_of(tmp_path, wanted) for wanted in ("auto", "fp32", "bf16")] == ["bf16", "fp32", "bf16"]
    (tmp_path / "attune.json").write_text(json.dumps({"model": "tiny", "precision": "fp32"}))
    assert [precision_of(tmp_path, wanted) for wanted in ("auto", "fp32", "bf16")] == ["fp32", "fp32", "bf16"]
    (run,) = params(machine=MACHINE | {"precision": "auto"}).runs(tmp_path).values()
    assert run.precision == "fp32"


def test_most_of_it_is_done_with_the_first_layers(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One of four layers, two where the second is of other modules; a failure counts where the whole one fails, too."""
    from sentence_transformers.sentence_transformer.modules import Normalize, Pooling, Transformer
    from transformers import BertConfig, BertModel

    shutil.copytree(build_tiny_encoder(folder / "whole").parent / "bert", folder / "bare")
    BertModel(BertConfig(vocab_size=N_TOKENS, num_hidden_layers=4, **SHAPE)).save_pretrained(folder / "bare")
    encoder = saved(folder, Transformer(str(folder / "bare"), max_seq_length=16), Pooling(32, "mean"), Normalize())
    short = first_layers(load_torch(encoder), encoder, folder / "short")
    assert short is not None
    whole, first = (load_torch(path).state_dict() for path in (encoder, short))
    layers = {name.split(".")[4] for name in first if ".layer." in name}
    assert layers == {"0"} and all(whole[name].equal(value) for name, value in first.items())
    assert first_layers(load_torch(short), short, folder / "shorter") is None
    mixed = load_torch(encoder)
    mixed.transformers_model.encoder.layer[1].output.dropout = torch.nn.Identity()
    both = first_layers(mixed, encoder, folder / "both")
    assert both is not None
    names = load_file(both / "model.safetensors")
    assert {name.split(".")[2] for name in names if ".layer." in name} == {"0", "1"}
    tried: list[Path] = []

    def follow(_self: Any, tried_encoder: Path, precision: str, _scratch: Path) -> str:
        tried.append(tried_encoder)
        if tried_encoder != encoder:
            raise BadInput("tiny: the first layers fail")
        return precision

    monkeypatch.setattr(rehearsal._Rest, "follow", follow)
    assert rehearsed_with(encoder).steps == STEPS
    assert [path.name for path in tried] == ["short", "model"]


def test_the_texts_are_those_that_fail_elsewhere(tiny_encoder: Path) -> None:
    """An empty text, one that is cut, and every special token, with ids of the vocabulary."""
    model = load_torch(tiny_encoder)
    texts = sample_texts(model)
    lengths = [len(ids) for ids in model.tokenizer(texts)["input_ids"]]
    assert texts[0] == "" and lengths[0] == 2 and max(lengths) > model.max_seq_length
    assert all(token in texts[4] for token in ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"))
    assert np.isfinite(model.encode(texts)).all()
    for unbounded in (None, 10**30):
        model.max_seq_length = unbounded
        assert len(sample_texts(model)[3].split()) == rehearsal.MOST_WORDS + 8


@pytest.mark.parametrize("name", ["check_tokenizer", "sample_texts", "first_layers", "Interpolation", "read_change"])
def test_what_a_library_raises_is_one_line(tiny_encoder: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """An exception of its own, wherever it comes from, names the encoder, the step and what to do; colours go."""

    def fail(*_: object) -> None:
        raise RuntimeError("no\n\x1b[96msuch \x1b[1;31mhead\x1b[0m")

    monkeypatch.setattr(rehearsal, name, fail)
    said = r"^tiny: \w+ fails in the rehearsal \(RuntimeError: no such head\); choose another base.model$"
    with pytest.raises(BadInput, match=said):
        rehearsed_with(tiny_encoder)


def test_stage_base_follows_the_parameters(tiny_encoder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Loss, adapters, precision and export are those of params.yaml and advanced.yaml."""
    seen: list[Any] = []
    monkeypatch.setattr(rehearsal, "rehearse", lambda *arguments: seen.extend(arguments))
    rehearsed("tiny", tiny_encoder, PANEL)
    assert seen[:2] == ["tiny", tiny_encoder]
    assert (seen[2].loss, seen[2].lora_rank, seen[2].distill_weight, seen[3].opset) == ("mnrl", 0, 1.0, 18)
