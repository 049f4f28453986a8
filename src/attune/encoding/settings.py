"""Reads an encoder's settings from its small files: modules, pooling, prompts, lengths; refuses what cannot be used."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from attune.encoding.families import instead_of
from attune.encoding.kinds import refuse_other_kinds, refuse_other_vectors
from attune.encoding.positions import n_positions, whole_number
from attune.errors import BadInput

PROMPTS_FILE = "config_sentence_transformers.json"
OWN_MODULES = "sentence_transformers."
NO_LIMIT = 1_000_000  # tokenizers without a limit write a huge number
# settings of the text that the transformer reads, in the order in which sentence-transformers looks for them
SETTINGS_FILES = tuple(
    f"sentence_{kind}_config.json"
    for kind in ("bert", "roberta", "distilbert", "camembert", "albert", "xlm-roberta", "xlnet")
)
OF_TRANSFORMER = ("config.json", "tokenizer_config.json", "adapter_config.json", *SETTINGS_FILES)
WIDTHS = ("hidden_size", "dim", "d_model", "n_embd")  # names of a transformer's width: most, DistilBERT, T5, GPT-2
# settings of either version of the library
POOLING_FLAG, POOLING_KEY = "pooling_mode_", "pooling_mode"
SHORT_NAMES = {"cls_token": "cls", "mean_tokens": "mean", "max_tokens": "max", "weightedmean_tokens": "weightedmean"}


@dataclass(frozen=True)
class Settings:
    """Settings that an encoder's folder gives for its use.

    Attributes:
        architecture: class of the transformer, such as BertModel.
        dimension: of the embeddings; 0 where the folder does not say.
        positions: largest number of tokens that it can read; 0 where it has no limit.
        max_length: tokens that it reads unless told otherwise; 0 where it has no limit.
        pooling: modes, joined by +; "" where the folder says nothing, so that the mean is taken.
        prompts: by name, without empty ones.
        n_token_numbers: numbers in the vectors of its vocabulary, which are looked up and not multiplied.
        folder: of the transformer and its tokenizer, in the encoder's folder; "" where they lie in that itself.
        do_lower_case: whether texts are put in lower case before the tokenizer reads them.
    """

    architecture: str
    dimension: int
    positions: int
    max_length: int
    pooling: str
    prompts: dict[str, str]
    n_token_numbers: int
    folder: str
    do_lower_case: bool


def is_settings(name: str) -> bool:
    """Tells whether a file holds settings that are read here; a tokenizer's words may have megabytes."""
    return name.endswith("config.json") or name in ("modules.json", PROMPTS_FILE)


def texts_of(model: str, files: Iterable[tuple[str, Path]]) -> dict[str, str]:
    """Returns the texts of the files with settings, by path.

    Raises:
        BadInput: one is not text in UTF-8.
    """
    texts = {}
    for name, path in files:
        if is_settings(name):
            try:
                texts[name] = path.read_text(encoding="utf-8")
            except UnicodeDecodeError as error:
                raise BadInput(f"{model}: {name} is not UTF-8 ({error}); fetch or save the encoder again") from None
    return texts


def folder_settings(model: str, folder: Path) -> "Settings":
    """Returns the settings of an encoder in a folder.

    Raises:
        BadInput: as read_settings, or a file is not text in UTF-8.
    """
    files = (path for pattern in ("*.json", "*/*.json") for path in sorted(folder.glob(pattern)))
    return read_settings(model, texts_of(model, ((path.relative_to(folder).as_posix(), path) for path in files)))


def read_settings(model: str, texts: Mapping[str, str]) -> Settings:
    """Returns the settings in an encoder's small files.

    Args:
        model: name of the encoder, for messages.
        texts: of its files, by path in its folder.

    Raises:
        BadInput: config.json is missing, a file is not a JSON object, the encoder brings code of its own, its first
            module is no transformer, it is an adapter, or it gives no single vector per text that cosine compares.
    """
    modules = _modules(model, texts)
    library = _object(model, texts, PROMPTS_FILE)
    refuse_other_kinds(model, _object(model, texts, "config.json"), library, list(modules.values()))
    kinds = {path: kind.rpartition(".")[2] for path, kind in modules.items()}
    folder = transformer_folder(model, modules)
    names = {name: f"{folder}/{name}" if folder else name for name in OF_TRANSFORMER}
    refuse_adapter(model, _object(model, texts, names["adapter_config.json"]))
    if names["config.json"] not in texts:
        raise BadInput(
            f"{model}: no {names['config.json']}, expected a transformer's; name an encoder's repository or folder"
        )
    config, tokenizer = (
        _object(model, texts, names["config.json"]),
        _object(model, texts, names["tokenizer_config.json"]),
    )
    refuse_code(model, {"config.json": config, "tokenizer_config.json": tokenizer}, modules)
    reading = next((own for name in SETTINGS_FILES if (own := _object(model, texts, names[name]))), {})
    poolings = [_object(model, texts, f"{path}/config.json") for path, kind in kinds.items() if kind == "Pooling"]
    denses = [_object(model, texts, f"{path}/config.json") for path, kind in kinds.items() if kind == "Dense"]
    pooling = _pooling(model, poolings[0]) if poolings else ""
    with_prompt = all(each.get("include_prompt", True) for each in poolings)
    refuse_other_vectors(model, library, list(kinds.values()), pooling, with_prompt)
    positions = n_positions(config)
    told = [reading.get("max_seq_length"), tokenizer.get("model_max_length")]
    named = [length for length in map(whole_number, told) if 0 < length < NO_LIMIT][:1]
    width = next(filter(None, map(whole_number, map(config.get, WIDTHS))), 0)
    of_token = whole_number(config.get("embedding_size")) or width  # ELECTRA widens the vectors of tokens
    return Settings(
        architecture=_name(config.get("architectures")) or str(config.get("model_type", "unknown")),
        dimension=whole_number(denses[-1].get("out_features")) if denses else width,
        positions=positions,
        max_length=min([*named, *([positions] if positions else [])], default=0),
        pooling=pooling,
        prompts=_prompts(model, texts),
        n_token_numbers=whole_number(config.get("vocab_size")) * of_token,
        folder=folder,
        do_lower_case=bool(reading.get("do_lower_case")),
    )


def first_folder(modules: str) -> str:
    """Returns the folder of the first module by the text of modules.json; "" where it says none that can be read."""
    try:
        return next(iter(_modules("", {"modules.json": modules})), "")
    except BadInput:  # read_settings says so
        return ""


def settings_file(folder: Path) -> Path | None:
    """Returns the file with the settings of the text that a transformer reads: the first that there is, or None."""
    return next((folder / name for name in SETTINGS_FILES if (folder / name).is_file()), None)


def transformer_folder(model: str, modules: Mapping[str, str]) -> str:
    """Returns the folder of the transformer, which is the first module; "" for the encoder's own.

    Raises:
        BadInput: the first module is another kind, such as StaticEmbedding.
    """
    path, kind = next(iter(modules.items()), ("", f"{OWN_MODULES}Transformer"))
    if kind.startswith(OWN_MODULES) and (name := kind.rpartition(".")[2]) != "Transformer":
        raise BadInput(
            f"{model}: modules.json begins with {name}, expected Transformer: attune tunes transformers only; choose "
            "an encoder with one"
        )
    return path


def refuse_adapter(model: str, settings: Mapping[str, Any]) -> None:
    """Refuses a folder whose weights are those of an adapter (PEFT), which need another encoder's.

    Raises:
        BadInput: the folder has settings of an adapter.
    """
    if settings:
        raise BadInput(
            f"{model}: adapter_config.json: an adapter (PEFT) without the weights of its base, "
            f"{settings.get('base_model_name_or_path') or 'which it does not name'}; merge it into its base "
            "(merge_and_unload of peft), save the whole and name that folder"
        )


def refuse_code(model: str, files: Mapping[str, Mapping[str, Any]], modules: Mapping[str, str]) -> None:
    """Refuses an encoder that needs code from its own folder.

    Raises:
        BadInput: a file has `auto_map`, or a module is not one of sentence-transformers'.
    """
    found = [f"{name} has auto_map" for name, content in files.items() if content.get("auto_map")]
    found += [f"modules.json has {kind}" for kind in modules.values() if not kind.startswith(OWN_MODULES)]
    if found:
        raise BadInput(
            f"{model}: {found[0]}: it needs code of its own (trust_remote_code), which attune never runs; "
            f"use {instead_of(model)} instead"
        )


def _object(model: str, texts: Mapping[str, str], name: str) -> dict[str, Any]:
    """Returns the JSON object in a file; empty where there is no such file."""
    content = _parsed(model, texts, name) if name in texts else {}
    if not isinstance(content, dict):
        raise BadInput(f"{model}: {name} is not a JSON object; fetch or save the encoder again")
    return content


def _parsed(model: str, texts: Mapping[str, str], name: str) -> Any:  # noqa: ANN401 - JSON may be anything
    try:
        return json.loads(texts[name])
    except (ValueError, RecursionError) as error:
        raise BadInput(f"{model}: {name} is not JSON ({error}); fetch or save the encoder again") from None


def _modules(model: str, texts: Mapping[str, str]) -> dict[str, str]:
    """Returns the types of the modules by path, "" for the encoder's folder; empty where there is no modules.json."""
    modules = _parsed(model, texts, "modules.json") if "modules.json" in texts else []
    try:
        types = {PurePosixPath(str(module["path"]).strip("/")): str(module["type"]) for module in modules}
    except (TypeError, KeyError):
        raise BadInput(
            f"{model}: modules.json is not a list of objects with path and type; fetch or save the encoder again"
        ) from None
    return {"" if path == PurePosixPath() else path.as_posix(): kind for path, kind in types.items()}


def _pooling(model: str, config: Mapping[str, Any]) -> str:
    """Returns the modes of a Pooling module, in the new form (a name or names) or in the old (one flag per mode)."""
    modes = config.get(POOLING_KEY)
    if modes is None:
        modes = [key.removeprefix(POOLING_FLAG) for key, value in config.items() if POOLING_FLAG in key and value]
    if not isinstance(modes, str | list):
        raise BadInput(
            f"{model}: {POOLING_KEY} is {modes!r}, expected a name or names; fetch or save the encoder again"
        )
    return "+".join(SHORT_NAMES.get(str(mode), str(mode)) for mode in ([modes] if isinstance(modes, str) else modes))


def _prompts(model: str, texts: Mapping[str, str]) -> dict[str, str]:
    prompts = _object(model, texts, PROMPTS_FILE).get("prompts") or {}
    if not isinstance(prompts, dict) or not all(isinstance(prompt, str) for prompt in prompts.values()):
        raise BadInput(f"{model}: {PROMPTS_FILE} has prompts {prompts!r}, expected texts by name; mend it")
    return {name: prompt for name, prompt in prompts.items() if prompt}


def _name(names: object) -> str:
    return str(names[0]) if isinstance(names, list) and names else ""
