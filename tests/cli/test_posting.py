"""A comment is written once and then updated, through the code host's API; a loopback server plays it."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from attune.cli.review.github import PullRequest, post, pull_request
from attune.errors import BadInput

MARKER = "<!-- marker -->"
BOT, PERSON = {"login": "github-actions[bot]", "type": "Bot"}, {"login": "somebody", "type": "User"}


class Host(ThreadingHTTPServer):
    """One pull request, number 7 of o/r: its comments, two to a page; tokens: "writes" and "reads"."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answers)
        self.comments: list[dict[str, Any]] = []
        self.asked: list[str] = []
        self.failures = 0  # how many requests are answered with 503 first
        self.refusal: tuple[int, dict[str, str]] = (403, {})  # what a token that only reads is answered

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def add(self, body: str | None, user: dict[str, str] | None) -> None:
        self.comments.append({"id": 100 + len(self.comments), "body": body, "user": user})


class Answers(BaseHTTPRequestHandler):
    """What the host answers."""

    server: Host

    def answer(self, status: int, content: object, **headers: str) -> None:
        body = json.dumps(content).encode()
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def handle_request(self) -> None:
        self.server.asked.append(f"{self.command} {self.path}")
        sent = json.loads(self.rfile.read(int(self.headers.get("Content-Length", 0))) or "{}")
        path, token = urlsplit(self.path), self.headers["Authorization"]
        if self.server.failures:
            self.server.failures -= 1
            self.answer(503, {})
        elif token not in ("Bearer writes", "Bearer reads"):
            self.answer(401, {"message": "Bad credentials"})
        elif self.command == "GET" and path.path == "/repos/o/r/issues/7/comments":
            page = int(parse_qs(path.query).get("page", ["1"])[0])
            following = f'<{self.server.address}{path.path}?per_page=100&page={page + 1}>; rel="next"'
            is_last = page * 2 >= len(self.server.comments)
            self.answer(200, self.server.comments[page * 2 - 2 : page * 2], **({} if is_last else {"Link": following}))
        elif token == "Bearer reads":
            status, headers = self.server.refusal
            self.answer(status, {"message": "Resource not accessible by integration"}, **headers)
        elif self.command == "POST" and path.path == "/repos/o/r/issues/7/comments":
            self.server.add(sent["body"], BOT)
            self.answer(201, {"html_url": "https://host.example/new"})
        elif self.command == "PATCH" and path.path.startswith("/repos/o/r/issues/comments/"):
            known = next(c for c in self.server.comments if c["id"] == int(path.path.rpartition("/")[2]))
            known["body"] = sent["body"]
            self.answer(200, {"html_url": "https://host.example/old"})
        else:
            self.answer(404, {"message": "Not Found"})

    do_GET = do_POST = do_PATCH = handle_request  # noqa: N815

    def log_message(self, *_: object) -> None:
        """Nothing on stderr."""


@pytest.fixture
def host() -> Iterator[Host]:
    with Host() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def to(host: Host, repository: str = "o/r", *, is_fork: bool = False) -> PullRequest:
    return PullRequest(host.address, repository, 7, "", is_fork)


def test_a_comment_is_written_once_and_then_updated_wherever_it_is(host: Host) -> None:
    """Others' comments stay, those that quote the marker, too; the second page is looked at."""
    for body, user in (("hello", PERSON), (f"{MARKER} mine", PERSON), (f"so: {MARKER}", BOT), (None, None)):
        host.add(body, user)
    others = [dict(comment) for comment in host.comments]
    assert post(to(host), "writes", MARKER, f"{MARKER} one") == "wrote the comment https://host.example/new"
    host.add("later", PERSON)
    assert post(to(host), "writes", MARKER, f"{MARKER} two") == "updated the comment https://host.example/old"
    assert host.comments[:4] == others
    assert [comment["body"] for comment in host.comments[4:]] == [f"{MARKER} two", "later"]
    assert [line for line in host.asked if not line.startswith("GET")] == [
        "POST /repos/o/r/issues/7/comments",
        "PATCH /repos/o/r/issues/comments/104",
    ]


def test_a_token_that_may_only_read_is_said_and_no_failure(host: Host) -> None:
    assert "not commented: the token may not write here" in post(to(host), "reads", MARKER, MARKER)
    assert host.comments == []


@pytest.mark.parametrize(
    ("status", "headers"), [(403, {"x-ratelimit-remaining": "0"}), (403, {"Retry-After": "60"}), (404, {})]
)
def test_a_rate_limit_and_a_wrong_address_are_no_token_that_may_only_read(
    host: Host, status: int, headers: dict[str, str]
) -> None:
    host.refusal = (status, headers)
    with pytest.raises(BadInput, match=rf"{status} Client Error.*the comment was not written, run the job again"):
        post(to(host), "reads", MARKER, MARKER)
    with pytest.raises(BadInput, match="404 Client Error"):
        post(to(host, "o/wrong"), "writes", MARKER, MARKER)


def test_a_fork_s_token_may_be_told_that_nothing_is_there(host: Host) -> None:
    host.refusal = (404, {})
    assert "not commented: the token may not write here" in post(to(host, is_fork=True), "reads", MARKER, MARKER)


def test_a_host_that_is_busy_is_asked_again(host: Host) -> None:
    host.failures = 1
    assert post(to(host), "writes", MARKER, MARKER).startswith("wrote")


@pytest.mark.parametrize(("token", "words"), [("wrong", "401 Client Error")])
def test_a_refusal_is_one_line(host: Host, token: str, words: str) -> None:
    with pytest.raises(BadInput, match=rf"{words}.*the comment was not written"):
        post(to(host), token, MARKER, MARKER)


def test_the_workflow_says_which_pull_request_this_is(tmp_path: Path) -> None:
    event = tmp_path / "event.json"
    environment = {
        "GITHUB_EVENT_PATH": str(event),
        "GITHUB_API_URL": "https://api.example",
        "GITHUB_SERVER_URL": "https://host.example",
        "GITHUB_REPOSITORY": "o/r",
    }
    head = {"sha": "abc", "repo": {"full_name": "fork/r"}}
    event.write_text(json.dumps({"pull_request": {"number": 7, "head": head}}))
    link = "https://host.example/fork/r/blob/abc/metrics"
    assert pull_request(environment) == PullRequest("https://api.example", "o/r", 7, link, is_fork=True)
    event.write_text(json.dumps({"pull_request": {"number": 7, "head": head | {"repo": None}}}))  # the fork is gone
    found = pull_request(environment)
    assert found is not None and found.link == "https://host.example/o/r/blob/abc/metrics" and found.is_fork
    event.write_text(json.dumps({"pull_request": {"number": 7, "head": head | {"repo": {"full_name": "o/r"}}}}))
    found = pull_request(environment)
    assert found is not None and not found.is_fork
    event.write_text(json.dumps({"ref": "refs/heads/main"}))
    assert pull_request(environment) is None
    assert pull_request({}) is None
    event.write_text("{")
    with pytest.raises(BadInput, match="not the event of a pull request"):
        pull_request(environment)
