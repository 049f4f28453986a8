"""Two versions of a model, pushed to a remote of each kind while its server runs, and the results per command."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import build_tiny_encoder, export_tiny

from remotes.programs import environment
from remotes.publishing import NEW, OLD, Published, publish
from remotes.results import Results
from remotes.servers import KINDS


@pytest.fixture(scope="session")
def models(tiny_onnx: Path, train_tables: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Two versions of the model: encoders with different weights."""
    place = tmp_path_factory.mktemp("second")
    return {OLD: tiny_onnx, NEW: export_tiny(build_tiny_encoder(place, seed=1), place / "onnx", train_tables)}


@pytest.fixture(scope="session")
def results(request: pytest.FixtureRequest) -> Iterator[Results]:
    """Results of the commands on each remote, printed at the end."""
    results = Results()
    yield results
    with request.config.pluginmanager.getplugin("capturemanager").global_and_fixture_disabled():
        request.config.get_terminal_writer().write(results.tables())


@pytest.fixture(scope="session", params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="session")
def published(
    kind: str, models: dict[str, Path], results: Results, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Published]:
    """Both versions, pushed to a remote whose server is running."""
    place = tmp_path_factory.mktemp(kind)
    with KINDS[kind](place) as remote:
        published = publish(place, remote, models)
        results.server(kind, remote.server)
        results.passed("dvc push; gto register, assign", kind)
        yield published


@pytest.fixture
def env(published: Published, tmp_path: Path) -> dict[str, str]:
    """Environment of a consumer, with a home and caches of its own."""
    return environment(tmp_path / "home", published.remote.keys) | published.remote.environment | {"URL": published.url}
