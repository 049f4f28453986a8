"""Writes one comment to a pull request, and later versions of it in its place; the code host's REST API, nothing else.

Everything that it needs to know a workflow on GitHub has in its environment: GITHUB_API_URL, GITHUB_REPOSITORY,
GITHUB_SERVER_URL, and GITHUB_EVENT_PATH, a file that describes the pull request. Only the token is handed over.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests
from requests.adapters import HTTPAdapter
from urllib3.util import Retry

from attune.errors import BadInput

TIMEOUT = 30  # seconds, for the connection and for each answer


@dataclass(frozen=True)
class PullRequest:
    """Where the comment goes, and where the figures of the pull request's commit can be read."""

    api: str
    repository: str
    number: int
    link: str
    is_fork: bool = False  # or of a fork that is gone

    @property
    def comments(self) -> str:
        """The address of the pull request's comments."""
        return f"{self.api}/repos/{self.repository}/issues/{self.number}/comments"


def pull_request(environment: Mapping[str, str]) -> PullRequest | None:
    """The pull request that this runs for; None outside of a workflow, or in one for something else.

    Raises:
        BadInput: the file that describes the event is no such thing.
    """
    path = environment.get("GITHUB_EVENT_PATH", "")
    if not path:
        return None
    try:
        found = json.loads(Path(path).read_text(encoding="utf-8")).get("pull_request")
        if found is None:
            return None
        repository = environment["GITHUB_REPOSITORY"]
        # a fork that is gone has no name
        source = (found["head"]["repo"] or {"full_name": repository})["full_name"]
        is_fork = source != repository or not found["head"]["repo"]
        link = f"{environment['GITHUB_SERVER_URL']}/{source}/blob/{found['head']['sha']}/metrics"
        return PullRequest(environment["GITHUB_API_URL"], repository, int(found["number"]), link, is_fork)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise BadInput(f"GITHUB_EVENT_PATH ({path}): not the event of a pull request ({error!r})") from None


def post(request: PullRequest, token: str, marker: str, text: str) -> str:
    """Writes the comment, in place of an earlier one that starts with the marker; says what it did.

    A token that may only read (as that of a pull request from a fork) is no failure: the words say so.

    Raises:
        BadInput: the host does not answer, or refuses for another reason.
    """
    try:
        with _session(token) as session:
            known = next((c for c in _comments(session, request) if _is_ours(c, marker)), None)
            address = f"{request.api}/repos/{request.repository}/issues/comments/{known['id']}" if known else None
            method, where = ("PATCH", address) if address else ("POST", request.comments)
            answer = session.request(method, where, json={"body": text}, timeout=TIMEOUT)
            if _may_only_read(answer, request):
                return "not commented: the token may not write here (as for a fork's pull request); see the job summary"
            answer.raise_for_status()
            return f"{'updated' if known else 'wrote'} the comment {answer.json().get('html_url', '')}".strip()
    except requests.RequestException as error:
        raise BadInput(f"{request.comments}: {error}; the comment was not written, run the job again") from None


def _may_only_read(answer: requests.Response, request: PullRequest) -> bool:
    """Whether it is the token that may not write, as opposed to a rate limit or a wrong repository."""
    is_limited = answer.headers.get("x-ratelimit-remaining") == "0" or "retry-after" in answer.headers
    return (answer.status_code == 403 and not is_limited) or (answer.status_code == 404 and request.is_fork)


def _session(token: str) -> requests.Session:
    session = requests.Session()
    session.headers["Authorization"] = f"Bearer {token}"
    session.headers["Accept"] = "application/vnd.github+json"
    # a new comment is not asked for twice: the first try may have arrived
    retry = Retry(total=3, backoff_factor=1, status_forcelist=(429, 502, 503, 504), allowed_methods=("GET", "PATCH"))
    for scheme in ("https://", "http://"):
        session.mount(scheme, HTTPAdapter(max_retries=retry))
    return session


def _comments(session: requests.Session, request: PullRequest) -> Iterator[dict[str, Any]]:
    """All comments, page by page, oldest first."""
    address: str | None = f"{request.comments}?per_page=100"
    while address:
        answer = session.get(address, timeout=TIMEOUT)
        answer.raise_for_status()
        yield from answer.json()
        address = answer.links.get("next", {}).get("url")


def _is_ours(comment: Mapping[str, Any], marker: str) -> bool:
    """Whether a workflow wrote it: what people write is left alone, even where they quote the marker."""
    return str(comment.get("body") or "").startswith(marker) and (comment.get("user") or {}).get("type") == "Bot"
