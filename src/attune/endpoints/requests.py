"""One request to an endpoint: what it needs, its key, and its failure as one line."""

import os
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from attune.errors import BadInput

if TYPE_CHECKING:
    from openai import AsyncOpenAI

KEY = "ATTUNE_API_KEY"
SHOWN = 80  # characters of what a server says


def api_key() -> str:
    """Returns the key for endpoints from the environment; "" where none is set.

    Raises:
        BadInput: it holds characters that no HTTP header may carry.
    """
    key = os.environ.get(KEY, "").strip()
    if not (key.isascii() and key.isprintable()):
        raise BadInput(f"{KEY}: holds characters that no HTTP header may carry; set it to the key alone")
    return key


@dataclass(frozen=True)
class Address:
    """Address of requests, and the words of a message about a failure.

    Attributes:
        url: base address of the endpoint.
        path: below it, such as embeddings.
        section: of the parameters that name it, such as base.endpoint.
        model: the parameter with the model's name.
        accepts: what the server must accept beside the model, in words; "" for nothing.
        timeout_seconds: longest time of one request.
        retries: repeats of a request that fails.
        cache: folder of the answers.
        key: sent with each request and never shown.
    """

    url: str
    path: str
    section: str
    model: str
    accepts: str
    timeout_seconds: float
    retries: int
    cache: str
    key: str = field(repr=False)

    @property
    def advice(self) -> Mapping[int, str]:
        """Next step for the user, by HTTP status."""
        return {
            302: f"set {self.section}.url to the address it redirects to",
            400: f"check that it serves {self.model}{self.accepts and f' and accepts {self.accepts}'}",
            401: f"set {KEY} in the environment",
            403: f"set {KEY} in the environment to a key that may use this model",
            404: f"correct {self.section}.url (it ends in /v1 mostly) or {self.model}",
            429: f"wait, or lower {self.section}.n_parallel",
        }

    def client(self) -> "AsyncOpenAI":
        """Returns a client for this endpoint."""
        from attune.endpoints.client import client_of  # noqa: PLC0415 (takes a second)

        return client_of(self.url, self.key, self.timeout_seconds, self.retries)

    def refusal(self, what: str, advice: str) -> BadInput:
        """Returns the line of a failure: address, what happened, what to do."""
        what = _shown(what.replace(self.key, "***") if self.key else what)
        place = f"{self.url.rstrip('/')}/{self.path}"
        return BadInput(f"{place}: {what}; {advice}, then run again: answers so far are kept in {self.cache}")

    async def text(self, create: Callable[..., Awaitable[Any]], request: Mapping[str, Any]) -> str:
        """Sends a request and returns the body of the answer.

        Args:
            create: method of the client that sends it and returns the raw response.
            request: its arguments.

        Raises:
            BadInput: no answer after all retries; names address, status and what to do, not the key.
        """
        from openai import APIConnectionError, APIStatusError, APITimeoutError, Omit  # noqa: PLC0415

        from attune.endpoints.client import TooMuch  # noqa: PLC0415

        # the client would add these by itself, from the placeholder key and from OPENAI_ORG_ID and OPENAI_PROJECT_ID
        unsent = ["OpenAI-Organization", "OpenAI-Project", *([] if self.key else ["Authorization"])]
        correct = f"start the server or correct {self.section}"
        try:
            response = await create(**request, extra_headers=dict.fromkeys(unsent, Omit()))
        except APITimeoutError:
            what = f"no answer within {self.timeout_seconds:g} seconds, tried {self.retries + 1} times"
            raise self.refusal(what, correct) from None
        except APIConnectionError as error:
            raise self.refusal(_cause(error), correct) from None
        except TooMuch as error:
            raise self.refusal(str(error), "see the server's log") from None
        except APIStatusError as error:
            said = " ".join(error.response.text.split())
            todo = self.advice.get(error.status_code, "see the server's log")
            raise self.refusal(f"HTTP {error.status_code} {said}", todo) from None
        return str(response.text)


def _shown(text: str) -> str:
    """Returns a text quoted, in ASCII, on one line, cut after 80 characters."""
    quoted = ascii(text)
    return quoted if len(quoted) <= SHOWN else f"{quoted[: SHOWN - 3]}..."


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
