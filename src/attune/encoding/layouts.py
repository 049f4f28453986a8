"""Layouts of an encoder's folder: sentence-transformers reads older ones, all stages and consumers read one.

Stage base saves an encoder of an older layout anew, by sentence-transformers itself, so that its vectors stay as they
are: the transformer in a folder that modules.json names, weights as pytorch_model.bin, settings under an older name,
lower-casing that the tokenizer's file does not have, no modules.json.
"""

import shutil
from collections.abc import Iterable
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

import numpy as np

from attune.encoding.settings import SETTINGS_FILES, Settings, first_folder, settings_file
from attune.errors import BadInput, one_line
from attune.runtime.arrays import Float32

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

BIN, SAFETENSORS = "pytorch_model.bin", ".safetensors"
MODULES = "modules.json"
# texts that an encoder saved anew must read as before: lower-casing and unknown words show
READ_TEXTS = ("Stack ARRAYS vertically", "sort the rows by their norm", "Größe, 日本語 or 3.14?")
MAX_DIFFERENCE = 1e-4  # of a number of a normalised embedding
# files of a transformer and its tokenizer, in the encoder's folder or in that of its first module
OF_TRANSFORMER = (
    *("*.safetensors", "*.safetensors.index.json", "config*.json", "sentence_*_config.json", "adapter_config.json"),
    *("token*.json", "special_tokens_map.json", "added_tokens.json", "vocab.*", "merges.txt", "*.model"),
)
TOKENIZERS = ("tokenizer.json", "vocab.*", "*.model", "merges.txt")
# files with which torch loads a sentence-transformers folder; other formats of the weights are not copied
PATTERNS = (MODULES, *OF_TRANSFORMER, "*/config.json", "*/model.safetensors", f"*/{BIN}")
DOWNLOADED = (*PATTERNS, *(f"*/{pattern}" for pattern in OF_TRANSFORMER))  # before modules.json is read


def needed(names: Iterable[str], folder: str = "") -> list[str]:
    """Returns the files with which torch loads an encoder, sorted: of weights in two formats, the safetensors.

    Args:
        names: of files in the encoder's folder, with `/` between their parts.
        folder: of the transformer and its tokenizer in it.
    """
    own = [f"{folder}/{pattern}" for pattern in (*OF_TRANSFORMER, BIN)] if folder else [BIN]
    copied = {name for name in names if any(_fits(name, pattern) for pattern in (*PATTERNS, *own))}
    places = {PurePosixPath(name).parent for name in copied if name.endswith(SAFETENSORS)}
    return sorted(
        name for name in copied if PurePosixPath(name).name != BIN or PurePosixPath(name).parent not in places
    )


def _fits(name: str, pattern: str) -> bool:
    path = PurePosixPath(name)
    return ".." not in path.parts and name.count("/") == pattern.count("/") and path.match(pattern)


def files_of(folder: Path) -> list[str]:
    """Returns the files of a folder and of the folders in it with which torch loads the encoder."""
    modules = folder / MODULES
    own = first_folder(modules.read_text(encoding="utf-8", errors="replace")) if modules.is_file() else ""
    paths = [path for pattern in ("*", "*/*") for path in folder.glob(pattern) if path.is_file()]
    return needed((path.relative_to(folder).as_posix() for path in paths), own)


def require_tokenizer(model: str, names: Iterable[str], folder: str) -> None:
    """Refuses an encoder without a tokenizer's file, for which the library would make one that knows no word.

    Args:
        model: name of the encoder, for messages.
        names: of its files.
        folder: of the transformer and its tokenizer.

    Raises:
        BadInput: there is none in that folder.
    """
    patterns = [f"{folder}/{pattern}" if folder else pattern for pattern in TOKENIZERS]
    if not any(_fits(name, pattern) for name in names for pattern in patterns):
        raise BadInput(
            f"{model}: no tokenizer in {folder or 'its folder'}, expected one of {', '.join(TOKENIZERS)}; save the "
            "encoder with its tokenizer"
        )


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
        or not (folder / MODULES).is_file()
        or not (own / "tokenizer.json").is_file()
        or any(name.rpartition("/")[2] == BIN for name in files_of(folder))
        or (file and file.name != SETTINGS_FILES[0])
        or settings.do_lower_case
    )


def save_anew(model: str, source: Path, folder: Path) -> None:
    """Saves the encoder in a folder as sentence-transformers of today does; its weights keep their number format.

    Args:
        model: name of the encoder, for messages.
        source: folder from which it was copied.
        folder: of the copy, which is replaced.

    Raises:
        BadInput: sentence-transformers cannot load a folder, or what is saved gives other vectors than the source.
    """
    expected = _vectors(_loaded(model, source))
    encoder = _loaded(model, folder)
    for path in folder.iterdir():  # loaded weights may still be read from the disk: removed files stay readable
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    encoder.save_pretrained(str(folder), create_model_card=False)
    difference = float(np.abs(_vectors(_loaded(model, folder)) - expected).max())
    if not difference <= MAX_DIFFERENCE:  # so that NaN is refused
        raise BadInput(
            f"{model}: saved anew it gives other vectors (difference {difference:.2g}, expected at most "
            f"{MAX_DIFFERENCE}); save it with save_pretrained of sentence-transformers and name that folder"
        )


def tokenizer_file(model: str, folder: Path, scratch: Path) -> Path:
    """Returns an encoder's tokenizer.json; one made from its vocabulary where the folder has that alone.

    Args:
        model: name of the encoder, for messages.
        folder: of the transformer and its tokenizer.
        scratch: empty folder for what is made.

    Raises:
        BadInput: no fast tokenizer can be made of its files.
    """
    if not (folder / "tokenizer.json").is_file():
        from transformers import AutoTokenizer  # noqa: PLC0415 - takes seconds, and most folders need none

        require_tokenizer(model, (path.name for path in folder.iterdir()), "")
        try:
            AutoTokenizer.from_pretrained(str(folder), local_files_only=True).save_pretrained(str(scratch))
        except Exception as error:  # two libraries read the files, each with exceptions of its own
            raise BadInput(
                f"{model}: its tokenizer cannot be read ({one_line(error)[:200]}); save the encoder again"
            ) from None
        folder = scratch
    return folder / "tokenizer.json"


def _loaded(model: str, folder: Path) -> "SentenceTransformer":
    from sentence_transformers import SentenceTransformer  # noqa: PLC0415 - takes seconds, and most folders need none

    try:
        return SentenceTransformer(str(folder), local_files_only=True, device="cpu")
    except Exception as error:  # three libraries load the files, each with exceptions of its own
        raise BadInput(
            f"{model}: sentence-transformers cannot load its files ({one_line(error)[:200]}); fetch or save it again"
        ) from None


def _vectors(encoder: "SentenceTransformer") -> Float32:
    vectors: Float32 = encoder.encode(list(READ_TEXTS), batch_size=1, normalize_embeddings=True, prompt="")
    return vectors.astype(np.float32)
