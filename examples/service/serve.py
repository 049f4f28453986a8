"""Search service that switches to a new model without a restart: `python serve.py STORE DOCUMENTS`.

Each request uses one model from its beginning to its end, so a switch drops no request. The new model is verified and
embeds the documents while the old one still answers. Needs only attune's base install.
"""

import argparse
import json
import signal
import sys
import threading
from dataclasses import dataclass
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import numpy as np
from numpy.typing import NDArray
from store import Store

from attune.errors import BadInput
from attune.runtime import Embedder, verify

MAX_HITS = 100
HOSTS = ("127.0.0.1", "localhost")


@dataclass(frozen=True)
class Model:
    """A version of the encoder with its own embeddings of the documents; versions are never mixed."""

    version: str
    embedder: Embedder
    vectors: NDArray[np.float32]  # (n documents, dim)

    @classmethod
    def load(cls, folder: Path, documents: list[dict[str, str]]) -> "Model":
        """Verifies the folder again, in case the disk damaged it, and embeds the documents.

        Raises:
            BadInput: the folder differs from its manifest.
        """
        verify(folder)
        embedder = Embedder(folder)
        return cls(folder.name, embedder, embedder.encode_document([document["text"] for document in documents]))


class Service:
    """Answers with the model in use, and follows the link in the store."""

    def __init__(self, store: Store, documents: list[dict[str, str]]) -> None:
        folder = store.current()
        if folder is None:
            raise BadInput(f"{store.folder}: no model in it; run pull.py first")
        self.refused: str | None = None  # reason why the store's version is not in use
        self._store, self._documents = store, documents
        self._model = Model.load(folder, documents)

    def follow(self) -> None:
        """Switches to the store's version if it is a new one; a version that does not load is only reported."""
        folder = self._store.current()
        if folder is None or folder.name == self._model.version:
            return
        try:
            self._model, self.refused = Model.load(folder, self._documents), None  # one assignment: no lock
        except Exception as error:
            self.refused = " ".join(str(error).split())

    def health(self) -> dict[str, Any]:
        """Returns the version in use, and why a newer one was refused."""
        model = self._model
        return {"version": model.version, "dim": model.embedder.dim, "refused": self.refused}

    def search(self, query: str, k: int) -> dict[str, Any]:
        """Returns the k documents with the largest cosine to the query, best first, and the model's version."""
        model = self._model
        scores = model.vectors @ model.embedder.encode_query([query])[0]
        best = np.argsort(-scores, kind="stable")[:k]
        hits = [{**self._documents[i], "score": round(float(scores[i]), 6)} for i in best]
        return {"version": model.version, "hits": hits}


class Handler(BaseHTTPRequestHandler):
    """GET /search?q=TEXT&k=10 and GET /health, answered in JSON."""

    server: "Server"
    timeout = 30  # seconds that a client has to send its request

    def do_GET(self) -> None:
        """Routes a request; a bad parameter is status 400 with the reason."""
        if self.headers.get("Host", "").rpartition(":")[0] not in HOSTS:  # DNS rebinding by a web page
            return self._answer(HTTPStatus.MISDIRECTED_REQUEST, {"error": f"expected Host {' or '.join(HOSTS)}"})
        address = urlsplit(self.path)
        parameters = parse_qs(address.query)
        if address.path == "/health":
            return self._answer(HTTPStatus.OK, self.server.service.health())
        if address.path != "/search":
            return self._answer(HTTPStatus.NOT_FOUND, {"error": "expected GET /search?q=TEXT&k=10 or GET /health"})
        query, k = parameters.get("q", [""])[0], parameters.get("k", ["10"])[0]
        if not query.strip() or len(k) > 3 or not k.isdecimal() or not 1 <= int(k) <= MAX_HITS:
            return self._answer(HTTPStatus.BAD_REQUEST, {"error": f"expected q=TEXT and k=1..{MAX_HITS}"})
        return self._answer(HTTPStatus.OK, self.server.service.search(query, int(k)))

    def _answer(self, status: HTTPStatus, content: dict[str, Any]) -> None:
        body = json.dumps(content, ensure_ascii=False).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Logs nothing: queries are private."""


class Server(ThreadingHTTPServer):
    """HTTP server on loopback, for a proxy with authentication in front of it; closing waits for running requests."""

    daemon_threads = False
    request_queue_size = 128

    def __init__(self, service: Service, port: int, poll_seconds: float) -> None:
        super().__init__(("127.0.0.1", port), Handler)
        self.service = service
        self._stopped = threading.Event()
        self._follower = threading.Thread(target=self._follow, args=(poll_seconds,), daemon=True)
        self._follower.start()

    def _follow(self, poll_seconds: float) -> None:
        while not self._stopped.wait(poll_seconds):
            self.service.follow()

    def server_close(self) -> None:
        """Stops following the store, then waits for running requests."""
        self._stopped.set()
        super().server_close()


def read_documents(path: Path) -> list[dict[str, str]]:
    """Reads lines of {"_id": ..., "text": ...}, as in a BEIR corpus.

    Raises:
        BadInput: a line is malformed, or the file is empty.
    """
    try:
        rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        documents = [{"_id": str(row["_id"]), "text": str(row["text"])} for row in rows]
    except (ValueError, KeyError, TypeError) as error:
        raise BadInput(f'{path}: {error!r}; expected lines of {{"_id": ..., "text": ...}}') from None
    if not documents:
        raise BadInput(f"{path}: empty; expected a document per line")
    return documents


def main() -> None:
    """Serves until SIGTERM or Ctrl-C."""
    parser = argparse.ArgumentParser(description="Search service that switches to a new model without a restart.")
    parser.add_argument("store", help="folder that pull.py fills")
    parser.add_argument("documents", type=Path, help='lines of {"_id": ..., "text": ...}')
    parser.add_argument("--port", type=int, default=8000, help="port on 127.0.0.1; default: %(default)s")
    parser.add_argument("--poll-seconds", type=float, default=1.0, help="between looks at the store; %(default)s")
    arguments = parser.parse_args()
    try:
        service = Service(Store(arguments.store), read_documents(arguments.documents))
        server = Server(service, arguments.port, arguments.poll_seconds)
    except (BadInput, OSError) as error:
        sys.exit(f"serve: {' '.join(str(error).split())}")
    for name in (signal.SIGTERM, signal.SIGINT):
        signal.signal(name, lambda *_: threading.Thread(target=server.shutdown).start())
    print(f"serve: http://127.0.0.1:{server.server_port}, version {server.service.health()['version']}", flush=True)
    with server:
        server.serve_forever(poll_interval=0.1)


if __name__ == "__main__":
    main()
