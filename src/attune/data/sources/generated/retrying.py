"""Posting to an endpoint that may be busy, slow or away for a while: again and again, with growing pauses."""

from collections.abc import Callable
from email.utils import parsedate, parsedate_to_datetime
from math import isfinite
from time import sleep, time

import requests
from requests.exceptions import ChunkedEncodingError, ContentDecodingError
from urllib3.exceptions import NewConnectionError, TimeoutError

BACKOFF_SECONDS = 1.0  # doubled after each try
MAX_WAIT_SECONDS = 60  # between two tries, whatever the endpoint asks for
_PASSING = (408, 425, 429, 500, 502, 503, 504)  # faults that may be gone at the next try
_JSON = {"Content-Type": "application/json"}
Auth = Callable[[requests.PreparedRequest], requests.PreparedRequest]


def post(
    session: requests.Session, url: str, auth: Auth, body: bytes, timeout_seconds: float, retries: int
) -> requests.Response:
    """The whole answer, after as many tries as it takes; the last one, good or bad, if it takes too many.

    Not by urllib3's Retry, which is over once the head of an answer is there: bodies break, too.
    """
    for n_tried in range(1, retries + 2):
        is_last = n_tried > retries
        wanted = 0.0
        try:
            response = session.post(url, body, headers=_JSON, auth=auth, timeout=timeout_seconds, allow_redirects=False)
            if is_last or response.status_code not in _PASSING:
                break
            wanted = _retry_after(response.headers.get("Retry-After", ""))
        except (requests.ConnectionError, requests.Timeout, ChunkedEncodingError, ContentDecodingError):
            if is_last:
                raise
        # the first pause is short: most faults are over at once
        sleep(min(MAX_WAIT_SECONDS, max(wanted, BACKOFF_SECONDS * (2**n_tried - 2) / 2)))
    return response


def _retry_after(header: str) -> float:
    """The seconds that an endpoint asks to wait, by their number or by a date; 0 where it says nothing of use."""
    try:
        seconds = float(header)
    except ValueError:
        date = parsedate_to_datetime(header) if parsedate(header) else None
        seconds = date.timestamp() - time() if date else 0.0
    return seconds if isfinite(seconds) else 0.0


def reason(error: Exception, timeout_seconds: float, retries: int) -> str:
    """What lies under the layers of requests and urllib3, without the addresses of their objects."""
    cause = getattr(error.args[0], "reason", error) if error.args else error
    is_slow = isinstance(cause, (TimeoutError, requests.Timeout)) or "Read timed out" in str(cause)
    if is_slow and not isinstance(cause, NewConnectionError):
        return f"no answer within {timeout_seconds:g} seconds, tried {retries + 1} times"
    return str(cause).rpartition(": ")[2] or type(cause).__name__
