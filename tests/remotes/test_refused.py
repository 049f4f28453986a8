"""Damaged, incomplete or swapped objects in a remote are refused, and the service keeps its version."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from remotes.programs import CONSUMER, SERVICE, attempt, environment, pull, run, same_files, until
from remotes.publishing import MODEL, NEW, OLD, Published
from remotes.results import Results

pytestmark = pytest.mark.remotes
GRAPH = "onnx/model.onnx"


def flip(data: bytes, _: bytes) -> bytes:
    place = len(data) // 2
    return data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]


WHOLE = "the whole of another version"
FAULTS = {
    "one bit of the graph flipped": (GRAPH, flip),
    "the graph cut in half": (GRAPH, lambda data, _: data[: len(data) // 2]),
    "the graph of another version": (GRAPH, lambda _, old: old),
    WHOLE: ("", lambda _, old: old),
}


@pytest.fixture(params=FAULTS)
def fault(request: pytest.FixtureRequest, published: Published) -> Iterator[str]:
    """Replaces an object of the new version in the remote for the length of a test."""
    name, change = FAULTS[request.param]
    remote, place = published.remote, published.object(NEW, name)
    whole = remote.read(place)
    remote.write(place, change(whole, remote.read(published.object(OLD, name))))
    yield str(request.param)
    remote.write(place, whole)


@pytest.fixture(scope="session")
def store(published: Published, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A service's store with the old version in use, which every refusal must leave unchanged."""
    place = tmp_path_factory.mktemp("service")
    env = environment(place / "home", published.remote.keys) | published.remote.environment
    assert pull(published.url, f"embedder-onnx@{OLD}", place / "store", env).returncode == 0
    return place / "store"


def test_a_fault_is_refused_and_the_service_keeps_its_version(
    kind: str, published: Published, fault: str, env: dict[str, str], results: Results, store: Path, tmp_path: Path
) -> None:
    """DVC's hash refuses it in a clone, `verify` after `dvc get`; the service refuses swapped versions too."""
    results.refused(fault, "`dvc pull`", kind, _after_pull(published, fault, env, tmp_path / "clone"))
    results.refused(fault, "`dvc get`, then `verify`", kind, _after_get(published, fault, env, tmp_path / "model"))
    before = (store / "current").resolve()
    done = pull(published.url, f"embedder-onnx@{NEW}", store, env)
    assert done.returncode == 1 and len(done.stderr.splitlines()) == 1, done.stderr
    assert (store / "current").resolve() == before
    assert same_files(before, published.models[OLD])
    assert sorted(path.name for path in store.iterdir()) == ["current", "lock", "versions"]
    assert [path.name for path in (store / "versions").iterdir()] == [before.name]
    results.refused(fault, "`pull.py`", kind, "dvc.lock" if "as in dvc.lock" in done.stderr else "DVC")


def _after_pull(published: Published, fault: str, env: dict[str, str], clone: Path) -> str:
    """Returns who refused in a clone: remote setting `verify` is on, but DVC does not compare the list of files."""
    run("git", "clone", "-q", published.url, str(clone), env=env)
    done = attempt("dvc", "pull", cwd=clone, env=env)
    if fault == WHOLE:
        assert done.returncode == 0 and same_files(clone / MODEL, published.models[OLD])
        return "nobody"
    assert done.returncode != 0, done.stdout + done.stderr
    assert not (clone / MODEL / GRAPH).exists()
    return "DVC"


def _after_get(published: Published, fault: str, env: dict[str, str], model: Path) -> str:
    """Returns who refused after `dvc get`: DVC or verify; neither refuses a whole version under another name."""
    got = attempt("dvc", "get", published.url, MODEL, "--rev", f"embedder-onnx@{NEW}", "-o", str(model), env=env)
    checked = attempt("python", "-m", "attune.runtime", str(model), env=env)
    if fault == WHOLE:
        assert got.returncode == checked.returncode == 0 and same_files(model, published.models[OLD])
        return "nobody"
    assert checked.returncode == 1 and len(checked.stderr.splitlines()) == 1, checked.stderr
    return "DVC" if got.returncode else "verify"


def test_a_broken_transfer_leaves_the_version_in_use(
    published: Published, kind: str, env: dict[str, str], results: Results, tmp_path: Path
) -> None:
    """The puller is killed in the middle of a slow download; the next pull succeeds."""
    if kind != "http":
        pytest.skip("the slow server is nginx")
    store = tmp_path / "store"
    assert pull(published.url, f"embedder-onnx@{OLD}", store, env).returncode == 0
    before = (store / "current").resolve()
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
    assert pull(published.url, f"embedder-onnx@{NEW}", store, env).returncode == 0
    assert same_files((store / "current").resolve(), published.models[NEW])
    assert not list(store.glob("arriving-*"))
    results.refused("puller killed in mid-transfer", "`pull.py`", kind, "never adopted")
