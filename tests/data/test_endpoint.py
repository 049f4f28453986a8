"""Chat endpoint: requests, answer cache, resuming and retries over real HTTP on loopback; failures are one line."""

import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from chat_server import Model, Reply, corpus, echo, loopback, says, settings
from pydantic import ValidationError

from attune.data.sources.generated.endpoint import complete
from attune.data.sources.raw import Document
from attune.endpoints.requests import KEY
from attune.errors import BadInput

SECRET = "sk-very-secret"
SOON = {"retry-after-ms": "1"}  # spares the test the client's pauses

pytestmark = pytest.mark.usefixtures("loopback")
__all__ = ["loopback"]


def test_a_request_holds_the_parameters_and_the_document(tmp_path: Path) -> None:
    """Text is cut at max_characters; there is no Authorization header without a key."""
    with Model(echo).serving() as model:
        answers = complete([Document("d", "A title", "x" * 150)], settings(tmp_path, model.url + "/"))
    assert answers == [f"which {'x' * 100} is it"]
    ((path, headers, body),) = model.requests
    assert path == "/v1/chat/completions"
    assert body == {
        "model": "small",
        "messages": [{"role": "user", "content": "Ask for {it}.\nA title\n" + "x" * 100}],
        "temperature": 0,
        "seed": 7,
        "max_tokens": 32,
        "stream": False,
    }
    assert headers["content-type"] == "application/json" and "authorization" not in headers


def test_the_key_is_sent_and_not_stored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another one in ~/.netrc does not replace it, and the cache does not hold it."""
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login someone password else\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    monkeypatch.setenv(KEY, f"{SECRET}\n")
    with Model(echo).serving() as model:
        complete(corpus(3), settings(tmp_path, model.url))
    assert {headers["authorization"] for _, headers, _ in model.requests} == {f"Bearer {SECRET}"}
    files = [file for file in (tmp_path / "cache").rglob("*") if file.is_file()]
    assert files and not any(SECRET.encode() in file.read_bytes() for file in files)


def test_credentials_for_other_services_are_not_sent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The client would take them from its own environment variables and send them to any endpoint."""
    (tmp_path / "netrc").write_text(f"machine 127.0.0.1 login someone password {SECRET}\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    for name in ("OPENAI_API_KEY", "OPENAI_ADMIN_KEY", "OPENAI_ORG_ID", "OPENAI_PROJECT_ID"):
        monkeypatch.setenv(name, SECRET)
    with Model(echo).serving() as model:
        complete(corpus(1), settings(tmp_path, model.url))
    ((_, headers, _),) = model.requests
    assert "authorization" not in headers and SECRET not in str(headers)


@pytest.mark.parametrize("key", ["a\nb", "schlüssel"])
def test_a_key_that_no_header_can_carry_is_not_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, key: str) -> None:
    """The message names the variable, not its value."""
    monkeypatch.setenv(KEY, key)
    with pytest.raises(BadInput, match="ATTUNE_API_KEY: holds characters") as caught:
        complete(corpus(1), settings(tmp_path, "http://127.0.0.1:9/v1"))
    assert key not in str(caught.value)


def test_a_second_run_requests_only_what_is_new(tmp_path: Path) -> None:
    """Address, n_parallel, timeout and retries do not matter; another model, seed or prompt is a new request."""
    with Model(echo).serving() as first:
        answers = complete(corpus(5), settings(tmp_path, first.url))
    with Model(echo).serving() as second:
        assert (
            complete(corpus(5), settings(tmp_path, second.url, n_parallel=1, timeout_seconds=99, retries=0)) == answers
        )
        assert len(second.requests) == 0
        complete(corpus(6), settings(tmp_path, second.url))
        assert len(second.requests) == 1
        for change in ({"model": "x"}, {"seed": 8}, {"prompt": "{text}"}, {"max_tokens": 33}, {"max_characters": 100}):
            complete(corpus(1), settings(tmp_path, second.url, **change))
        assert len(second.requests) == 5


def test_equal_documents_share_one_request(tmp_path: Path) -> None:
    """Ids are not part of a request."""
    same = [Document(str(n), "t", "text") for n in range(4)]
    with Model(echo).serving() as model:
        assert complete(same, settings(tmp_path, model.url)) == ["which text is it"] * 4
    assert len(model.requests) == 1


def test_answers_are_in_the_order_of_the_documents(tmp_path: Path) -> None:
    """The order in which they arrive does not matter, nor does n_parallel."""

    def slow_first(number: int, body: dict[str, Any]) -> Reply:
        time.sleep(0.02 * max(0, 4 - number))
        return echo(number, body)

    with Model(slow_first).serving() as model:
        for n_parallel in (1, 8):
            run = settings(tmp_path / str(n_parallel), model.url, n_parallel=n_parallel)
            assert complete(corpus(9), run) == [f"which word{i} is it" for i in range(9)]


def test_n_parallel_bounds_the_requests_at_one_time(tmp_path: Path) -> None:
    """At most 4 of 12 requests are open at one time, and more than one."""
    now, most = [0], [0]
    lock, two = threading.Lock(), threading.Event()

    def count(number: int, body: dict[str, Any]) -> Reply:
        with lock:
            now[0] += 1
            most[0] = max(most[0], now[0])
            if now[0] > 1:
                two.set()
        assert two.wait(100)  # the first one is open until a second one is, however slow the machine
        time.sleep(0.02)
        with lock:
            now[0] -= 1
        return echo(number, body)

    with Model(count).serving() as model:
        complete(corpus(12), settings(tmp_path, model.url, n_parallel=4))
    assert 2 <= most[0] <= 4


def test_after_a_failure_only_the_rest_is_requested(tmp_path: Path) -> None:
    """The sixth request is refused: five answers are kept, and the next run sends four requests."""

    def fail_sixth(number: int, body: dict[str, Any]) -> Reply:
        return (400, b"no more", {}) if number == 5 else echo(number, body)

    with Model(fail_sixth).serving() as model:
        with pytest.raises(BadInput, match="HTTP 400 no more"):
            complete(corpus(9), settings(tmp_path, model.url, n_parallel=1))
        assert len(model.requests) == 6
        assert complete(corpus(9), settings(tmp_path, model.url, n_parallel=1))[8] == "which word8 is it"
        assert len(model.requests) == 6 + 4


def test_a_killed_run_resumes(tmp_path: Path) -> None:
    """SIGKILL in the middle of the seventh request: six answers are on disk, and the next run sends four requests."""
    reached, go_on = threading.Event(), threading.Event()

    def wait_at_seventh(number: int, body: dict[str, Any]) -> Reply:
        if number == 6:
            reached.set()
            go_on.wait(300)
        return echo(number, body)

    program = (
        "import sys\n"
        "from attune.data.sources.generated.endpoint import *\n"
        "from attune.data.sources.raw import Document\n"
        "documents = [Document(f'd{i}', f'Title {i}', f'word{i}') for i in range(10)]\n"
        "complete(documents, Endpoint.model_validate_json(sys.argv[1]))"
    )
    with Model(wait_at_seventh).serving() as model:
        run = settings(tmp_path, model.url, n_parallel=1, timeout_seconds=300)
        process = subprocess.Popen([sys.executable, "-c", program, run.model_dump_json()], stderr=subprocess.DEVNULL)
        assert reached.wait(300)  # the process starts slowly on a busy machine
        process.send_signal(signal.SIGKILL)
        process.wait()
        go_on.set()
        assert complete(corpus(10), run) == [f"which word{i} is it" for i in range(10)]
        assert len(model.requests) == 7 + 4


@pytest.mark.parametrize("status", [408, 429, 500, 503])
def test_a_transient_error_is_retried(tmp_path: Path, status: int) -> None:
    """Two failures, then an answer."""
    with Model(lambda n, body: (status, b"busy", SOON) if n < 2 else echo(n, body)).serving() as model:
        assert complete(corpus(1), settings(tmp_path, model.url)) == ["which word0 is it"]
    assert len(model.requests) == 3


@pytest.mark.parametrize("header", ["1.5e-3", "soon", "-1", "nan", "Wed, 21 Oct 2015 07:28:00 GMT"])
def test_any_retry_after_is_read_or_ignored(tmp_path: Path, header: str) -> None:
    """A fraction, no number, below zero, not a number, a date in the past."""
    with Model(lambda n, body: (429, b"", {"Retry-After": header}) if n == 0 else echo(n, body)).serving() as model:
        assert complete(corpus(1), settings(tmp_path, model.url)) == ["which word0 is it"]


def test_a_body_that_breaks_off_is_retried(tmp_path: Path) -> None:
    """The head of an answer announces more bytes than follow."""

    class Broken(bytes):
        def __len__(self) -> int:
            return 99

    def reply(number: int, body: dict[str, Any]) -> Reply:
        return (200, Broken(b'{"choices": '), {"Connection": "close"}) if number == 0 else echo(number, body)

    with Model(reply).serving() as model:
        assert complete(corpus(1), settings(tmp_path, model.url)) == ["which word0 is it"]
    assert len(model.requests) == 2


def test_an_error_that_persists_ends_the_run_after_the_retries(tmp_path: Path) -> None:
    """One request and two retries; the server's words are in the message, on one line."""
    with (
        Model(lambda n, body: (503, b"loading\nthe model", SOON)).serving() as model,
        pytest.raises(BadInput, match="HTTP 503 loading the model"),
    ):
        complete(corpus(1), settings(tmp_path, model.url))
    assert len(model.requests) == 3


def test_retry_after_is_honoured(tmp_path: Path) -> None:
    """A server that asks for a second gets it, where the client alone would wait half of it."""
    times: list[float] = []

    def busy(number: int, body: dict[str, Any]) -> Reply:
        times.append(time.monotonic())
        return (429, b"", {"Retry-After": "1"}) if number == 0 else echo(number, body)

    with Model(busy).serving() as model:
        complete(corpus(1), settings(tmp_path, model.url))
    assert times[1] - times[0] >= 1


def test_retry_after_of_hours_ends_the_run(tmp_path: Path) -> None:
    """The client waits up to two minutes; what was answered is kept, and the message says what to do."""
    with Model(lambda n, body: (429, b"quota", {"Retry-After": "7200"})).serving() as model:
        started = time.monotonic()
        with pytest.raises(BadInput, match=r"HTTP 429 quota.*; wait, or lower collect.endpoint.n_parallel"):
            complete(corpus(1), settings(tmp_path, model.url))
    assert time.monotonic() - started < 100
    assert len(model.requests) == 1


def test_a_slow_server_ends_the_run_after_timeout_and_retries(tmp_path: Path) -> None:
    """The message says how long and how often it was tried."""
    stop = threading.Event()

    def never(number: int, body: dict[str, Any]) -> Reply:
        stop.wait(10)
        return echo(number, body)

    with Model(never).serving() as model:
        with pytest.raises(BadInput, match=r"no answer within 0\.2 seconds, tried 2 times"):
            complete(corpus(1), settings(tmp_path, model.url, timeout_seconds=0.2, retries=1))
        stop.set()
    assert 1 <= len(model.requests) <= 2  # on a busy machine a request may end before it is read


@pytest.mark.parametrize(
    ("reply", "messages"),
    [
        ((401, f'{{"error": "bad key {SECRET}"}}'.encode(), {}), ["HTTP 401", "bad key ***", "set ATTUNE_API_KEY"]),
        ((403, b"", {}), ["HTTP 403", "a key that may use this model"]),
        (
            (404, b'{"error": "model small not found"}', {}),
            ["HTTP 404", "model small not found", "correct collect.endpoint"],
        ),
        (
            (302, b"", {"Location": "http://127.0.0.1:9/"}),
            ["HTTP 302", "set collect.endpoint.url to the address it redirects to"],
        ),
        ((418, b"\xff\x00\n" * 500, {}), ["HTTP 418"]),
        ((200, b"<html>not JSON", {}), ["got <html>not JSON", "expected a chat completion"]),
        ((200, b"", {}), ["expected a chat completion"]),
        ((200, b"[]", {}), ["got []"]),
        ((200, b"[" * 100_000, {}), ["expected a chat completion"]),
        ((200, b'{"choices": []}', {}), ['got {"choices": []}']),
        ((200, b'{"choices": [{"message": {"content": 3}}]}', {}), ["expected a chat completion"]),
        ((200, b'{"choices": [{"message": "x"}]}', {}), ["expected a chat completion"]),
        ((200, b'{"error": {"message": "out of memory"}}', {}), ["out of memory"]),
    ],
)
def test_a_refusal_is_one_line_with_url_and_advice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reply: Reply, messages: list[str]
) -> None:
    """Refusals and malformed answers; the key is masked, and eight documents give one message."""
    monkeypatch.setenv(KEY, SECRET)
    with Model(lambda n, body: reply).serving() as model, pytest.raises(BadInput) as caught:
        complete(corpus(8), settings(tmp_path, model.url))
    (line,) = caught.value.args
    for message in [f"{model.url}/chat/completions: ", *messages, "run again: answers so far are kept in"]:
        assert message in line
    assert line.isprintable() and len(line) < 500 and SECRET not in line


def test_no_server_is_one_line(tmp_path: Path) -> None:
    """The message gives the address, the cause and what to do."""
    with Model(echo).serving() as model:
        url = model.url
    with pytest.raises(
        BadInput, match="chat/completions: .*refused.*; start the server or correct collect.endpoint"
    ) as caught:
        complete(corpus(2), settings(tmp_path, url, retries=1))
    assert " at 0x" not in str(caught.value)


@pytest.mark.parametrize("content", ["", "half of one: \ud83d", "NUL \0 in it", "x" * 100_000, None])
def test_any_text_can_be_answered_and_kept(tmp_path: Path, content: str | None) -> None:
    """A null is an empty answer; half of a surrogate pair becomes a question mark."""
    with Model(lambda n, body: says(content)).serving() as model:
        (answer,) = complete(corpus(1), settings(tmp_path, model.url))
        assert complete(corpus(1), settings(tmp_path, model.url)) == [answer]
    assert answer == (content or "").replace("\ud83d", "?")
    assert len(model.requests) == 1


def test_a_damaged_cache_is_one_line(tmp_path: Path) -> None:
    """The message gives the file and what to do."""
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / "answers.sqlite").write_bytes(b"no database" * 100)
    with pytest.raises(BadInput, match=r"answers\.sqlite: file is not a database; free the disk or remove the file"):
        complete(corpus(1), settings(tmp_path, "http://127.0.0.1:9/v1"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"prompt": "Write a query."}, "expected {text}"),
        ({"prompt": "{title}"}, "expected {text}"),
        ({"prompt": "{text} {name}"}, "no other placeholder"),
        ({"prompt": "{text.__class__}"}, "expected {text}"),
        ({"prompt": "{text} {title!r}"}, "no other placeholder"),
        ({"prompt": "{text:>9999999}"}, "expected {text}"),
        ({"prompt": "{text} {}"}, "no other placeholder"),
        ({"prompt": "{text} {"}, "write {{ and }} for braces"),
        ({"url": "localhost:8000/v1"}, "url"),
        ({"url": "http://user:password@host/v1"}, "url"),
        ({"url": "http://host/v1?key=x"}, "url"),
        ({"retries": -1}, "retries"),
        ({"api_key": "x"}, "api_key"),
    ],
)
def test_parameters_that_cannot_work_are_refused(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    """Prompts that cannot be filled in, addresses with credentials or a query, unknown keys."""
    with pytest.raises(ValidationError) as caught:
        settings(tmp_path, "http://host/v1", **change)
    assert message in str(caught.value)
