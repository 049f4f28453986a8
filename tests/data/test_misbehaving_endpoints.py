"""Servers that misbehave, on real sockets: each ends in one line within the time and memory of a request."""

import gzip
import json
import socket
import threading
import time
import tracemalloc
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from chat_server import Model, corpus, echo, loopback, says, settings

from attune.data.sources.generated.endpoint import complete
from attune.endpoints.client import MAX_ANSWER
from attune.endpoints.requests import KEY
from attune.errors import BadInput

SECRET = "sk-very-secret"
GOOD = says("which one")[1]

pytestmark = pytest.mark.usefixtures("loopback")
__all__ = ["loopback"]

Script = Callable[[socket.socket, threading.Event], None]


@contextmanager
def raw_server(script: Script) -> Iterator[str]:
    """Serves a script on each connection, after the request has been read; `stop` is set when the test is over."""
    stop = threading.Event()

    def serve(connection: socket.socket) -> None:
        with connection, suppress(OSError):
            request = b""
            while b"}" not in request.partition(b"\r\n\r\n")[2] and (part := connection.recv(65536)):
                request += part
            script(connection, stop)

    with socket.create_server(("127.0.0.1", 0)) as listening:
        threads: list[threading.Thread] = []

        def accept() -> None:
            with suppress(OSError):
                while True:
                    threads.append(threading.Thread(target=serve, args=(listening.accept()[0],)))
                    threads[-1].start()

        accepting = threading.Thread(target=accept)
        accepting.start()
        try:
            yield f"http://127.0.0.1:{listening.getsockname()[1]}/v1"
        finally:
            stop.set()
            listening.shutdown(socket.SHUT_RDWR)
            for thread in [accepting, *threads]:
                thread.join()


def answer(body: bytes, *headers: str, status: str = "200 OK") -> bytes:
    """Returns the bytes of an HTTP answer that ends with its connection."""
    return "\r\n".join([f"HTTP/1.1 {status}", "Connection: close", *headers, "", ""]).encode() + body


def refusal(folder: Path, script: Script, **changes: object) -> str:
    """Returns the one line in which asking this server ends."""
    options = {"timeout_seconds": 60, "retries": 0, "n_parallel": 1, **changes}
    with raw_server(script) as url, pytest.raises(BadInput) as caught:
        complete(corpus(1), settings(folder, url, **options))
    (line,) = caught.value.args
    assert line.startswith(f"{url}/chat/completions: ") and "run again: answers so far are kept in" in line
    assert line.isprintable() and len(line) < 600
    return str(line)


def drip(prefix: bytes, byte: bytes) -> Script:
    def script(connection: socket.socket, stop: threading.Event) -> None:
        connection.sendall(prefix)
        while not stop.wait(0.05):
            connection.sendall(byte)

    return script


DRIPS = {
    "status line": drip(b"", b"H"),
    "headers": drip(b"HTTP/1.1 200 OK\r\n", b"X"),
    "body of a length": drip(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n", b" "),
    "body without a length": drip(answer(b""), b" "),
    "chunks": drip(answer(b"", "Transfer-Encoding: chunked"), b"1\r\n \r\n"),
    "events": drip(answer(b"", "Content-Type: text/event-stream"), b": wait\n\n"),
    "interim answers": drip(b"", b"HTTP/1.1 102 Processing\r\n\r\n"),
}


@pytest.mark.parametrize("script", DRIPS.values(), ids=DRIPS)
def test_a_server_that_drips_ends_with_the_time_of_a_request(tmp_path: Path, script: Script) -> None:
    """Each byte comes in time, the answer never does: timeout_seconds bounds the whole request."""
    line = refusal(tmp_path, script, timeout_seconds=0.5)
    assert "no answer within 0.5 seconds, tried 1 times" in line


def test_a_server_that_drips_first_is_asked_again(tmp_path: Path) -> None:
    """A request that was cut off counts as a timeout, which the retries may mend."""
    asked = []

    def script(connection: socket.socket, stop: threading.Event) -> None:
        asked.append(1)
        DRIPS["headers"](connection, stop) if len(asked) == 1 else connection.sendall(answer(GOOD))

    with raw_server(script) as url:
        assert complete(corpus(1), settings(tmp_path, url, timeout_seconds=2, retries=1)) == ["which one"]


def endless(prefix: bytes, part: bytes) -> Script:
    def script(connection: socket.socket, stop: threading.Event) -> None:
        connection.sendall(prefix)
        while not stop.is_set():
            connection.sendall(part)

    return script


PART = b"x" * 65536
ENDLESS = {
    "body": endless(answer(b""), PART),
    "chunks": endless(answer(b"", "Transfer-Encoding: chunked"), b"10000\r\n" + PART + b"\r\n"),
    "body of an error": endless(answer(b"", status="500 Internal Server Error"), PART),
    "body of gzip": endless(answer(b"", "Content-Encoding: gzip"), PART),
    "a length of a terabyte": endless(answer(b"", "Content-Length: 1000000000000"), PART),
}


@pytest.mark.parametrize("script", ENDLESS.values(), ids=ENDLESS)
def test_an_endless_body_is_read_to_the_limit(tmp_path: Path, script: Script) -> None:
    """The message says how large an answer may be."""
    assert f"more than {MAX_ANSWER} bytes" in refusal(tmp_path, script, timeout_seconds=60)


def packed(n: int, wbits: int) -> bytes:
    packer = zlib.compressobj(9, zlib.DEFLATED, wbits)
    return b"".join([*(packer.compress(b" " * 2**20) for _ in range(n)), packer.flush()])


@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
def test_a_compressed_bomb_takes_no_memory(tmp_path: Path, encoding: str) -> None:
    """A quarter of a gigabyte in 250 kB is unpacked to the limit alone."""
    bomb = answer(packed(256, 31 if encoding == "gzip" else 15), f"Content-Encoding: {encoding}")
    tracemalloc.start()
    line = refusal(tmp_path, lambda connection, _: connection.sendall(bomb), timeout_seconds=60)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert f"more than {MAX_ANSWER} bytes" in line
    assert peak < 5 * MAX_ANSWER


def test_a_compressed_answer_is_read(tmp_path: Path) -> None:
    """A proxy may compress what was asked for as it is."""
    for encoding, body in (
        ("gzip", gzip.compress(GOOD)),
        ("deflate", zlib.compress(GOOD)),
        ("GZIP", gzip.compress(GOOD)),
    ):
        reply = (200, body, {"Content-Encoding": encoding})
        with Model(lambda n, _, reply=reply: reply).serving() as model:
            assert complete(corpus(1), settings(tmp_path / encoding, model.url)) == ["which one"]
        assert model.requests[0][1]["accept-encoding"] == "identity"


BROKEN: dict[str, tuple[bytes, str]] = {
    "nothing": (b"", "disconnected"),
    "no HTTP": (b"SSH-2.0-OpenSSH_9.6\r\n\r\n", "illegal status line"),
    "TLS": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" * 20, "illegal"),
    "HTTP/0.9": (GOOD, "disconnected"),
    "a status of letters": (b"HTTP/1.1 OK\r\n\r\n", "illegal"),
    "an interim answer alone": (b"HTTP/1.1 100 Continue\r\n\r\n", "disconnected"),
    "a header without a colon": (answer(GOOD, "no colon"), "illegal header line"),
    "a header that breaks off": (b"HTTP/1.1 200 OK\r\nContent-Le", "disconnected"),
    "headers of a megabyte": (answer(GOOD, *(f"X-{i}: {'x' * 1000}" for i in range(1000))), "Receive buffer too long"),
    "a negative length": (answer(GOOD, "Content-Length: -1"), "bad Content-Length"),
    "two lengths": (answer(GOOD, "Content-Length: 1", "Content-Length: 2"), "conflicting Content-Length"),
    "a length of letters": (answer(GOOD, "Content-Length: many"), "bad Content-Length"),
    "a body shorter than its length": (answer(GOOD, "Content-Length: 999"), "without sending complete message body"),
    "a chunk of no size": (answer(b"zz\r\n", "Transfer-Encoding: chunked"), "illegal chunk header"),
    "chunks that break off": (answer(b"5\r\nab", "Transfer-Encoding: chunked"), "without sending complete"),
    "brotli": (answer(b"\x8b\x02\x80", "Content-Encoding: br"), "by neither gzip nor deflate"),
    "zstd": (answer(b"\x28\xb5\x2f\xfd", "Content-Encoding: zstd"), "by neither gzip nor deflate"),
    "gzip that is none": (answer(GOOD, "Content-Encoding: gzip"), "is not"),
    "gzip within gzip": (answer(gzip.compress(GOOD), "Content-Encoding: gzip, gzip"), "by neither gzip nor deflate"),
    "gzip that breaks off": (answer(gzip.compress(GOOD * 99)[:40], "Content-Encoding: gzip"), "expected a chat"),
    "a redirect without an address": (answer(b"", status="302 Found"), "HTTP 302"),
    "a redirect to itself": (
        answer(b"", "Location: /v1/chat/completions", status="307 Temporary Redirect"),
        "HTTP 307",
    ),
    "not modified": (answer(b"", status="304 Not Modified"), "HTTP 304"),
    "an unknown status": (answer(b"odd", status="599 Odd"), "HTTP 599 odd"),
    "a teapot with a control character": (answer(b"\x1b[31mred\x07", status="418 Teapot"), "HTTP 418"),
}


@pytest.mark.parametrize(("sent", "told"), BROKEN.values(), ids=BROKEN)
def test_broken_http_is_one_line(tmp_path: Path, sent: bytes, told: str) -> None:
    """The line tells the fault of the server, whichever layer noticed."""
    assert told in refusal(tmp_path, lambda connection, _: connection.sendall(sent))


MALFORMED: dict[str, bytes] = {
    "no content": b"",
    "null": b"null",
    "a number": b"1",
    "a string": b'"choices"',
    "not a number": b'{"choices": NaN}',
    "infinity": b'{"choices": [{"message": {"content": Infinity}}]}',
    "no choice": b'{"choices": []}',
    "choices as an object": b'{"choices": {"message": 1}}',
    "null for a choice": b'{"choices": [null]}',
    "no message": b'{"choices": [{}]}',
    "null for the message": b'{"choices": [{"message": null}]}',
    "content as a list": b'{"choices": [{"message": {"content": ["a"]}}]}',
    "content as a number": b'{"choices": [{"message": {"content": 1.5}}]}',
    "content as a boolean": b'{"choices": [{"message": {"content": true}}]}',
    "a completion cut short": GOOD[:-3],
    "two completions": GOOD + GOOD,
    "events": b"data: " + GOOD + b"\n\ndata: [DONE]\n\n",
    "another encoding": json.dumps({"choices": 1}).encode("utf-16"),
    "not UTF-8": b'{"choices": "\xff\xfe"}',
    "a page": b"<!doctype html><title>Sign in</title>",
    "depth": b'{"a":' * 50_000,
    "digits": b'{"choices": ' + b"9" * 10_000 + b"}",
}


@pytest.mark.parametrize("body", MALFORMED.values(), ids=MALFORMED)
def test_a_malformed_answer_is_one_line(tmp_path: Path, body: bytes) -> None:
    """Not JSON, cut short, of other types, too deep: the line shows the answer's beginning."""
    assert "expected a chat completion" in refusal(tmp_path, lambda connection, _: connection.sendall(answer(body)))


RETRY_AFTER = (
    *("Wed, 99 Oct 2015 07:28:00 GMT", "Wed, 21 Foo 2015 07:28:00 GMT", "Wed, 21 Oct 99999999999 07:28:00 GMT"),
    *("Wed, 21 Oct 2015 99:99:99 GMT", "Wed, 0 Jan 0000 00:00:00 GMT", "21 Oct 2015", "Wed, 21 Oct 2015 07:28 +9999"),
    *("2015-10-21T07:28:00Z", "1e999", "-1e999", "inf", "nan", "0x10", "-1_0", "", ", , ,", "9" * 400),
)


@pytest.mark.parametrize("value", RETRY_AFTER)
def test_no_retry_after_ends_in_a_traceback(tmp_path: Path, value: str) -> None:
    """Dates that are none and numbers out of bounds: tried again after the client's own pause, or told in one line."""

    def reply(number: int, body: dict[str, object]) -> tuple[int, bytes, dict[str, str]]:
        return (429, b"later", {"Retry-After": value}) if number == 0 else echo(number, body)

    with Model(reply).serving() as model:
        try:
            assert complete(corpus(1), settings(tmp_path, model.url)) == ["which word0 is it"]
        except BadInput as error:
            assert "HTTP 429 later'; wait, or lower" in str(error)


def test_https_to_a_plain_port_is_one_line(tmp_path: Path) -> None:
    """The message says that it was TLS that failed."""
    with Model(echo).serving() as model, pytest.raises(BadInput) as caught:
        complete(corpus(1), settings(tmp_path, model.url.replace("http:", "https:"), retries=0))
    assert "SSL" in str(caught.value) and len(caught.value.args) == 1


def test_http_to_a_port_that_speaks_first_is_one_line(tmp_path: Path) -> None:
    """A mail server greets before it is asked."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def greet() -> None:
            connection, _ = listening.accept()
            with connection:
                connection.sendall(b"220 mail.example ESMTP\r\n")
                time.sleep(0.2)

        thread = threading.Thread(target=greet)
        thread.start()
        url = f"http://127.0.0.1:{listening.getsockname()[1]}/v1"
        with pytest.raises(
            BadInput, match="chat/completions: '(illegal status line.*|APIConnectionError|.*reset.*)'; start the server"
        ):
            complete(corpus(1), settings(tmp_path, url, retries=0))
        thread.join()


@pytest.mark.parametrize("status", ["200 OK", "400 Bad Request", "500 Internal Server Error"])
def test_an_echoed_key_is_masked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, status: str) -> None:
    """Servers show the headers of a request that they refuse."""
    monkeypatch.setenv(KEY, SECRET)
    line = refusal(
        tmp_path,
        lambda connection, _: connection.sendall(answer(f"Authorization: Bearer {SECRET}".encode(), status=status)),
    )
    assert SECRET not in line and "Bearer ***" in line
