"""Client of an endpoint that bounds what a server can cost: the time of a request, and the size of its answer.

The `openai` client repeats requests that fail. By itself it waits for a server that sends a byte now and then as long
as that goes on, and reads an answer of any size, compressed ones above all: a thousand times what is sent.
"""

import asyncio
import zlib
from typing import Any

import httpx2
from openai import AsyncOpenAI, DefaultAsyncHttpxClient

# bytes, unpacked; the longest answer that collect.endpoint.max_tokens allows has a tenth of it, and so have 64 vectors
# of 1,024 numbers, those of one request of base.endpoint
MAX_ANSWER = 16 * 1024 * 1024
_INFLATED = ("gzip", "deflate")


class TooMuch(Exception):
    """An answer without end, or one that cannot be unpacked within the limit."""


class BoundedClient(DefaultAsyncHttpxClient):
    """Sends requests that end within a number of seconds, head and body of the answer included."""

    def __init__(self, seconds: float) -> None:
        super().__init__(timeout=seconds, follow_redirects=False)
        self._seconds = seconds

    async def send(self, request: httpx2.Request, *, stream: bool = False, **options: Any) -> httpx2.Response:  # noqa: ANN401
        """Sends a request and reads the whole answer, whatever `stream` says.

        Raises:
            TooMuch: the answer is above the limit, or compressed in a way that was not asked for.
            httpx2.ReadTimeout: it did not end in time.
        """
        request.headers["Accept-Encoding"] = "identity"
        try:
            async with asyncio.timeout(self._seconds):
                answer = await super().send(request, stream=True, **options)
                try:
                    body = await _body(answer)
                finally:
                    await answer.aclose()
        except TimeoutError:
            raise httpx2.ReadTimeout(f"no end within {self._seconds:g} seconds", request=request) from None
        unpacked = ("content-encoding", "content-length", "transfer-encoding")
        headers = [(name, value) for name, value in answer.headers.multi_items() if name not in unpacked]
        return httpx2.Response(answer.status_code, headers=headers, content=body, request=request)


async def _body(answer: httpx2.Response) -> bytes:
    """Reads the body up to the limit, and unpacks it up to the limit."""
    body = bytearray()
    async for part in answer.aiter_raw():
        body += part
        if len(body) > MAX_ANSWER:
            raise TooMuch(f"the answer has more than {MAX_ANSWER} bytes")
    encoding = answer.headers.get("content-encoding", "identity").strip().lower()
    if encoding == "identity" or not body:
        return bytes(body)
    if encoding not in _INFLATED:
        raise TooMuch("the answer is compressed, which was not asked for, by neither gzip nor deflate")
    try:
        inflated = zlib.decompressobj(zlib.MAX_WBITS | 32).decompress(body, MAX_ANSWER + 1)  # 32: either header
    except zlib.error as error:
        raise TooMuch(f"the answer is said to be compressed and is not ({error})") from None
    if len(inflated) > MAX_ANSWER:
        raise TooMuch(f"the answer has more than {MAX_ANSWER} bytes")
    return inflated


def client_of(url: str, key: str, timeout_seconds: float, retries: int) -> AsyncOpenAI:
    """Returns a client that sends the key to this endpoint and to no other.

    Args:
        url: base address of the endpoint.
        key: sent to it; "" for none.
        timeout_seconds: longest time of one request, the whole answer included.
        retries: repeats after 408, 409, 429, 5xx, broken connections and timeouts.
    """
    return AsyncOpenAI(
        api_key=key or "none",  # without one the client would look for OPENAI_API_KEY
        base_url=url,
        timeout=timeout_seconds,
        max_retries=retries,
        http_client=BoundedClient(timeout_seconds),
    )
