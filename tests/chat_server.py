"""Serves a chat endpoint over HTTP on loopback; parameters and documents for tests of it."""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from loopback import serving

from attune.data.sources.generated.endpoint import Endpoint
from attune.data.sources.raw import Document
from attune.endpoints.requests import KEY

Reply = tuple[int, bytes, dict[str, str]]


class Model:
    """Endpoint that records its requests; `reply` maps a request's number and body ({} of a GET) to what it answers."""

    def __init__(self, reply: Callable[[int, dict[str, Any]], Reply]) -> None:
        self.requests: list[tuple[str, dict[str, str], dict[str, Any]]] = []
        self.reply = reply
        self.lock = threading.Lock()
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), self.handler())
        self.url = f"http://127.0.0.1:{self.server.server_port}/v1"

    def handler(model) -> type[BaseHTTPRequestHandler]:  # noqa: N805
        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                self.answer(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))

            def do_GET(self) -> None:
                self.answer({})

            def answer(self, body: dict[str, Any]) -> None:
                with model.lock:
                    number = len(model.requests)
                    headers = {name.lower(): value for name, value in self.headers.items()}
                    model.requests.append((self.path, headers, body))
                status, content, headers = model.reply(number, body)
                try:
                    self.send_response(status)
                    for name, value in {**headers, "Content-Length": str(len(content))}.items():
                        self.send_header(name, value)
                    self.end_headers()
                    self.wfile.write(content)
                except ConnectionError:
                    pass  # the client has closed the connection

            def log_message(self, *_: Any) -> None:
                pass

        return Handler

    @contextmanager
    def serving(self) -> Iterator["Model"]:
        """Serves within the `with` block."""
        with serving(self.server):
            yield self


def says(text: str | None) -> Reply:
    """Returns a chat completion with this text."""
    return 200, json.dumps({"choices": [{"message": {"role": "assistant", "content": text}}]}).encode(), {}


def echo(_: int, body: dict[str, Any]) -> Reply:
    """Returns a query that contains the document's text: which <text> is it."""
    text = body["messages"][0]["content"].rpartition("\n")[2]
    return says(f"which {text} is it")


def settings(folder: Path, server: str, **changes: Any) -> Endpoint:
    """Returns parameters for this server, with a cache in the folder."""
    fields = {
        "url": server,
        "model": "small",
        "prompt": "Ask for {{it}}.\n{title}\n{text}",
        "seed": 7,
        "max_tokens": 32,
        "max_characters": 100,
        "timeout_seconds": 120,
        "retries": 2,
        "n_parallel": 3,
        "found_within": 1,
        "cache": str(folder / "cache"),
    }
    return Endpoint.model_validate({**fields, **changes})


def corpus(n: int) -> list[Document]:
    """Returns n documents d0, d1, ... with the texts word0, word1, ..."""
    return [Document(f"d{i}", f"Title {i}", f"word{i}") for i in range(n)]


@pytest.fixture
def loopback(monkeypatch: pytest.MonkeyPatch) -> None:
    """Bypasses proxies for loopback and removes the user's credentials from the environment."""
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.setenv(name, "127.0.0.1")
    for name in (KEY, "OPENAI_API_KEY", "OPENAI_ADMIN_KEY", "OPENAI_ORG_ID", "OPENAI_PROJECT_ID"):
        monkeypatch.delenv(name, raising=False)
