"""The demo's routes: a page, its JSON twin and OpenAI's embeddings API, over a finished pipeline."""

import errno
import socket
import webbrowser
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from attune.cli.demo.comparison import MODEL, DemoParams, SideBySide, checked, load
from attune.cli.demo.examples import ChangedQueries, read_answers, read_changed_queries
from attune.cli.demo.openai_api import ApiError, EmbeddingsApi, error_object
from attune.cli.demo.page import STYLE, render
from attune.errors import BadInput

HOSTS = ["127.0.0.1", "localhost"]  # a foreign name that was made to point here (DNS rebinding) is refused
MAX_BODY = 4 * 1024 * 1024  # bytes of a request: 2048 texts of 2000 characters


class Demo:
    """What the routes answer from; requests run in threads, and nothing here changes between them."""

    def __init__(self, sides: SideBySide, changed: ChangedQueries, api: EmbeddingsApi, params: DemoParams) -> None:
        self._sides = sides
        self._changed = changed
        self._api = api
        self._params = params

    def page(self, request: Request) -> Response:
        """GET /?q=... for people."""
        query = request.query_params.get("q", "")
        facts = (self._changed, self._params.n_examples, self._sides.n_documents)
        if not query.strip():
            return HTMLResponse(render(*facts))
        try:
            query = checked(query)
        except BadInput as error:
            return HTMLResponse(render(*facts, problem=str(error)), status_code=400)
        return HTMLResponse(render(*facts, self._sides.search(query, self._params.n_results)))

    def search(self, request: Request) -> Response:
        """GET /search?q=...&k=... for programs."""
        try:
            query = checked(request.query_params.get("q", ""))
            k = _count(request.query_params.get("k", str(self._params.n_results)))
        except BadInput as error:
            return JSONResponse({"error": str(error)}, status_code=400)
        return JSONResponse(asdict(self._sides.search(query, k)))

    def models(self, request: Request) -> Response:
        """GET /v1/models."""
        return JSONResponse(self._api.models())

    async def embeddings(self, request: Request) -> Response:
        """POST /v1/embeddings. Only as JSON: a foreign web page cannot send that here unasked."""
        if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
            raise ApiError(415, "the Content-Type is not application/json; send the request as JSON")
        body = await request.body()
        return JSONResponse(await run_in_threadpool(self._api.embeddings, body))

    @staticmethod
    def style(request: Request) -> Response:
        """GET /demo.css."""
        return Response(STYLE, media_type="text/css")


def _count(value: str) -> int:
    if len(value) > 3 or not (value.isascii() and value.isdigit()) or not 1 <= int(value) <= 100:
        raise BadInput(f"k is {value[:20]!r}, expected a whole number from 1 to 100; leave it out or change it")
    return int(value)


def _api_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, ApiError)
    return JSONResponse(error.content, status_code=error.status)


def _http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    content: dict[str, Any] = {"error": error.detail}
    if request.url.path.startswith("/v1/"):
        content = error_object(error.detail)
    return JSONResponse(content, status_code=error.status_code, headers=error.headers)


def application(demo: Demo) -> Starlette:
    """The routes and what guards them: names of this machine only, and bodies of bounded size."""
    return Starlette(
        routes=[
            Route("/", demo.page),
            Route("/demo.css", demo.style),
            Route("/search", demo.search),
            Route("/v1/models", demo.models),
            Route("/v1/embeddings", demo.embeddings, methods=["POST"], max_body_size=MAX_BODY),
        ],
        middleware=[Middleware(TrustedHostMiddleware, allowed_hosts=HOSTS, www_redirect=False)],
        exception_handlers={ApiError: _api_error, HTTPException: _http_error},
    )


def load_application(root: Path, params: DemoParams) -> Starlette:
    """The demo of a finished pipeline.

    Raises:
        BadInput: the pipeline has not run yet, or its outputs do not belong together.
    """
    changed, answers = read_changed_queries(root), read_answers(root)
    return application(Demo(load(root, params, answers), changed, EmbeddingsApi(root / MODEL), params))


HOST = "127.0.0.1"
HEADERS = {
    # nothing from anywhere else, no script at all, and the form goes nowhere but here
    "Content-Security-Policy": "default-src 'none'; style-src 'self'; img-src data:; form-action 'self'; "
    "base-uri 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}
GRACE = 2  # seconds that requests under way get after Ctrl-C


def listen(port: int) -> socket.socket:
    """A socket on the loopback interface; port 0 takes any that is free.

    Raises:
        BadInput: the port is taken, or not ours to take.
    """
    try:
        return socket.create_server((HOST, port))
    except OSError as error:
        why = "in use" if error.errno == errno.EADDRINUSE else f"not available ({error.strerror})"
        raise BadInput(f"port {port} is {why}; give another with --port, 0 for any that is free") from None


def address(listening: socket.socket) -> str:
    """What to type into a browser."""
    return f"http://{HOST}:{listening.getsockname()[1]}/"


def open_browser(url: str) -> None:
    """Opens a browser beside the terminal; one that would take the terminal over (lynx, w3m) is left alone."""
    with suppress(webbrowser.Error):
        browser = webbrowser.get()
        if type(browser) is not webbrowser.GenericBrowser:
            browser.open(url)


def server(application: ASGIApp) -> uvicorn.Server:
    """A server that adds the guarding headers to each response, and says nothing about itself."""
    return uvicorn.Server(
        uvicorn.Config(
            application,
            http="h11",
            ws="none",
            lifespan="off",
            log_level="warning",
            access_log=False,
            server_header=False,
            proxy_headers=False,
            timeout_graceful_shutdown=GRACE,
            headers=list(HEADERS.items()),
        )
    )


def serve(application: ASGIApp, listening: socket.socket) -> None:
    """Answers requests until SIGINT or SIGTERM, then finishes those under way."""
    with suppress(KeyboardInterrupt):  # uvicorn raises it anew once all is closed
        server(application).run(sockets=[listening])
