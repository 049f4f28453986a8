"""Posts the comment as a note on a GitLab merge request, once, and then edits it; standard library alone.

A job's own token may not write notes, so a project access token with scope `api` comes in an environment variable.
"""

import json
import os
import re
import urllib.error
import urllib.request
from collections.abc import Mapping
from typing import Any

from attune.cli.review.comment import HEADING
from attune.errors import BadInput, one_line

TOKEN = "ATTUNE_GITLAB_TOKEN"
SET_BY_GITLAB = ("CI_API_V4_URL", "CI_PROJECT_ID", "CI_MERGE_REQUEST_IID")
SECONDS = 30.0  # until a request that gets no answer fails
PER_PAGE = 100  # notes; GitLab's largest page


def post_note(text: str, environment: Mapping[str, str] = os.environ) -> str:
    """Writes the comment as a note, in the place of the one that an earlier pipeline wrote, and returns what it did.

    Args:
        text: the comment; its first line begins with the comment's heading, by which the note is found again.
        environment: of a job in a merge request's pipeline.

    Raises:
        BadInput: a variable is missing, as outside a merge request or in a fork's pipeline, or GitLab refuses.
    """
    if missing := [name for name in (*SET_BY_GITLAB, TOKEN) if not environment.get(name)]:
        raise BadInput(
            f"{missing[0]}: not set; run in a merge request's pipeline, with a project access token (scope api) in the "
            f"masked variable {TOKEN} (docs/team.md)"
        )
    api, project, number = (environment[name] for name in SET_BY_GITLAB)
    if not re.match(r"https?://", api):
        raise BadInput(f"CI_API_V4_URL: got {api!r}, expected an http or https address; run in a pipeline of GitLab")
    notes = f"{api}/projects/{project}/merge_requests/{number}/notes"
    token = environment[TOKEN]
    user = _request("GET", f"{api}/user", token)
    page, own = 1, None
    while own is None and (found := _request("GET", f"{notes}?per_page={PER_PAGE}&page={page}", token)):
        ours = (note for note in found if note["author"]["id"] == user["id"] and note["body"].startswith(HEADING))
        own, page = next(ours, None), page + 1
    if own is None:
        _request("POST", notes, token, text)
        return "posted the note"
    _request("PUT", f"{notes}/{own['id']}", token, text)
    return "edited the note"


def _request(method: str, url: str, token: str, body: str | None = None) -> Any:  # noqa: ANN401
    data = None if body is None else json.dumps({"body": body}).encode()
    headers = {"PRIVATE-TOKEN": token, "Content-Type": "application/json"}
    request = urllib.request.Request(url, data, headers, method=method)
    try:
        with urllib.request.urlopen(request, timeout=SECONDS) as answer:
            return json.load(answer)
    except (urllib.error.URLError, TimeoutError, ValueError) as error:
        is_refused = "40" in str(error)[:30]
        hint = f"give {TOKEN} a project access token with scope api" if is_refused else "run the job again"
        raise BadInput(f"GitLab: {method} {url}: {one_line(error)}; {hint}") from None
