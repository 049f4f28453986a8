"""Queries written by a language model behind any OpenAI-compatible endpoint (vLLM, llama.cpp, Ollama, ...).

Each answer is kept on disk as it comes, so a run that was stopped goes on where it stopped, and a later run asks only
for documents that are new or changed. A key, if the endpoint wants one, comes from the environment alone.
"""

import json
import os
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import closing
from email.utils import parsedate, parsedate_to_datetime
from hashlib import sha256
from itertools import islice
from math import isfinite
from pathlib import Path
from string import Formatter
from threading import Event, Lock
from time import sleep, time
from types import TracebackType
from typing import Annotated, Self

import requests
from pydantic import AfterValidator, BaseModel, ConfigDict, Field
from requests.adapters import HTTPAdapter
from requests.exceptions import ChunkedEncodingError, ContentDecodingError
from tqdm import tqdm
from urllib3.exceptions import HTTPError, NewConnectionError, TimeoutError

from attune.data.sources.files.lines import shown
from attune.data.sources.raw import Document
from attune.errors import BadInput

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


class Answers:
    """A key to text store in one SQLite file of a folder; may be used by many threads and several processes."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / "answers.sqlite"
        self._lock = Lock()
        folder.mkdir(parents=True, exist_ok=True)
        try:
            self._store = sqlite3.connect(self._file, timeout=60, isolation_level=None, check_same_thread=False)
            self._store.execute("CREATE TABLE IF NOT EXISTS answers (key TEXT PRIMARY KEY, answer TEXT NOT NULL)")
        except sqlite3.Error as error:
            raise self._damaged(error) from None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._store.close()

    def get(self, key: str) -> str | None:
        """The answer, or None where there is none yet."""
        try:
            with self._lock, closing(self._store.execute("SELECT answer FROM answers WHERE key = ?", [key])) as rows:
                row = rows.fetchone()
        except sqlite3.Error as error:
            raise self._damaged(error) from None
        return None if row is None else str(row[0])

    def put(self, key: str, answer: str) -> None:
        """Keeps an answer; on return it is on disk."""
        try:
            with self._lock:
                self._store.execute("INSERT OR REPLACE INTO answers VALUES (?, ?)", [key, answer])
        except sqlite3.Error as error:
            raise self._damaged(error) from None

    def _damaged(self, error: sqlite3.Error) -> BadInput:
        return BadInput(f"{self._file}: {error}; free the disk or remove the file, which asks for everything again")


KEY = "ATTUNE_API_KEY"
_ADVICE = {
    400: "see whether it knows collect.endpoint.model and takes seed, temperature and max_tokens",
    401: f"set {KEY} in the environment",
    403: f"set {KEY} in the environment to a key that may use this model",
    404: "mend collect.endpoint.url (it ends in /v1 mostly) or collect.endpoint.model",
}


def _placeholders(prompt: str) -> str:
    """Refuses a prompt that cannot be filled in."""
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
    """Whom to ask, and how; each field is the parameter of its name. The temperature is always 0."""

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


def ask(documents: Sequence[Document], endpoint: Endpoint) -> list[str]:
    """The answers for all documents, in their order, as they came; "" where the model said nothing.

    The same documents and parameters give the same answers whatever `n_parallel` is: an answer is kept under the
    sha256 of all that the model was sent.

    Raises:
        BadInput: the endpoint cannot be reached, refuses, is too slow or answers in another form, and retrying did not
            help. What was answered until then is kept.
    """
    keys = [sha256(_body(document, endpoint)).hexdigest() for document in documents]
    with Answers(Path(endpoint.cache)) as answers:
        missing = {key: d for key, d in zip(keys, documents, strict=True) if answers.get(key) is None}
        if missing:
            _ask_all(missing, endpoint, answers)
        return [answers.get(key) or "" for key in keys]


def _body(document: Document, endpoint: Endpoint) -> bytes:
    text = document.text[: endpoint.max_characters]
    request = {
        "model": endpoint.model,
        "messages": [{"role": "user", "content": endpoint.prompt.format(title=document.title, text=text)}],
        "temperature": 0,
        "seed": endpoint.seed,
        "max_tokens": endpoint.max_tokens,
        "stream": False,
    }
    return json.dumps(request).encode()


def _ask_all(missing: Mapping[str, Document], endpoint: Endpoint, answers: Answers) -> None:
    """Asks for every document; the answers are kept as they come, in any order."""
    key = _key()

    failed = Event()

    def ask_one(session: requests.Session, name: str, document: Document) -> None:
        if failed.is_set():
            return  # what one was refused, the others are spared
        try:
            answers.put(name, _answer(session, key, _body(document, endpoint), endpoint))
        except BadInput:
            failed.set()
            raise

    rest = iter(missing.items())
    threads = ThreadPoolExecutor(endpoint.n_parallel)
    with _session(endpoint) as session, tqdm(total=len(missing), desc="ask", unit=" queries", disable=None) as bar:
        try:
            # in batches, since a waiting task costs memory
            while batch := list(islice(rest, 64 * endpoint.n_parallel)):
                for done in as_completed([threads.submit(ask_one, session, *item) for item in batch]):
                    done.result()
                    bar.update()
        finally:
            threads.shutdown(cancel_futures=True)


def _key() -> str:
    key = os.environ.get(KEY, "").strip()
    if not (key.isascii() and key.isprintable()):
        raise BadInput(f"{KEY}: holds characters that no HTTP header may carry; set it to the key alone")
    return key


def _session(endpoint: Endpoint) -> requests.Session:
    session = requests.Session()
    for scheme in ("http://", "https://"):
        session.mount(scheme, HTTPAdapter(pool_maxsize=endpoint.n_parallel))
    return session


def _answer(session: requests.Session, key: str, body: bytes, endpoint: Endpoint) -> str:
    """One answer, after as many tries as it takes."""
    url = f"{endpoint.url.rstrip('/')}/chat/completions"

    def bearer(request: requests.PreparedRequest) -> requests.PreparedRequest:
        # as an `auth`, since requests would put what ~/.netrc holds over a plain header
        if key:
            request.headers["Authorization"] = f"Bearer {key}"
        return request

    def refusal(what: str, advice: str) -> BadInput:
        what = shown(what.replace(key, "***") if key else what)
        return BadInput(f"{url}: {what}; {advice}, then run again: answers so far are kept in {endpoint.cache}")

    try:
        response = post(session, url, bearer, body, endpoint.timeout_seconds, endpoint.retries)
    except (requests.RequestException, HTTPError) as error:
        raise refusal(
            reason(error, endpoint.timeout_seconds, endpoint.retries), "start the server or mend collect.endpoint"
        ) from None
    if response.status_code != 200:
        said = " ".join(response.text.split())
        raise refusal(f"HTTP {response.status_code} {said}", _ADVICE.get(response.status_code, "see the server's log"))
    try:
        content = response.json()["choices"][0]["message"]["content"] or ""
        # half of a surrogate pair is valid JSON but no text
        return content.encode("utf-8", "replace").decode()
    except (ValueError, KeyError, IndexError, TypeError, AttributeError, RecursionError):
        raise refusal(f"got {response.text}", "expected a chat completion; see the server's log") from None
