"""Runs the stages of test pipelines in forks of one process that has imported the libraries.

Imports are most of what a stage of the miniature costs: ten seconds and more with torch and its friends, twenty times
per pipeline. A fork inherits them. `warm` puts a program named `python` into a folder; on a PATH that begins there, the
commands of dvc.yaml run as always, except that this program asks the process for a fork. The fork has the command's
arguments, folder, environment and standard streams, and imports attune anew, from the pipeline's own copy. The process
serves all processes of the suite.

`make smoke` starts an interpreter per stage, as users do.
"""

import contextlib
import gc
import importlib
import json
import os
import runpy
import select
import signal
import socket
import subprocess
import sys
import time
import warnings
from collections.abc import Iterator
from pathlib import Path

import quick_dvc
import quick_libraries
from filelock import FileLock

LIBRARIES = (
    *("torch", "sentence_transformers", "datasets", "sklearn", "polars", "pydantic", "typer", "onnx", "onnxruntime"),
    *("faiss", "scipy.special", "scipy.stats", "sklearn.cluster", "sklearn.linear_model", "bm25s"),
    # what the export imports in its course, and the report
    *("torch._dynamo", "torch._functorch.partitioners", "torch.export._trace", "torch.onnx._internal.exporter._core"),
    *("onnxscript.function_libs.torch_lib.ops", "onnxscript.optimizer", "onnx.reference", "openvino", "jinja2"),
    *("matplotlib.figure", "matplotlib.backends.backend_svg", "ruamel.yaml"),
    # what stages import at their first use: pydantic's own modules for a model
    *("pydantic.main", "pydantic.dataclasses", "pydantic.type_adapter", "pydantic.json_schema", "Stemmer"),
    *("sklearn.neighbors", "sklearn.model_selection", "sklearn.metrics"),
    *("sklearn.isotonic", "scipy.optimize", "scipy.sparse.csgraph"),
    # what training imports in its course, and DVC
    *("sentence_transformers.sentence_transformer.trainer", "transformers.trainer", "accelerate", "peft"),
    *("torch.distributed.run", "dvc.cli", "dvc.commands.repro", "dvc.repo.reproduce", "dvc.fs", "dvc_data.hashfile"),
)
LONGEST_START_SECONDS = 1800  # on a machine that does other work; one that has ended is noticed at once
UNREHEARSED = "ATTUNE_UNREHEARSED"  # environment variable: stage base passes over its rehearsal
OF_A_REPOSITORY = "attune.cli.repository.stage"  # module that runs the stage named by its first argument
GRAPHS = "ATTUNE_GRAPHS"  # environment variable: folder of graphs that were made already (quick_libraries)
LAUNCHER = "ATTUNE_LAUNCHER"  # of attune.encoding.launch: the process with which a worker ends

CLIENT = """#!{python} -ISE
import os, socket, sys
import json
arguments = {first} + sys.argv[1:]
if arguments[:2] == ["-u", "-m"]:  # as torchrun starts its workers
    del arguments[0]
if arguments[:1] != ["-m"]:
    os.execv({python!r}, [{python!r}, *sys.argv[1:]])
with socket.socket(socket.AF_UNIX) as connection:
    connection.connect({address!r})
    request = json.dumps({{"argv": arguments, "folder": os.getcwd(), "environment": dict(os.environ)}}).encode()
    socket.send_fds(connection, [len(request).to_bytes(8, "big")], [0, 1, 2])
    connection.sendall(request)
    sys.exit(int(connection.recv(16) or b"70"))
"""


@contextlib.contextmanager
def warm(folder: Path) -> Iterator[Path]:
    """Starts the process unless another one of the suite has; yields a folder with the program `python`, for PATH.

    The process ends with the last of those that use it, however they end.

    Args:
        folder: shared by all that use the process; its path is short enough for a socket (about 100 characters).
    """
    folder.mkdir(parents=True, exist_ok=True)
    with socket.socket(socket.AF_UNIX) as user:
        with FileLock(folder / "lock"):
            try:
                user.connect(str(folder / "users"))
            except OSError:
                start(folder)
                user.connect(str(folder / "users"))
        yield folder


def workers(folder: Path) -> dict[str, str]:
    """Returns the environment variable with which torchrun starts its workers as forks."""
    return {"PYTHON_EXEC": str(folder / "python")}


def start(folder: Path) -> None:
    """Starts the process and waits until it listens."""
    for name, first in (("python", []), ("dvc", ["-m", "quick_dvc"])):
        program = folder / name
        text = CLIENT.format(python=sys.executable, address=str(folder / "requests"), first=first)
        program.write_text(text)
        program.chmod(0o755)
    for name in ("users", "requests"):
        (folder / name).unlink(missing_ok=True)
    command = [sys.executable, __file__, str(folder)]
    process = subprocess.Popen(command, env=os.environ | {"PYTHONHASHSEED": "0"}, stdin=subprocess.DEVNULL)
    deadline = time.monotonic() + LONGEST_START_SECONDS
    while not (folder / "users").exists():
        assert process.poll() is None and time.monotonic() < deadline, "the warm process did not start"
        time.sleep(0.05)


def export_first() -> None:
    """Exports a small model: half of an export's time is what torch makes at the first one of a process."""
    import torch

    torch.set_num_threads(1)  # a fork has none of its parent's threads
    model, rows = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.LayerNorm(2), torch.nn.GELU()), torch.ones(2, 2)
    with contextlib.redirect_stdout(None), warnings.catch_warnings(action="ignore"):
        torch.onnx.export(model.eval(), (rows,), dynamo=True, verbose=False, dynamic_shapes=({0: "rows"},))


def listener(path: Path) -> socket.socket:
    """Returns a socket that listens; its file appears when it does."""
    server = socket.socket(socket.AF_UNIX)
    starting = path.with_suffix(".starting")
    server.bind(str(starting))
    server.listen()
    starting.rename(path)
    return server


def serve(folder: Path) -> None:
    """Answers requests, each in a fork, until the last user is gone."""
    for name in LIBRARIES:
        importlib.import_module(name)
    quick_libraries.read_torchlib_once()
    quick_libraries.write_no_model_cards()
    export_first()
    gc.collect()
    gc.freeze()  # else each collection in a fork walks, and so copies, all that the libraries have made
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    requests, users = listener(folder / "requests"), listener(folder / "users")
    waiting = [requests, users]
    while True:
        for ready in select.select(waiting, [], [])[0]:
            if ready is users:
                waiting.append(users.accept()[0])
            elif ready is requests:
                connection, _ = requests.accept()
                if os.fork() == 0:
                    for other in waiting:
                        other.close()
                    os._exit(answer(connection))
                connection.close()
            else:  # a user has ended
                waiting.remove(ready)
                ready.close()
                if len(waiting) == 2:
                    return


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
    """Runs `python -m MODULE ARGUMENTS`, or DVC, in this process as a new interpreter would; returns the exit code."""
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    if LAUNCHER in environment:  # this process stands for the one that torchrun has started
        os.environ[LAUNCHER] = str(os.getppid())
    _, module, *rest = argv
    sys.argv = [module, *rest]
    code: int | str | None = 0
    try:
        if module == quick_dvc.__name__:
            code = quick_dvc.run(rest)
        else:
            take_modules_from(folder, environment.get("PYTHONPATH", ""))
            pass_over(rest[0] if rest and module == OF_A_REPOSITORY else module, environment)
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


def take_modules_from(folder: str, python_path: str) -> None:
    """Sets the folders in which modules are looked for: not this file's, but those of the command."""
    own = {str(Path(__file__).parent), ""}
    paths = [entry for entry in python_path.split(os.pathsep) if entry]
    sys.path[:] = [folder, *(str(Path(folder, entry)) for entry in paths), *(p for p in sys.path if p not in own)]


def pass_over(stage: str, environment: dict[str, str]) -> None:
    """Lets stages base and export take graphs that the suite has made, and base pass over its rehearsal if asked to.

    Args:
        stage: its name, alone or as that of a module.
        environment: of the command.
    """
    name = stage.rpartition(".")[2]
    if name in ("base", "export") and GRAPHS in environment:
        quick_libraries.export_once(Path(environment[GRAPHS]), setattr)
    if name == "base" and UNREHEARSED in environment:
        from attune.tuning import base_encoder, rehearsal

        passed = rehearsal.Rehearsal("fp32", is_bf16_wrong=False, steps=rehearsal.STEPS)
        base_encoder.rehearsed = lambda *_: passed


if __name__ == "__main__":
    serve(Path(sys.argv[1]))
