"""Queries written by a language model behind an OpenAI-compatible chat endpoint (vLLM, llama.cpp, Ollama, ...).

The `openai` client sends the requests, within the bounds that `client.py` sets. Each answer is stored on disk as it
arrives, under the sha256 of its request, so that a run that was stopped resumes and a later run sends only documents
that are new or changed. The key, if the endpoint requires one, is read from the environment variable ATTUNE_API_KEY.
"""

import asyncio
import json
import os
import sqlite3
from collections.abc import Mapping, Sequence
from contextlib import closing
from hashlib import sha256
from pathlib import Path
from string import Formatter
from types import TracebackType
from typing import TYPE_CHECKING, Annotated, Any, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field
from tqdm import tqdm

from attune.data.sources.files.lines import shown
from attune.data.sources.raw import Document
from attune.errors import BadInput

if TYPE_CHECKING:
    from openai import AsyncOpenAI


class Answers:
    """Answers by key in one SQLite file of a folder, safe for use by several processes."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / "answers.sqlite"
        folder.mkdir(parents=True, exist_ok=True)
        try:
            self._store = sqlite3.connect(self._file, timeout=60, isolation_level=None)
            self._store.execute("CREATE TABLE IF NOT EXISTS answers (key TEXT PRIMARY KEY, answer TEXT NOT NULL)")
        except sqlite3.Error as error:
            raise self._damaged(error) from None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._store.close()

    def get(self, key: str) -> str | None:
        """Returns the answer, or None where there is none yet."""
        try:
            with closing(self._store.execute("SELECT answer FROM answers WHERE key = ?", [key])) as rows:
                row = rows.fetchone()
        except sqlite3.Error as error:
            raise self._damaged(error) from None
        return None if row is None else str(row[0])

    def put(self, key: str, answer: str) -> None:
        """Stores an answer; on return it is on disk."""
        try:
            self._store.execute("INSERT OR REPLACE INTO answers VALUES (?, ?)", [key, answer])
        except sqlite3.Error as error:
            raise self._damaged(error) from None

    def _damaged(self, error: sqlite3.Error) -> BadInput:
        return BadInput(f"{self._file}: {error}; free the disk or remove the file, and with it all answers")


KEY = "ATTUNE_API_KEY"
_ADVICE = {
    302: "set collect.endpoint.url to the address it redirects to",
    400: "check that it serves collect.endpoint.model and accepts seed, temperature and max_tokens",
    401: f"set {KEY} in the environment",
    403: f"set {KEY} in the environment to a key that may use this model",
    404: "correct collect.endpoint.url (it ends in /v1 mostly) or collect.endpoint.model",
    429: "wait, or lower collect.endpoint.n_parallel",
}


def _placeholders(prompt: str) -> str:
    """Checks the placeholders of a prompt; raises ValueError where they cannot be filled in."""
    try:
        fields = [
            (name, spec, conversion) for _, name, spec, conversion in Formatter().parse(prompt) if name is not None
        ]
    except ValueError as error:
        raise ValueError(f"{error}; write {{{{ and }}}} for braces") from None
    if ("text", "", None) not in fields or not set(fields) <= {("text", "", None), ("title", "", None)}:
        raise ValueError("expected {text}, optionally {title}, and no other placeholder; write {{ and }} for braces")
    return prompt


class Endpoint(BaseModel):
    """The endpoint and its requests: parameters collect.endpoint.*; the temperature is always 0."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    url: str = Field(pattern=r"^https?://[^\s/@?#]+(/[^\s@?#]*)?$")
    model: str = Field(min_length=1)
    prompt: Annotated[str, AfterValidator(_placeholders)]
    seed: int = Field(ge=0, lt=2**31)
    max_tokens: int = Field(ge=8, le=32768)
    max_characters: int = Field(ge=100)
    timeout_seconds: float = Field(gt=0, le=3600)
    retries: int = Field(ge=0, le=20)
    n_parallel: int = Field(ge=1, le=256)
    found_within: int = Field(ge=1)
    cache: str = Field(min_length=1)


def complete(documents: Sequence[Document], endpoint: Endpoint) -> list[str]:
    """Returns the model's answers for all documents, in their order and unedited; "" where the model said nothing.

    The same documents and parameters give the same answers whatever `n_parallel` is, since each answer is stored under
    the sha256 of its request.

    Raises:
        BadInput: the endpoint cannot be reached, refuses a request, is too slow or answers in another form, and the
            retries did not help. Answers that arrived before are kept.
    """
    keys = [_hash(_request(document, endpoint)) for document in documents]
    with Answers(Path(endpoint.cache)) as answers:
        missing = {key: d for key, d in zip(keys, documents, strict=True) if answers.get(key) is None}
        if missing:
            asyncio.run(_complete_missing(missing, endpoint, answers))
        return [answers.get(key) or "" for key in keys]


def _request(document: Document, endpoint: Endpoint) -> dict[str, Any]:
    text = document.text[: endpoint.max_characters]
    return {
        "model": endpoint.model,
        "messages": [{"role": "user", "content": endpoint.prompt.format(title=document.title, text=text)}],
        "temperature": 0,
        "seed": endpoint.seed,
        "max_tokens": endpoint.max_tokens,
        "stream": False,
    }


def _hash(request: Mapping[str, Any]) -> str:
    return sha256(json.dumps(request).encode()).hexdigest()


async def _complete_missing(missing: Mapping[str, Document], endpoint: Endpoint, answers: Answers) -> None:
    """Requests an answer for every document and stores each as it arrives, in any order."""
    from attune.data.sources.generated.client import client_of  # noqa: PLC0415 (takes a second)

    key, rest, failures = _key(), iter(missing.items()), list[BadInput]()

    async def complete_rest(client: "AsyncOpenAI") -> None:
        for name, document in rest:  # shared by all that run at one time
            try:
                answers.put(name, await _answer(client, key, _request(document, endpoint), endpoint))
            except BadInput as error:
                failures.append(error)
            if failures:
                return  # after one refusal no further request is sent
            bar.update()

    with tqdm(total=len(missing), desc="queries", disable=None) as bar:
        async with client_of(key, endpoint) as client:
            await asyncio.gather(*(complete_rest(client) for _ in range(endpoint.n_parallel)))
    if failures:
        raise failures[0]


def _key() -> str:
    key = os.environ.get(KEY, "").strip()
    if not (key.isascii() and key.isprintable()):
        raise BadInput(f"{KEY}: holds characters that no HTTP header may carry; set it to the key alone")
    return key


def _cause(error: BaseException) -> str:
    """Returns the words of the error that began it all: those above it say only that a connection failed."""
    words, below = type(error).__name__, _below(error)
    while below is not None:
        # asyncio words a refused connection as "Connect call failed"
        refused = os.strerror(below.errno) if isinstance(below, ConnectionError) and below.errno else ""
        words, below = refused or str(below) or words, _below(below)
    return words


def _below(error: BaseException) -> BaseException | None:
    """Returns the error that led to this one; of several, such as those of the addresses of a name, the last."""
    return error.exceptions[-1] if isinstance(error, BaseExceptionGroup) else error.__cause__ or error.__context__


async def _answer(client: "AsyncOpenAI", key: str, request: Mapping[str, Any], endpoint: Endpoint) -> str:
    """Returns the text of one answer.

    Raises:
        BadInput: no answer, or one in another form, after all retries; names address, status and what to do, not the
            key.
    """
    from openai import APIConnectionError, APIStatusError, APITimeoutError, Omit  # noqa: PLC0415

    from attune.data.sources.generated.client import TooMuch  # noqa: PLC0415

    def refusal(what: str, advice: str) -> BadInput:
        what = shown(what.replace(key, "***") if key else what)
        address = f"{endpoint.url.rstrip('/')}/chat/completions"
        return BadInput(f"{address}: {what}; {advice}, then run again: answers so far are kept in {endpoint.cache}")

    # the client would add these by itself, from the placeholder key and from OPENAI_ORG_ID and OPENAI_PROJECT_ID
    unsent = ["OpenAI-Organization", "OpenAI-Project", *([] if key else ["Authorization"])]
    try:
        response = await client.chat.completions.with_raw_response.create(
            **request, extra_headers=dict.fromkeys(unsent, Omit())
        )
    except APITimeoutError:
        what = f"no answer within {endpoint.timeout_seconds:g} seconds, tried {endpoint.retries + 1} times"
        raise refusal(what, "start the server or correct collect.endpoint") from None
    except APIConnectionError as error:
        raise refusal(_cause(error), "start the server or correct collect.endpoint") from None
    except TooMuch as error:
        raise refusal(str(error), "see the server's log") from None
    except APIStatusError as error:
        said = " ".join(error.response.text.split())
        raise refusal(
            f"HTTP {error.status_code} {said}", _ADVICE.get(error.status_code, "see the server's log")
        ) from None
    try:
        content = json.loads(response.text)["choices"][0]["message"]["content"] or ""
        # half of a surrogate pair is valid JSON, but UTF-8 cannot encode it
        return content.encode("utf-8", "replace").decode()
    except (ValueError, KeyError, IndexError, TypeError, AttributeError, RecursionError):
        raise refusal(f"got {response.text}", "expected a chat completion; see the server's log") from None
