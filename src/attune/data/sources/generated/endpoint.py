"""Queries written by a language model behind an OpenAI-compatible chat endpoint (vLLM, llama.cpp, Ollama, ...).

The `openai` client sends the requests, within the bounds of `endpoints/client.py`. Each answer is stored on disk as it
arrives, under the sha256 of its request, so that a run that was stopped resumes and a later run sends only documents
that are new or changed. The key, if the endpoint requires one, is read from the environment variable ATTUNE_API_KEY.
"""

import asyncio
import json
from collections.abc import Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from string import Formatter
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field
from tqdm import tqdm

from attune.data.sources.raw import Document
from attune.endpoints.requests import Address, api_key
from attune.endpoints.store import Answers
from attune.errors import BadInput

if TYPE_CHECKING:
    from openai import AsyncOpenAI


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
    address, rest, failures = _address(endpoint), iter(missing.items()), list[BadInput]()

    async def complete_rest(client: "AsyncOpenAI") -> None:
        for name, document in rest:  # shared by all that run at one time
            try:
                answers.put(name, await _answer(client, address, _request(document, endpoint)))
            except BadInput as error:
                failures.append(error)
            if failures:
                return  # after one refusal no further request is sent
            bar.update()

    with tqdm(total=len(missing), desc="queries", disable=None) as bar:
        async with address.client() as client:
            await asyncio.gather(*(complete_rest(client) for _ in range(endpoint.n_parallel)))
    if failures:
        raise failures[0]


def _address(endpoint: Endpoint) -> Address:
    return Address(
        url=endpoint.url,
        path="chat/completions",
        section="collect.endpoint",
        model="collect.endpoint.model",
        accepts="seed, temperature and max_tokens",
        timeout_seconds=endpoint.timeout_seconds,
        retries=endpoint.retries,
        cache=endpoint.cache,
        key=api_key(),
    )


async def _answer(client: "AsyncOpenAI", address: Address, request: Mapping[str, Any]) -> str:
    """Returns the text of one answer.

    Raises:
        BadInput: no answer, or one in another form, after all retries.
    """
    body = await address.text(client.chat.completions.with_raw_response.create, request)
    try:
        content = json.loads(body)["choices"][0]["message"]["content"] or ""
        # half of a surrogate pair is valid JSON, but UTF-8 cannot encode it
        return content.encode("utf-8", "replace").decode()
    except (ValueError, KeyError, IndexError, TypeError, AttributeError, RecursionError):
        raise address.refusal(f"got {body}", "expected a chat completion; see the server's log") from None
