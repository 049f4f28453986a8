"""Serves an application to this machine alone, until Ctrl-C."""

import errno
import socket
import webbrowser
from contextlib import suppress

import uvicorn
from starlette.types import ASGIApp

from attune.errors import BadInput

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
