"""Layouts of an encoder's folder: sentence-transformers reads older ones, all stages and consumers read one.

Stage base saves an encoder of an older layout anew, by sentence-transformers itself, so that its vectors stay as they
are: the transformer in a folder of its own, weights as pytorch_model.bin, settings under an older name, lower-casing
that the tokenizer's file does not have, no modules.json.
"""

import shutil
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

from attune.encoding.settings import SETTINGS_FILES, Settings, settings_file
from attune.errors import BadInput, one_line

BIN, SAFETENSORS = "pytorch_model.bin", ".safetensors"
# files of a transformer and its tokenizer; also in folders such as 0_Transformer
OF_TRANSFORMER = (
    *("*.safetensors", "*.safetensors.index.json", "config*.json", "sentence_*_config.json", "adapter_config.json"),
    *("token*.json", "special_tokens_map.json", "added_tokens.json", "vocab.*", "merges.txt", "*.model"),
)
# files with which torch loads a sentence-transformers folder; other formats of the weights are not copied
PATTERNS = (
    *("modules.json", *OF_TRANSFORMER, *(f"0_*/{pattern}" for pattern in OF_TRANSFORMER)),
    *("*/config.json", "*/model.safetensors", f"*/{BIN}"),
)


def needed(names: Iterable[str]) -> list[str]:
    """Returns the files with which torch loads an encoder, sorted: of weights in two formats, the safetensors.

    Args:
        names: of files in the encoder's folder, with `/` between their parts.
    """
    copied = {name for name in names if any(_fits(name, pattern) for pattern in (*PATTERNS, BIN))}
    places = {PurePosixPath(name).parent for name in copied if name.endswith(SAFETENSORS)}
    return sorted(
        name for name in copied if PurePosixPath(name).name != BIN or PurePosixPath(name).parent not in places
    )


def _fits(name: str, pattern: str) -> bool:
    path = PurePosixPath(name)
    return ".." not in path.parts and name.count("/") == pattern.count("/") and path.match(pattern)


def files_of(folder: Path) -> list[str]:
    """Returns the files of a folder and of the folders in it with which torch loads the encoder."""
    paths = [path for pattern in ("*", "*/*") for path in folder.glob(pattern) if path.is_file()]
    return needed(path.relative_to(folder).as_posix() for path in paths)


def is_older(folder: Path, settings: Settings) -> bool:
    """Tells whether a folder has another layout than that which all stages and consumers read.

    Args:
        folder: of the encoder.
        settings: of the encoder.
    """
    own = folder / settings.folder
    file = settings_file(own)
    return bool(
        settings.folder
        or not (folder / "modules.json").is_file()
        or not (own / "tokenizer.json").is_file()
        or any(name.rpartition("/")[2] == BIN for name in files_of(folder))
        or (file and file.name != SETTINGS_FILES[0])
        or settings.do_lower_case
    )


def save_anew(model: str, folder: Path) -> None:
    """Saves the encoder in a folder as sentence-transformers of today does; its weights keep their number format.

    Raises:
        BadInput: sentence-transformers cannot load the folder.
    """
    from sentence_transformers import SentenceTransformer  # noqa: PLC0415 - takes seconds, and most folders need none

    try:
        encoder = SentenceTransformer(str(folder), local_files_only=True, device="cpu")
    except Exception as error:  # three libraries load the files, each with exceptions of its own
        raise BadInput(
            f"{model}: sentence-transformers cannot load its files ({one_line(error)[:200]}); fetch or save it again"
        ) from None
    for path in folder.iterdir():  # loaded weights may still be read from the disk: removed files stay readable
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    encoder.save_pretrained(str(folder), create_model_card=False)
