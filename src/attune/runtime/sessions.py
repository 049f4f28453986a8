"""Sessions of onnxruntime over graphs that came from elsewhere: any failure of a library is one line of BadInput."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import onnxruntime

from attune.errors import BadInput, one_line
from attune.runtime.manifest import REMEDY

SHOWN = 200  # characters of a library's message


@contextmanager
def failures(what: str, *others: type[Exception]) -> Iterator[None]:
    """Turns a library's failure into BadInput, but for the given kinds.

    onnxruntime's exceptions have no common base of their own, tokenizers raises bare Exception, and a panic in its Rust
    code is a BaseException of a class that cannot be imported.
    """
    try:
        yield
    except others:
        raise
    except BaseException as error:
        if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
            raise
        raise BadInput(f"{what} ({one_line(error)[:SHOWN]}); {REMEDY}") from None


def load_session(path: Path, threads: int | None) -> onnxruntime.InferenceSession:
    """Loads a graph for the CPU; `threads` None takes one per physical core.

    Raises:
        BadInput: the file is no graph that onnxruntime can load.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads or 0
    options.log_severity_level = 3  # errors only
    options.add_session_config_entry("session.load_model_format", "ONNX")  # else the name decides
    with failures(f"{path}: not a loadable graph"):
        return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
