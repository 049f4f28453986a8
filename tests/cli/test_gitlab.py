"""The note on a GitLab merge request: written once, then edited; a refusal is one line, and no token is shown."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from attune.cli.review.gitlab import PER_PAGE, SET_BY_GITLAB, TOKEN, post_note
from attune.errors import BadInput

ROOT = Path(__file__).resolve().parents[2]
TEXT = "## attune: this model may be merged\n\nBetter."
PATH = "/projects/7/merge_requests/3/notes"


class Server(HTTPServer):
    """GitLab's notes of one merge request; user 1 owns the token `right`."""

    notes: list[dict[str, Any]]


class Handler(BaseHTTPRequestHandler):
    """Lists, adds and edits notes."""

    server: Server

    def do_GET(self) -> None:
        path, _, query = self.path.partition("?")
        if path == "/user":
            return self.answer({"id": 1})
        assert path == PATH
        page = int(dict(pair.split("=") for pair in query.split("&"))["page"])
        return self.answer(self.server.notes[(page - 1) * PER_PAGE : page * PER_PAGE])

    def do_POST(self) -> None:
        assert self.path == PATH
        self.server.notes.append({"id": len(self.server.notes), "author": {"id": 1}, "body": self.body()})
        self.answer(self.server.notes[-1])

    def do_PUT(self) -> None:
        note = self.server.notes[int(self.path.removeprefix(f"{PATH}/"))]
        note["body"] = self.body()
        self.answer(note)

    def body(self) -> str:
        return str(json.loads(self.rfile.read(int(self.headers["Content-Length"])))["body"])

    def answer(self, content: object) -> None:
        is_known = self.headers["PRIVATE-TOKEN"] == "right"
        self.send_response(200 if is_known else 401)
        self.end_headers()
        self.wfile.write(json.dumps(content if is_known else {"message": "401 Unauthorized"}).encode())

    def log_message(self, *_: object) -> None:
        """Stays silent."""


@pytest.fixture
def gitlab() -> Iterator[Server]:
    server = Server(("127.0.0.1", 0), Handler)
    server.notes = []
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def environment(server: Server, token: str = "right") -> dict[str, str]:
    values = (f"http://127.0.0.1:{server.server_port}", "7", "3")
    return dict(zip(SET_BY_GITLAB, values, strict=True)) | {TOKEN: token}


def test_the_note_is_written_once_and_then_edited(gitlab: Server) -> None:
    """Whatever others wrote, on whichever page: the user's own note with the heading is found again."""
    others = [{"id": n, "author": {"id": 2}, "body": TEXT} for n in range(PER_PAGE)]
    gitlab.notes = [*others, {"id": PER_PAGE, "author": {"id": 1}, "body": "a remark"}]
    assert post_note(TEXT, environment(gitlab)) == "posted the note"
    assert post_note(f"{TEXT} Again.", environment(gitlab)) == "edited the note"
    assert [note["body"] for note in gitlab.notes[PER_PAGE:]] == ["a remark", f"{TEXT} Again."]
    assert all(note["body"] == TEXT for note in gitlab.notes[:PER_PAGE])


def test_what_is_missing_or_refused_is_one_line(gitlab: Server) -> None:
    """A variable, a wrong token, another scheme; the token itself is in no message."""
    for name in (*SET_BY_GITLAB, TOKEN):
        with pytest.raises(BadInput, match=f"^{name}: not set; run in a merge request's pipeline"):
            post_note(TEXT, environment(gitlab) | {name: ""})
    with pytest.raises(BadInput, match=r"GitLab: GET .*/user: HTTP Error 401.*scope api") as caught:
        post_note(TEXT, environment(gitlab, "wrong-token"))
    assert "wrong-token" not in str(caught.value) and "\n" not in str(caught.value)
    with pytest.raises(BadInput, match="expected an http or https address"):
        post_note(TEXT, environment(gitlab) | {SET_BY_GITLAB[0]: "file:///etc"})


def test_the_example_job_runs_make_targets_that_are_here() -> None:
    """In merge requests alone; comment, note where there is a token, and the gate, whose code is the job's."""
    job = YAML(typ="safe").load((ROOT / "examples/gitlab/.gitlab-ci.yml").read_text())["metrics"]
    assert job["rules"] == [{"if": '$CI_PIPELINE_SOURCE == "merge_request_event"'}]
    assert job["script"][0] == "make comment" and job["script"][-1] == "make gate"
    assert TOKEN in job["script"][1] and "make note" in job["script"][1]
    makefile = (ROOT / "Makefile").read_text()
    assert all(f"\n{name}: " in makefile for name in ("comment", "note", "gate"))
    assert job["variables"]["AGAINST"].startswith("origin/")
