"""HTTP application of the demo: search page, the same search as JSON, OpenAI's embeddings API; loopback server."""

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
from starlette.requests import ClientDisconnect, Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route

from attune.cli.demo.comparison import DemoParams, PairedSearch, load_search, valid_query
from attune.cli.demo.examples import QueryChanges, read_answers, read_query_changes
from attune.cli.demo.openai_api import ApiError, Elsewhere, EmbeddingsApi, error_object
from attune.cli.demo.page import SCRIPTS, STYLE, render, render_hits
from attune.cli.demo.static_queries import StaticQueries
from attune.cli.demo.systems import MODEL, endpoint_of, names
from attune.errors import BadInput

HOSTS = ["127.0.0.1", "localhost"]  # others are refused: DNS rebinding
NOT_JSON = "the Content-Type is not application/json; send the request as JSON"
MAX_BODY = 4 * 1024 * 1024  # bytes of a request: 2048 texts of 2000 characters


class Demo:
    """Handlers of the routes. Requests run in threads, so the state is read-only."""

    def __init__(
        self,
        paired: PairedSearch,
        changes: QueryChanges,
        api: EmbeddingsApi | Elsewhere,
        params: DemoParams,
        other: str = "tuned",
        static: StaticQueries | None = None,
    ) -> None:
        self._paired = paired
        self._changes = changes
        self._api = api
        self._params = params
        self._other = other  # name of the system beside base
        self.static = static  # what the page encodes queries by; None where it has no script

    def page(self, request: Request) -> Response:
        """GET /?q=...: the page."""
        query = request.query_params.get("q", "")
        facts = (self._changes, self._params.n_examples, self._paired.n_documents)
        if not query.strip():
            return HTMLResponse(render(*facts, other=self._other))
        try:
            query = valid_query(query)
        except BadInput as error:
            return HTMLResponse(render(*facts, problem=str(error), other=self._other), status_code=400)
        try:
            paired = self._paired.search(query, self._params.n_results)
        except BadInput as error:  # an endpoint that does not answer
            return HTMLResponse(render(*facts, problem=str(error), other=self._other), status_code=502)
        return HTMLResponse(render(*facts, paired, other=self._other, has_script=self.static is not None))

    def search(self, request: Request) -> Response:
        """GET /search?q=...&k=...: the same search as JSON."""
        try:
            query = valid_query(request.query_params.get("q", ""))
            k = _count(request.query_params.get("k", str(self._params.n_results)))
        except BadInput as error:
            return JSONResponse({"error": str(error)}, status_code=400)
        try:
            return JSONResponse(asdict(self._paired.search(query, k)))
        except BadInput as error:  # an endpoint that does not answer
            return JSONResponse({"error": str(error)}, status_code=502)

    def models(self, request: Request) -> Response:
        """GET /v1/models."""
        return JSONResponse(self._api.models())

    async def embeddings(self, request: Request) -> Response:
        """POST /v1/embeddings, as JSON only: another site's page cannot send JSON here without a CORS preflight."""
        if not _is_json(request):
            raise ApiError(415, NOT_JSON)
        body = await request.body()
        return JSONResponse(await run_in_threadpool(self._api.embeddings, body))

    async def vector(self, request: Request) -> Response:
        """POST /vector, as JSON only: documents for a query that the page has encoded, as a part of the page."""
        if not _is_json(request):
            return JSONResponse({"error": NOT_JSON}, status_code=415)
        body = await request.body()
        try:
            return HTMLResponse(await run_in_threadpool(self._hits_of, body))
        except BadInput as error:
            return JSONResponse({"error": str(error)}, status_code=400)

    def _hits_of(self, body: bytes) -> str:
        assert self.static
        query, vector = self.static.parse(body)
        return render_hits(self._paired.search_vector(valid_query(query), vector, self._params.n_results))

    def static_file(self, request: Request) -> Response:
        """GET /static/...: token vectors and tokenizer."""
        found = self.static and self.static.file(request.path_params["name"])
        if not found:
            raise HTTPException(404)
        return Response(found[0], media_type=found[1])

    @staticmethod
    def script(request: Request) -> Response:
        """GET /demo.js and /static_encoder.js."""
        return Response(SCRIPTS[request.url.path.removeprefix("/")], media_type="text/javascript")

    @staticmethod
    def style(request: Request) -> Response:
        """GET /demo.css."""
        return Response(STYLE, media_type="text/css")


def _is_json(request: Request) -> bool:
    return request.headers.get("content-type", "").partition(";")[0].strip().lower() == "application/json"


def _count(value: str) -> int:
    if len(value) > 3 or not (value.isascii() and value.isdigit()) or not 1 <= int(value) <= 100:
        raise BadInput(f"k is {value[:20]!r}, expected a whole number from 1 to 100; change it or leave it out")
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


def _hung_up(request: Request, error: Exception) -> Response:
    """Ends the request of a client that left while it sent its body: no fault of the server's, so nothing is logged."""
    return Response(status_code=400)  # nobody reads it


def application(demo: Demo) -> Starlette:
    """Builds the application: the routes, an allow-list of host names, and a limit on the size of bodies.

    Where a static encoder is there, its routes, too, and `state.has_script`, by which `server` lets the page's run.
    """
    scripted = [
        *(Route(f"/{name}", demo.script) for name in SCRIPTS),
        Route("/static/{name}", demo.static_file),
        Route("/vector", demo.vector, methods=["POST"], max_body_size=MAX_BODY),
    ]
    built = Starlette(
        routes=[
            Route("/", demo.page),
            Route("/demo.css", demo.style),
            Route("/search", demo.search),
            Route("/v1/models", demo.models),
            Route("/v1/embeddings", demo.embeddings, methods=["POST"], max_body_size=MAX_BODY),
            *(scripted if demo.static else []),
        ],
        middleware=[Middleware(TrustedHostMiddleware, allowed_hosts=HOSTS, www_redirect=False)],
        exception_handlers={ApiError: _api_error, HTTPException: _http_error, ClientDisconnect: _hung_up},
    )
    built.state.has_script = demo.static is not None
    return built


def load_application(root: Path, params: DemoParams) -> Starlette:
    """Loads the demo of a finished pipeline.

    Raises:
        BadInput: the pipeline has not run yet, or its outputs do not belong together.
    """
    changes, answers = read_query_changes(root), read_answers(root)
    url = endpoint_of(root)
    api = Elsewhere(url) if url else EmbeddingsApi(root / MODEL)
    paired = load_search(root, params, answers)
    return application(Demo(paired, changes, api, params, names(root)[1], StaticQueries.of(root)))


HOST = "127.0.0.1"
# loads nothing from elsewhere, runs no script, and sends the form only to this server
POLICY = (
    "default-src 'none'; style-src 'self'; img-src data:; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
SCRIPTED = f"{POLICY}; script-src 'self'; connect-src 'self'"  # runs this server's script files, which ask it alone
HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}
GRACE = 2  # seconds for running requests after Ctrl-C


def listen(port: int) -> socket.socket:
    """Opens a socket on the loopback interface; port 0 takes any free one.

    Raises:
        BadInput: the port is in use, or needs rights that this user lacks.
    """
    try:
        return socket.create_server((HOST, port))
    except OSError as error:
        why = "in use" if error.errno == errno.EADDRINUSE else f"not available ({error.strerror})"
        raise BadInput(f"port {port} is {why}; give another with --port, 0 for any that is free") from None


def address(listening: socket.socket) -> str:
    """Returns the URL of a listening socket."""
    return f"http://{HOST}:{listening.getsockname()[1]}/"


def open_browser(url: str) -> None:
    """Opens a browser, unless it is one that would take over the terminal (lynx, w3m)."""
    with suppress(webbrowser.Error):
        browser = webbrowser.get()
        if type(browser) is not webbrowser.GenericBrowser:
            browser.open(url)


def server(application: Starlette) -> uvicorn.Server:
    """Configures a server that adds the security headers to each response and does not name itself."""
    policy = {"Content-Security-Policy": SCRIPTED if application.state.has_script else POLICY}
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
            headers=list((policy | HEADERS).items()),
        )
    )


def serve(application: Starlette, listening: socket.socket) -> None:
    """Answers requests until SIGINT or SIGTERM, then finishes the running ones."""
    with suppress(KeyboardInterrupt):  # uvicorn raises it again once everything is closed
        server(application).run(sockets=[listening])
