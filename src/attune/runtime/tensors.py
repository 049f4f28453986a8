"""Arrays of a safetensors file, read by numpy alone: a length, a header in JSON, and the numbers in one piece."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from attune.errors import BadInput
from attune.json_text import parse_json
from attune.runtime import rules

MAX_HEADER_BYTES = 2**20
DTYPES: dict[str, np.dtype[Any]] = {"I8": np.dtype("int8"), "F16": np.dtype("<f2"), "F32": np.dtype("<f4")}
SIZE = rules.whole(0, 2**40)
TENSOR = rules.record({"dtype": rules.text, "shape": rules.rows(SIZE, 0, 8), "data_offsets": rules.rows(SIZE, 2, 2)})


def read_tensors(path: Path, remedy: str) -> dict[str, NDArray[Any]]:
    """Reads every array of a safetensors file; numbers are int8, float16 or float32.

    The format is that of https://github.com/huggingface/safetensors: 8 bytes with the length of the header, the header,
    then the arrays in row-major order, at offsets from the header's end.

    Args:
        path: of the file.
        remedy: end of the message for a damaged file.

    Raises:
        BadInput: the file is no safetensors file, or holds other types.
    """
    content = path.read_bytes()
    try:
        n = int.from_bytes(content[:8], "little")
        if len(content) < 8 or not n <= min(MAX_HEADER_BYTES, len(content) - 8):
            raise ValueError(f"a header of {n} bytes in a file of {len(content)}")
        header = parse_json(content[8 : 8 + n].decode("utf-8"))
        if not isinstance(header, dict):
            raise ValueError("its header is no object")
        tensors = {name: about for name, about in header.items() if name != "__metadata__"}
        return {name: _array(content, 8 + n, name, about) for name, about in tensors.items()}
    except ValueError as error:  # also no UTF-8
        raise BadInput(f"{path}: not a safetensors file of int8, float16 or float32 ({error}); {remedy}") from None


def _array(content: bytes, begin: int, name: str, about: Mapping[str, Any]) -> NDArray[Any]:
    """Returns one array over the file's bytes; raises ValueError where the header and the bytes do not fit."""
    place = name[: rules.SHOWN]
    TENSOR(ascii(place), about)
    if about["dtype"] not in DTYPES:
        raise ValueError(f"{place!a} is {about['dtype'][: rules.SHOWN]!a}")
    dtype, shape, (start, stop) = DTYPES[about["dtype"]], about["shape"], about["data_offsets"]
    n = 1
    for size in shape:
        n *= size
    if stop - start != n * dtype.itemsize or begin + stop > len(content):
        raise ValueError(f"{place!a} of shape {shape} at bytes {start} to {stop} of {len(content) - begin}")
    array: NDArray[Any] = np.frombuffer(content, dtype, n, begin + start).reshape(shape)
    return array
