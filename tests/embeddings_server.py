"""Serves an exported encoder over HTTP on loopback, by the demo's /v1/embeddings, and keeps what it is sent."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

from attune.cli.demo.app import Demo, application, listen, server
from attune.cli.demo.openai_api import EmbeddingsApi


class Counted(EmbeddingsApi):
    """The demo's API, with the texts of all requests so far."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.requests: list[list[str]] = []
        self.url = ""

    def embeddings(self, body: bytes) -> dict[str, Any]:
        self.requests.append(json.loads(body)["input"])
        return super().embeddings(body)

    @property
    def texts(self) -> list[str]:
        """All texts that were sent, in order."""
        return [text for request in self.requests for text in request]


@contextmanager
def embeddings_server(folder: Path) -> Iterator[Counted]:
    """Serves within the `with` block; the model is named `tuned`, after the demo's."""
    api, unused = Counted(folder), cast("Any", None)
    with listen(0) as listening:
        running = server(application(Demo(unused, unused, api, unused)))
        thread = threading.Thread(target=running.run, kwargs={"sockets": [listening]})
        thread.start()
        try:
            api.url = f"http://127.0.0.1:{listening.getsockname()[1]}/v1"
            yield api
        finally:
            running.should_exit = True
            thread.join()
