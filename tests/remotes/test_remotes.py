"""A model is pulled by version from every kind of storage, by every command we name, and nothing else is let in.

Opt-in: `make test-remotes`. The lines that are run are those of examples/service/README.md, in an environment without
torch.
"""

import json
import re
import signal
import subprocess
import threading
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from remotes.programs import CONSUMER, SERVICE, pull, run, same_files, until
from remotes.publishing import MODEL, NEW, OLD, Published
from remotes.results import Results
from remotes.serving import free_port

pytestmark = pytest.mark.remotes


def readme_lines() -> list[tuple[str, str]]:
    """Returns (command, expected version) of the README's section on pulling by hand."""
    section = (SERVICE / "README.md").read_text().split("## Pulling by hand")[1].split("\n## ")[0]
    return re.findall(r"^\$ (\S.*?) +# (v\S+)$", section, re.MULTILINE)


def readme_python() -> str:
    return (SERVICE / "README.md").read_text().split("```python\n")[1].split("```")[0]


def test_the_readmes_commands_bring_the_versions_that_they_name(
    kind: str, published: Published, env: dict[str, str], results: Results, tmp_path: Path
) -> None:
    """The files are the exported ones byte for byte, and attune.runtime verifies them."""
    work = tmp_path / "work"
    run("git", "init", "-q", str(work), env=env)
    run("dvc", "init", "-q", cwd=work, env=env)
    lines = readme_lines()
    assert len(lines) == 7
    for command, version in lines:
        run("bash", "-ec", command, cwd=work, env=env)
        named = re.search(r" -o (\S+)| (\w+)\.dvc", command)
        assert named, command
        folder = work / (named[1] or named[2])
        assert same_files(folder, published.models[version]), command
        run("python", "-m", "attune.runtime", str(folder), env=env)
        results.passed(command.replace("$URL", "URL"), kind)


def test_the_readmes_python_brings_the_version_that_it_names(
    kind: str, published: Published, env: dict[str, str], results: Results, tmp_path: Path
) -> None:
    """Files and manifest are those of the registered version."""
    program = f"URL = {published.url!r}\n{readme_python()}\nprint(card)"
    card = json.loads(run("python", "-c", program, cwd=tmp_path, env=env))
    assert same_files(tmp_path / "api", published.models[OLD])
    assert card == json.loads((published.models[OLD] / "manifest.json").read_text())
    run("python", "-m", "attune.runtime", str(tmp_path / "api"), env=env)
    results.passed("dvc.api: artifacts_show, DVCFileSystem, read", kind)


def test_an_import_in_a_clone_is_pulled_again(
    kind: str, published: Published, env: dict[str, str], results: Results, tmp_path: Path
) -> None:
    """The service's repository keeps the commit; every clone gets the same bytes."""
    first, second = tmp_path / "first", tmp_path / "second"
    run("git", "init", "-q", str(first), env=env)
    run("dvc", "init", "-q", cwd=first, env=env)
    run("dvc", "import", published.url, MODEL, "--rev", f"embedder-onnx@{OLD}", "-o", "model", cwd=first, env=env)
    run("git", "add", "-A", cwd=first, env=env)
    run("git", "commit", "-qm", "Model", cwd=first, env=env)
    run("git", "clone", "-q", str(first), str(second), env=env)
    run("dvc", "pull", "-q", cwd=second, env=env)
    assert same_files(second / "model", published.models[OLD])
    results.passed("dvc pull of an import, in a clone", kind)


def ask(port: int, path: str) -> dict[str, Any]:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=30) as answer:
        content: dict[str, Any] = json.load(answer)
    return content


def test_the_service_follows_the_versions_and_drops_no_request(
    kind: str, published: Published, env: dict[str, str], results: Results, tmp_path: Path
) -> None:
    """Separate processes: pull, serve, pull the next version while clients ask, refuse, go back, stop."""
    store, port = tmp_path / "store", free_port()
    assert pull(published.url, f"embedder-onnx@{OLD}", store, env).returncode == 0
    command = [str(CONSUMER / "python"), "serve.py", str(store), "documents.jsonl", "--port", str(port)]
    with subprocess.Popen([*command, "--poll-seconds", "0.1"], cwd=SERVICE, env=env, stdout=subprocess.PIPE) as process:
        assert process.stdout and process.stdout.readline().startswith(b"serve: http://127.0.0.1:")
        old, done, answers, faults = ask(port, "/health")["version"], threading.Event(), [], []

        def client() -> None:
            while not done.is_set():
                try:
                    answers.append(ask(port, "/search?q=warm+bread&k=3"))
                except Exception as error:  # whatever goes wrong is a dropped request
                    faults.append(error)

        clients = [threading.Thread(target=client) for _ in range(3)]
        try:
            for thread in clients:
                thread.start()
            assert pull(published.url, f"embedder-onnx@{NEW}", store, env).returncode == 0
            until(lambda: ask(port, "/health")["version"] != old)
            new = ask(port, "/health")["version"]
            refused = pull(published.url, "embedder-onnx@v9.9.9", store, env)
            assert refused.returncode == 1 and len(refused.stderr.splitlines()) == 1, refused.stderr
            assert ask(port, "/health") == {"version": new, "dim": 32, "refused": None}
            assert pull(published.url, "embedder-onnx#prod#1", store, env).returncode == 0
            until(lambda: ask(port, "/health")["version"] == old)
        finally:
            done.set()
            for thread in clients:
                thread.join()
            process.send_signal(signal.SIGTERM)
    assert process.returncode == 0
    assert not faults and len(answers) > 10
    of_version = {v: {json.dumps(a["hits"]) for a in answers if a["version"] == v} for v in (old, new)}
    assert sum(map(len, of_version.values())) == 2  # each version has one answer, and it is another one's
    assert of_version[old] != of_version[new]
    results.passed("examples/service: pull.py and serve.py", kind)
