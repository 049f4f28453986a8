"""Queries by a chat endpoint, over real HTTP on loopback: asked once, kept, retried, checked; or one clear line."""

import json
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from attune.data.sources.documents import Entry
from attune.data.sources.files.cells import Columns
from attune.data.sources.generated import endpoint as module
from attune.data.sources.generated.endpoint import KEY, Endpoint, ask
from attune.data.sources.generated.generate import collect_documents, queries_from_endpoint, query_in
from attune.data.sources.generated.structure import QueryRules
from attune.data.sources.raw import Document, Qrel, Query
from attune.errors import BadInput

RULES = QueryRules(min_query_words=2, max_query_words=8, max_documents_per_query=2)
SECRET = "sk-very-secret"
Reply = tuple[int, bytes, dict[str, str]]


class Model:
    """A model server: what it was asked, and what it says; `reply` gets the number of the request and its body."""

    def __init__(self, reply: Callable[[int, dict[str, Any]], Reply]) -> None:
        self.requests: list[tuple[str, dict[str, str], dict[str, Any]]] = []
        self.reply = reply
        self.lock = threading.Lock()
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), self.handler())
        self.url = f"http://127.0.0.1:{self.server.server_port}/v1"

    def handler(model) -> type[BaseHTTPRequestHandler]:  # noqa: N805
        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                with model.lock:
                    number = len(model.requests)
                    model.requests.append((self.path, dict(self.headers), body))
                status, content, headers = model.reply(number, body)
                try:
                    self.send_response(status)
                    for name, value in {**headers, "Content-Length": str(len(content))}.items():
                        self.send_header(name, value)
                    self.end_headers()
                    self.wfile.write(content)
                except ConnectionError:
                    pass  # who asked has gone

            def log_message(self, *_: Any) -> None:
                pass

        return Handler

    @contextmanager
    def serving(self) -> Iterator["Model"]:
        thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield self
        finally:
            self.server.shutdown()
            self.server.server_close()
            thread.join()


def says(text: str | None) -> Reply:
    return 200, json.dumps({"choices": [{"message": {"role": "assistant", "content": text}}]}).encode(), {}


def echo(_: int, body: dict[str, Any]) -> Reply:
    """A query of the text's own words: which <word> is <word>."""
    text = body["messages"][0]["content"].rpartition("\n")[2]
    return says(f"which {text} is it")


def settings(folder: Path, server: str, **changes: Any) -> Endpoint:
    fields = {
        "url": server,
        "model": "small",
        "prompt": "Ask for {{it}}.\n{title}\n{text}",
        "seed": 7,
        "max_tokens": 32,
        "max_characters": 100,
        "timeout_seconds": 5,
        "retries": 2,
        "n_parallel": 3,
        "found_within": 1,
        "cache": str(folder / "cache"),
    }
    return Endpoint.model_validate({**fields, **changes})


def corpus(n: int) -> list[Document]:
    return [Document(f"d{i}", f"Title {i}", f"word{i}") for i in range(n)]


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """No pauses between tries, no proxy on the way to loopback, no key but the test's own."""
    monkeypatch.setattr(module, "BACKOFF_SECONDS", 0.01)
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.setenv(name, "127.0.0.1")
    monkeypatch.delenv(KEY, raising=False)


def test_what_is_sent_is_what_the_parameters_say(tmp_path: Path) -> None:
    with Model(echo).serving() as model:
        answers = ask([Document("d", "A title", "x" * 150)], settings(tmp_path, model.url + "/"))
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
    assert headers["Content-Type"] == "application/json" and "Authorization" not in headers


def test_the_key_is_sent_and_kept_nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not even where ~/.netrc would put another one in its place."""
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login someone password else\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    monkeypatch.setenv(KEY, f"{SECRET}\n")
    with Model(echo).serving() as model:
        ask(corpus(3), settings(tmp_path, model.url))
    assert {headers["Authorization"] for _, headers, _ in model.requests} == {f"Bearer {SECRET}"}
    files = [file for file in (tmp_path / "cache").rglob("*") if file.is_file()]
    assert files and not any(SECRET.encode() in file.read_bytes() for file in files)


@pytest.mark.parametrize("key", ["a\nb", "schlüssel"])
def test_a_key_that_no_header_can_carry_is_not_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, key: str) -> None:
    monkeypatch.setenv(KEY, key)
    with pytest.raises(BadInput, match="ATTUNE_API_KEY: holds characters") as caught:
        ask(corpus(1), settings(tmp_path, "http://127.0.0.1:9/v1"))
    assert key not in str(caught.value)


def test_a_second_run_asks_for_what_is_new_only(tmp_path: Path) -> None:
    """Wherever the server then stands, and however parallel; another model, seed or prompt is another question."""
    with Model(echo).serving() as first:
        answers = ask(corpus(5), settings(tmp_path, first.url))
    with Model(echo).serving() as second:
        assert ask(corpus(5), settings(tmp_path, second.url, n_parallel=1, timeout_seconds=9, retries=0)) == answers
        assert len(second.requests) == 0
        ask(corpus(6), settings(tmp_path, second.url))
        assert len(second.requests) == 1
        for change in ({"model": "x"}, {"seed": 8}, {"prompt": "{text}"}, {"max_tokens": 33}, {"max_characters": 100}):
            ask(corpus(1), settings(tmp_path, second.url, **change))
        assert len(second.requests) == 5


def test_equal_documents_are_asked_for_once(tmp_path: Path) -> None:
    same = [Document(str(n), "t", "text") for n in range(4)]
    with Model(echo).serving() as model:
        assert ask(same, settings(tmp_path, model.url)) == ["which text is it"] * 4
    assert len(model.requests) == 1


def test_answers_keep_the_order_of_the_documents_however_they_arrive(tmp_path: Path) -> None:
    def slow_first(number: int, body: dict[str, Any]) -> Reply:
        time.sleep(0.02 * max(0, 4 - number))
        return echo(number, body)

    with Model(slow_first).serving() as model:
        for n_parallel in (1, 8):
            run = settings(tmp_path / str(n_parallel), model.url, n_parallel=n_parallel)
            assert ask(corpus(9), run) == [f"which word{i} is it" for i in range(9)]


def test_n_parallel_bounds_what_is_asked_at_once(tmp_path: Path) -> None:
    now, most = [0], [0]
    lock = threading.Lock()

    def count(number: int, body: dict[str, Any]) -> Reply:
        with lock:
            now[0] += 1
            most[0] = max(most[0], now[0])
        time.sleep(0.02)
        with lock:
            now[0] -= 1
        return echo(number, body)

    with Model(count).serving() as model:
        ask(corpus(12), settings(tmp_path, model.url, n_parallel=4))
    assert 2 <= most[0] <= 4


def test_after_a_failure_only_the_rest_is_asked(tmp_path: Path) -> None:
    def fail_sixth(number: int, body: dict[str, Any]) -> Reply:
        return (400, b"no more", {}) if number == 5 else echo(number, body)

    with Model(fail_sixth).serving() as model:
        with pytest.raises(BadInput, match="HTTP 400 no more"):
            ask(corpus(9), settings(tmp_path, model.url, n_parallel=1))
        assert len(model.requests) == 6
        assert ask(corpus(9), settings(tmp_path, model.url, n_parallel=1))[8] == "which word8 is it"
        assert len(model.requests) == 6 + 4


def test_a_killed_run_goes_on_where_it_was(tmp_path: Path) -> None:
    """SIGKILL in the middle of the seventh request: six answers are on disk, and the next run asks for four."""
    reached, go_on = threading.Event(), threading.Event()

    def wait_at_seventh(number: int, body: dict[str, Any]) -> Reply:
        if number == 6:
            reached.set()
            go_on.wait(20)
        return echo(number, body)

    program = (
        "import sys\n"
        "from attune.data.sources.generated.endpoint import *\n"
        "from attune.data.sources.raw import Document\n"
        "documents = [Document(f'd{i}', f'Title {i}', f'word{i}') for i in range(10)]\n"
        "ask(documents, Endpoint.model_validate_json(sys.argv[1]))"
    )
    with Model(wait_at_seventh).serving() as model:
        run = settings(tmp_path, model.url, n_parallel=1, timeout_seconds=30)
        process = subprocess.Popen([sys.executable, "-c", program, run.model_dump_json()], stderr=subprocess.DEVNULL)
        assert reached.wait(30)
        process.send_signal(signal.SIGKILL)
        process.wait()
        go_on.set()
        assert ask(corpus(10), run) == [f"which word{i} is it" for i in range(10)]
        assert len(model.requests) == 7 + 4


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_passing_fault_is_tried_again(tmp_path: Path, status: int) -> None:
    with Model(lambda n, body: (status, b"busy", {}) if n < 2 else echo(n, body)).serving() as model:
        assert ask(corpus(1), settings(tmp_path, model.url)) == ["which word0 is it"]
    assert len(model.requests) == 3


@pytest.mark.parametrize("header", ["1.5e-3", "soon", "-1", "nan", "Wed, 21 Oct 2015 07:28:00 GMT"])
def test_any_retry_after_is_read_or_passed_over(tmp_path: Path, header: str) -> None:
    with Model(lambda n, body: (429, b"", {"Retry-After": header}) if n == 0 else echo(n, body)).serving() as model:
        assert ask(corpus(1), settings(tmp_path, model.url)) == ["which word0 is it"]


def test_a_body_that_breaks_off_is_asked_for_again(tmp_path: Path) -> None:
    """The head of an answer is no answer yet: more bytes are promised than come."""

    class Broken(bytes):
        def __len__(self) -> int:
            return 99

    def reply(number: int, body: dict[str, Any]) -> Reply:
        return (200, Broken(b'{"choices": '), {"Connection": "close"}) if number == 0 else echo(number, body)

    with Model(reply).serving() as model:
        assert ask(corpus(1), settings(tmp_path, model.url, timeout_seconds=0.5)) == ["which word0 is it"]
    assert len(model.requests) == 2


def test_a_fault_that_stays_is_given_up_after_the_retries(tmp_path: Path) -> None:
    with (
        Model(lambda n, body: (503, b"loading\nthe model", {})).serving() as model,
        pytest.raises(BadInput, match="HTTP 503 loading the model"),
    ):
        ask(corpus(1), settings(tmp_path, model.url))
    assert len(model.requests) == 3


def test_retry_after_is_honoured(tmp_path: Path) -> None:
    times: list[float] = []

    def busy(number: int, body: dict[str, Any]) -> Reply:
        times.append(time.monotonic())
        return (429, b"", {"Retry-After": "1"}) if number == 0 else echo(number, body)

    with Model(busy).serving() as model:
        ask(corpus(1), settings(tmp_path, model.url))
    assert times[1] - times[0] >= 1


def test_retry_after_cannot_hold_a_run_for_hours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_WAIT_SECONDS", 0.1)
    with Model(lambda n, body: (429, b"", {"Retry-After": "7200"}) if n == 0 else echo(n, body)).serving() as model:
        started = time.monotonic()
        ask(corpus(1), settings(tmp_path, model.url))
    assert time.monotonic() - started < 3


def test_a_slow_server_is_given_up_with_its_time(tmp_path: Path) -> None:
    stop = threading.Event()

    def never(number: int, body: dict[str, Any]) -> Reply:
        stop.wait(10)
        return echo(number, body)

    with Model(never).serving() as model:
        with pytest.raises(BadInput, match=r"no answer within 0\.2 seconds, tried 2 times"):
            ask(corpus(1), settings(tmp_path, model.url, timeout_seconds=0.2, retries=1))
        stop.set()
    assert len(model.requests) == 2


@pytest.mark.parametrize(
    ("reply", "messages"),
    [
        ((401, f'{{"error": "bad key {SECRET}"}}'.encode(), {}), ["HTTP 401", "bad key ***", "set ATTUNE_API_KEY"]),
        ((403, b"", {}), ["HTTP 403", "a key that may use this model"]),
        (
            (404, b'{"error": "model small not found"}', {}),
            ["HTTP 404", "model small not found", "mend collect.endpoint"],
        ),
        ((302, b"", {"Location": "http://127.0.0.1:9/"}), ["HTTP 302", "see the server's log"]),
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
    monkeypatch.setenv(KEY, SECRET)
    with Model(lambda n, body: reply).serving() as model, pytest.raises(BadInput) as caught:
        ask(corpus(8), settings(tmp_path, model.url))
    (line,) = caught.value.args
    for message in [f"{model.url}/chat/completions: ", *messages, "run again: answers so far are kept in"]:
        assert message in line
    assert line.isprintable() and len(line) < 500 and SECRET not in line


def test_no_server_is_one_line(tmp_path: Path) -> None:
    with Model(echo).serving() as model:
        url = model.url
    with pytest.raises(
        BadInput, match="chat/completions: .*refused.*; start the server or mend collect.endpoint"
    ) as caught:
        ask(corpus(2), settings(tmp_path, url))
    assert " at 0x" not in str(caught.value)


@pytest.mark.parametrize("content", ["", "half of one: \ud83d", "NUL \0 in it", "x" * 100_000, None])
def test_any_text_can_be_answered_and_kept(tmp_path: Path, content: str | None) -> None:
    with Model(lambda n, body: says(content)).serving() as model:
        (answer,) = ask(corpus(1), settings(tmp_path, model.url))
        assert ask(corpus(1), settings(tmp_path, model.url)) == [answer]
    assert answer == (content or "").replace("\ud83d", "?")
    assert len(model.requests) == 1


def test_a_damaged_cache_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / "answers.sqlite").write_bytes(b"no database" * 100)
    with pytest.raises(BadInput, match=r"answers\.sqlite: file is not a database; free the disk or remove the file"):
        ask(corpus(1), settings(tmp_path, "http://127.0.0.1:9/v1"))


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
    with pytest.raises(ValidationError) as caught:
        settings(tmp_path, "http://host/v1", **change)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("answer", "query"),
    [
        ("how to fit", "how to fit"),
        ('"how to fit?"\n', "how to fit?"),
        ("Query: how to fit", "how to fit"),
        ("**Search query:** “how to fit”", "how to fit"),
        ("Question 1: 'how to fit'", "how to fit"),
        ("1. how to fit\n2. how to run", "how to fit"),
        ("\n\n- how  to\tfit\nbecause", "how to fit"),
        ("Here is a query:\n\nhow to fit", "how to fit"),
        ("Query:\nhow to fit", "how to fit"),
        ("<think>Query: no\nhm</think>\n\nhow to fit", "how to fit"),
        ("<think>no end", ""),
        ("how to\x00 fit\x1b", "how to fit"),
        ("3.5 liters in gallons", "3.5 liters in gallons"),
        ("query planner in databases", "query planner in databases"),
        ("", ""),
        ("\n \n", ""),
    ],
)
def test_an_answer_is_cleaned(answer: str, query: str) -> None:
    assert query_in(answer) == query


def test_only_queries_that_find_their_document_are_kept(tmp_path: Path) -> None:
    """Every flaw once; all documents stay whole."""
    answers = {
        "apples are red and sweet fruit": "which fruit is red and sweet",
        "pears. Their skin is green": "their skin is green",
        "plums grow on trees": "apples",
        "grapes grow on vines": "one two three four five six seven eight nine",
        "figs are old": "",
        "cherries are small red fruit": "red sweet fruit",  # finds the apples
        "dates from palms": "some fruit",
        "melons from fields": "Some fruit",
        "kiwis from trees": "some FRUIT",
        "limes are sour": "Query: what is sour",
    }
    documents = [Document(f"d{i}", "", text) for i, text in enumerate(answers)]
    entries = [Entry(document, group=f"g{i}", stratum="s") for i, document in enumerate(documents)]
    with Model(lambda n, body: says(answers[body["messages"][0]["content"]])).serving() as model:
        raw = queries_from_endpoint(entries, RULES, settings(tmp_path, model.url, prompt="{text}"))
    assert raw.documents == documents
    assert raw.queries == [
        Query("d0#query", "which fruit is red and sweet", "g0", "s"),
        Query("d9#query", "what is sour", "g9", "s"),
    ]
    assert raw.qrels == {"all": [Qrel("d0#query", "d0", 1), Qrel("d9#query", "d9", 1)]}
    assert raw.dropped == {
        "query_copied": 1,
        "query_short": 1,
        "query_long": 1,
        "query_empty": 1,
        "query_not_found_again": 1,
        "query_generic": 3,
    }
    assert raw.facts == {"endpoint_model": "small"}


def test_a_wider_round_trip_keeps_more(tmp_path: Path) -> None:
    documents = [Document("a", "", "red sweet fruit red"), Document("b", "", "red cherries, small fruit of some trees")]
    with Model(lambda n, body: says("red fruit please")).serving() as model:
        runs = [
            queries_from_endpoint([Entry(d) for d in documents], RULES, settings(tmp_path, model.url, found_within=k))
            for k in (1, 2)
        ]
    assert [[q.query_id for q in run.queries] for run in runs] == [["a#query"], ["a#query", "b#query"]]


def test_from_files_to_data_by_either_way(tmp_path: Path) -> None:
    """And the same bytes again, cached or not, in another order of arrival, with documents left out by their ids."""
    folder = tmp_path / "texts"
    folder.mkdir()
    for i in range(12):
        (folder / f"{i}.txt").write_text(f"Sentence about word{i} here. The rest of text word{i} is this.")
    (folder / "empty.txt").write_text("")
    columns = Columns(
        query="",
        document="",
        title="",
        negatives=[],
        relevance="",
        query_id="",
        document_id="",
        group="",
        stratum="",
        split="",
    )
    rules = QueryRules(2, 20, 2)
    with Model(lambda n, body: says(f"tell of {body['messages'][0]['content'].split()[2]} please")).serving() as model:
        run = settings(tmp_path, model.url, prompt="{text}")
        other = settings(tmp_path / "other", model.url, prompt="{text}", n_parallel=1)
        first, again, fresh = (collect_documents(folder, columns, "endpoint", rules, e, 0) for e in (run, run, other))
        assert first == again == fresh and len(first.queries) == 12 and len(model.requests) == 24
        some = collect_documents(folder, columns, "endpoint", rules, other, 5)
    assert len(some.documents) == 5 and set(some.documents) < set(first.documents) and len(model.requests) == 24
    assert first.dropped == {"document_blank": 1}
    plain = collect_documents(folder, columns, "structure", rules, run, 0)
    assert [query.text for query in plain.queries][:2] == ["Sentence about word0 here", "Sentence about word1 here"]
    assert plain.documents[0] == Document("0.txt", "", "The rest of text word0 is this.")
