"""A model is pulled by version from every kind of storage, by every command we name, and nothing else is let in.

Opt-in: `make test-remotes`. The lines that are run are those of examples/service/README.md, in an environment without
torch.
"""

import json
import re
import shutil
import signal
import subprocess
import threading
import time
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import build_tiny_encoder, export_tiny
from programs import CONSUMER, ROOT, attempt, environment, run
from publishing import MODEL, Published, publish
from results import Results
from servers import KINDS, free_port

pytestmark = pytest.mark.remotes
SERVICE = ROOT / "examples" / "service"
OLD, NEW = "v0.1.0", "v0.2.0"
GRAPH = "onnx/model.onnx"


@pytest.fixture(scope="session")
def models(tiny_onnx: Path, train_tables: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Two versions: encoders with other weights."""
    place = tmp_path_factory.mktemp("second")
    return {OLD: tiny_onnx, NEW: export_tiny(build_tiny_encoder(place, seed=1), place / "onnx", train_tables)}


@pytest.fixture(scope="session")
def results(request: pytest.FixtureRequest) -> Iterator[Results]:
    """What was tried and what came of it, printed at the end."""
    results = Results()
    yield results
    with request.config.pluginmanager.getplugin("capturemanager").global_and_fixture_disabled():
        request.config.get_terminal_writer().write(results.tables())


@pytest.fixture(scope="module", params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def published(
    kind: str, models: dict[str, Path], results: Results, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Published]:
    """Both versions, pushed to a remote whose server runs."""
    place = tmp_path_factory.mktemp(kind)
    with KINDS[kind](place) as remote:
        published = publish(place, remote, models)
        results.server(kind, remote.server)
        results.passed("dvc push; gto register, assign", kind)
        yield published


@pytest.fixture
def env(published: Published, tmp_path: Path) -> dict[str, str]:
    """A consumer's: a home and caches of its own."""
    return environment(tmp_path / "home") | published.remote.environment | {"URL": published.url}


def readme_lines() -> list[tuple[str, str]]:
    """(command, the version that it is said to bring) of the README's section on pulling by hand."""
    section = (SERVICE / "README.md").read_text().split("## Pulling by hand")[1].split("\n## ")[0]
    return re.findall(r"^\$ (\S.*?) +# (v\S+)$", section, re.MULTILINE)


def readme_python() -> str:
    return (SERVICE / "README.md").read_text().split("```python\n")[1].split("```")[0]


def same_files(folder: Path, model: Path) -> bool:
    def content(root: Path) -> dict[str, bytes]:
        return {path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*") if path.is_file()}

    return content(folder) == content(model)


def pull(published: Published, revision: str, store: Path, env: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return attempt(str(CONSUMER / "python"), str(SERVICE / "pull.py"), published.url, revision, str(store), env=env)


def test_the_readmes_commands_bring_the_versions_that_they_name(
    kind: str, published: Published, env: dict[str, str], results: Results, tmp_path: Path
) -> None:
    """Byte for byte what was exported, and attune.runtime verifies it there."""
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
    program = f"URL = {published.url!r}\n{readme_python()}\nprint(card)"
    card = json.loads(run("python", "-c", program, cwd=tmp_path, env=env))
    assert same_files(tmp_path / "api", published.models[OLD])
    assert card == json.loads((published.models[OLD] / "manifest.json").read_text())
    run("python", "-m", "attune.runtime", str(tmp_path / "api"), env=env)
    results.passed("dvc.api: artifacts_show, DVCFileSystem, read", kind)


def test_an_import_in_a_clone_is_pulled_again(
    kind: str, published: Published, env: dict[str, str], results: Results, tmp_path: Path
) -> None:
    """The service's repository keeps the commit; whoever clones it gets the same bytes."""
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


def until(holds: Callable[[], bool], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, "not within a minute"
        time.sleep(0.05)


def test_the_service_follows_the_versions_and_drops_no_request(
    kind: str, published: Published, env: dict[str, str], results: Results, tmp_path: Path
) -> None:
    """As processes of their own: pull, serve, pull the next one while clients ask, refuse, go back, stop."""
    store, port = tmp_path / "store", free_port()
    assert pull(published, f"embedder-onnx@{OLD}", store, env).returncode == 0
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
            assert pull(published, f"embedder-onnx@{NEW}", store, env).returncode == 0
            until(lambda: ask(port, "/health")["version"] != old)
            new = ask(port, "/health")["version"]
            refused = pull(published, "embedder-onnx@v9.9.9", store, env)
            assert refused.returncode == 1 and len(refused.stderr.splitlines()) == 1, refused.stderr
            assert ask(port, "/health") == {"version": new, "dim": 32, "refused": None}
            assert pull(published, "embedder-onnx#prod#1", store, env).returncode == 0
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


def flip(data: bytes, _: bytes) -> bytes:
    place = len(data) // 2
    return data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]


FAULTS = {
    "one bit of the graph flipped": (GRAPH, flip),
    "the graph cut in half": (GRAPH, lambda data, _: data[: len(data) // 2]),
    "the graph of another version": (GRAPH, lambda _, old: old),
    "the whole of another version": ("", lambda _, old: old),
}


@pytest.fixture(params=FAULTS)
def fault(request: pytest.FixtureRequest, published: Published) -> Iterator[str]:
    """An object of the new version is replaced, behind DVC's back, for the length of a test."""
    name, change = FAULTS[request.param]
    remote, place = published.remote, published.object(NEW, name)
    whole = remote.read(place)
    remote.write(place, change(whole, remote.read(published.object(OLD, name))))
    yield str(request.param)
    remote.write(place, whole)


def test_dvc_pull_refuses_it_by_its_hash(
    kind: str, published: Published, fault: str, env: dict[str, str], results: Results, tmp_path: Path
) -> None:
    """In a clone, as the remote's setting `verify` is on."""
    clone = tmp_path / "clone"
    run("git", "clone", "-q", published.url, str(clone), env=env)
    done = attempt("dvc", "pull", cwd=clone, env=env)
    assert done.returncode != 0, done.stdout + done.stderr
    assert not same_files(clone / MODEL, published.models[OLD])
    results.refused(fault, "`dvc pull`", kind, "DVC")


def test_what_dvc_get_lets_through_verify_refuses(
    kind: str, published: Published, fault: str, env: dict[str, str], results: Results, tmp_path: Path
) -> None:
    """But for a version that is whole and only not the one that was asked for."""
    got = attempt(
        "dvc", "get", published.url, MODEL, "--rev", f"embedder-onnx@{NEW}", "-o", "model", cwd=tmp_path, env=env
    )
    checked = attempt("python", "-m", "attune.runtime", str(tmp_path / "model"), env=env)
    if fault == "the whole of another version":
        assert got.returncode == 0 and checked.returncode == 0
        assert same_files(tmp_path / "model", published.models[OLD])
        results.refused(fault, "`dvc get`, then `verify`", kind, "nobody")
        return
    assert checked.returncode == 1 and len(checked.stderr.splitlines()) == 1, checked.stderr
    who = "DVC" if got.returncode else "verify"
    results.refused(fault, "`dvc get`, then `verify`", kind, who)


def test_the_service_refuses_it_and_keeps_what_it_has(
    kind: str, published: Published, fault: str, env: dict[str, str], results: Results, tmp_path: Path
) -> None:
    store = tmp_path / "store"
    assert pull(published, f"embedder-onnx@{OLD}", store, env).returncode == 0
    before = (store / "current").resolve()
    done = pull(published, f"embedder-onnx@{NEW}", store, env)
    assert done.returncode == 1 and len(done.stderr.splitlines()) == 1, done.stderr
    assert (store / "current").resolve() == before
    assert same_files(before, published.models[OLD])
    assert sorted(path.name for path in store.iterdir()) == ["current", "lock", "versions"]
    assert [path.name for path in (store / "versions").iterdir()] == [before.name]
    results.refused(fault, "`pull.py`", kind, "dvc.lock" if "as in dvc.lock" in done.stderr else "DVC")


def test_a_transfer_that_breaks_off_leaves_the_version_before(
    published: Published, kind: str, env: dict[str, str], results: Results, tmp_path: Path
) -> None:
    """The puller is killed in the middle of a download that takes seconds; the next pull works."""
    if kind != "http":
        pytest.skip("the slow server is nginx")
    store = tmp_path / "store"
    assert pull(published, f"embedder-onnx@{OLD}", store, env).returncode == 0
    before = (store / "current").resolve()
    slow = tmp_path / "slow.git"
    shutil.copytree(published.url, slow)
    program = f"""if True:
        import pull, store
        from dvc.api import DVCFileSystem
        def slowly(url, **kwargs):
            return DVCFileSystem(url, **kwargs, remote_config={{"url": {published.remote.slow!r}}})
        pull.DVCFileSystem = slowly
        pull.pull({published.url!r}, "embedder-onnx@{NEW}", store.Store({str(store)!r}))
    """
    with subprocess.Popen([str(CONSUMER / "python"), "-c", program], cwd=SERVICE, env=env) as process:
        until(lambda: any(path.stat().st_size for path in store.glob(f"arriving-*/model/**/*{Path(GRAPH).name}*")))
        process.kill()
    assert (store / "current").resolve() == before
    assert list(store.glob("arriving-*"))
    assert pull(published, f"embedder-onnx@{NEW}", store, env).returncode == 0
    assert same_files((store / "current").resolve(), published.models[NEW])
    assert not list(store.glob("arriving-*"))
    results.refused("puller killed in mid-transfer", "`pull.py`", kind, "never adopted")
