"""Runs the stages of test pipelines in forks of one process that has imported the libraries.

Imports are most of what a stage of the miniature costs: ten seconds and more with torch and its friends, twenty times
per pipeline. A fork inherits them. `warm` puts a program named `python` into a folder; on a PATH that begins there, the
commands of dvc.yaml run as always, except that this program asks the process for a fork. The fork has the command's
arguments, folder, environment and standard streams, and imports attune anew, from the pipeline's own copy.

`make smoke` starts an interpreter per stage, as users do.
"""

import contextlib
import gc
import importlib
import json
import os
import runpy
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

LIBRARIES = (
    *("torch", "sentence_transformers", "datasets", "sklearn", "polars", "pydantic", "typer", "onnx", "onnxruntime"),
    *("faiss", "statsmodels.stats.power", "scipy.stats", "sklearn.cluster", "sklearn.linear_model", "bm25s"),
    # what the export imports in its course, and the report
    *("torch._dynamo", "torch._functorch.partitioners", "torch.export._trace", "torch.onnx._internal.exporter._core"),
    *("onnxscript.function_libs.torch_lib.ops", "onnxscript.optimizer", "onnx.reference", "openvino", "jinja2"),
    *("matplotlib.figure", "matplotlib.backends.backend_svg", "ruamel.yaml"),
)
LONGEST_START_SECONDS = 300

CLIENT = """#!{python} -ISE
import os, socket, sys
import json
if sys.argv[1:2] != ["-m"]:
    os.execv({python!r}, [{python!r}, *sys.argv[1:]])
with socket.socket(socket.AF_UNIX) as connection:
    connection.connect({address!r})
    request = json.dumps({{"argv": sys.argv[1:], "folder": os.getcwd(), "environment": dict(os.environ)}}).encode()
    socket.send_fds(connection, [len(request).to_bytes(8, "big")], [0, 1, 2])
    connection.sendall(request)
    sys.exit(int(connection.recv(16) or b"70"))
"""


@contextlib.contextmanager
def warm(folder: Path) -> Iterator[Path]:
    """Starts the process; yields a folder with the program `python`, to be put first on PATH; stops the process.

    Args:
        folder: an empty folder, whose path is short enough for a socket (about 100 characters).
    """
    folder.mkdir(parents=True, exist_ok=True)
    address, program = folder / "socket", folder / "python"
    program.write_text(CLIENT.format(python=sys.executable, address=str(address)))
    program.chmod(0o755)
    environment = os.environ | {"PYTHONHASHSEED": "0"}
    command = [sys.executable, __file__, str(address)]
    with subprocess.Popen(command, env=environment, stdin=subprocess.PIPE) as process:
        try:
            deadline = time.monotonic() + LONGEST_START_SECONDS
            while not address.exists():
                assert process.poll() is None and time.monotonic() < deadline, "the warm process did not start"
                time.sleep(0.05)
            yield folder
        finally:
            process.terminate()


def read_torchlib_once(set_attribute: Callable[[Any, str, Any], None] = setattr) -> None:
    """Keeps the table of operators that torch's export builds from onnxscript for each graph, in a second."""
    from torch.onnx._internal.exporter._registration import ONNXRegistry

    set_attribute(ONNXRegistry, "from_torchlib", staticmethod(cache(ONNXRegistry.from_torchlib)))
    ONNXRegistry.from_torchlib(opset_version=ONNXRegistry().opset_version)


def serve(address: Path) -> None:
    """Answers requests, each in a fork, until it is terminated or its parent is gone."""
    for name in LIBRARIES:
        importlib.import_module(name)
    read_torchlib_once()
    gc.collect()
    gc.freeze()  # else each collection in a fork walks, and so copies, all that the libraries have made
    with socket.socket(socket.AF_UNIX) as server:
        starting = address.with_suffix(".starting")
        server.bind(str(starting))
        server.listen()
        starting.rename(address)
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)
        while True:
            connection, _ = server.accept()
            if os.fork() == 0:
                server.close()
                os._exit(answer(connection))
            connection.close()


def answer(connection: socket.socket) -> int:
    """Runs one command in a fork, so that this process outlives it and can send its exit code."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    length, streams, _, _ = socket.recv_fds(connection, 8, 3)
    request = bytearray()
    while len(request) < int.from_bytes(length, "big"):
        request += connection.recv(1 << 20)
    child = os.fork()
    if child == 0:
        connection.close()
        for target, stream in enumerate(streams):
            os.dup2(stream, target)
        os._exit(run(**json.loads(request)))
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    with contextlib.suppress(OSError):
        connection.sendall(str(code if code >= 0 else 128 - code).encode())
    return 0


def run(argv: list[str], folder: str, environment: dict[str, str]) -> int:
    """Runs `python -m MODULE ARGUMENTS` in this process as a new interpreter would; returns the exit code."""
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    _, module, *rest = argv
    own = {str(Path(__file__).parent), ""}
    paths = [entry for entry in environment.get("PYTHONPATH", "").split(os.pathsep) if entry]
    sys.path[:] = [folder, *(str(Path(folder, entry)) for entry in paths), *(p for p in sys.path if p not in own)]
    sys.argv = [module, *rest]
    code: int | str | None = 0
    try:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    except SystemExit as end:
        code = end.code
    except BaseException:
        sys.excepthook(*sys.exc_info())
        code = 1
    if isinstance(code, str):
        sys.stderr.write(f"{code}\n")
        code = 1
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    return code or 0


if __name__ == "__main__":
    serve(Path(sys.argv[1]))
