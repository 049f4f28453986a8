"""An encoder behind an OpenAI-compatible endpoint: what its answers say, and the parameters that use it.

The API tells the models' names and a vector, and neither prompts, maximum length nor licence. Two requests are sent:
for the names, where none is given, and for the vector of one sentence.
"""

import asyncio
import json
import os
import re
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from attune.encoding.prompts import family_prompts, quoted_prompts
from attune.encoding.served import KNOWN_TEXT
from attune.endpoints.embeddings import vectors_in
from attune.endpoints.requests import KEY, Address, api_key
from attune.errors import BadInput, one_line

TIMEOUT_SECONDS, RETRIES = 60.0, 2
ADDRESS = re.compile(r"https?://[^\s/@?#]+(/[^\s@?#]*)?")  # what base.endpoint.url accepts
EXAMPLE = "an address such as https://api.openai.com/v1"
MOST_NAMES = 12  # that a message lists
# what an encoder with weights has, and what one behind an endpoint has instead
SERVED = {"train.epochs": 0, "programs.tuning": "served"}
NOT_SERVED = {"base.endpoint.url": "", "programs.tuning": "stages"}


@dataclass(frozen=True)
class Answered:
    """An encoder as its endpoint answers.

    Attributes:
        url: base address.
        model: its name there.
        dim: length of its vectors.
        seconds: that the vector of a sentence took.
    """

    url: str
    model: str
    dim: int
    seconds: float


def is_address(model: str) -> bool:
    """Tells whether what names an encoder is the address of an endpoint."""
    return model.startswith(("http://", "https://"))


def ask(url: str, model: str) -> Answered:
    """Asks an endpoint for the vector of a sentence.

    Args:
        url: base address, such as https://api.openai.com/v1.
        model: its name there; "" for the only one that the endpoint lists.

    Raises:
        BadInput: it does not answer, lists no model or several, or answers with no vector.
    """
    if not ADDRESS.fullmatch(url):
        raise BadInput(f"{url}: expected {EXAMPLE}, without user, query or fragment; give the address alone")
    url, model = url.rstrip("/"), model or _only(url, _names(url))
    start = time.perf_counter()
    request = {"model": model, "input": [KNOWN_TEXT], "encoding_format": "float"}
    address = _address(url, "embeddings")
    body = asyncio.run(_text(address, lambda client: client.embeddings.with_raw_response.create, request))
    seconds = time.perf_counter() - start
    try:
        dim = vectors_in(body, 1).shape[1]
    except ValueError as error:
        raise address.refusal(f"{error}, got {body}", "expected embeddings; see the server's log") from None
    return Answered(url, model, dim, seconds)


def values_of(answered: Answered) -> dict[str, Any]:
    """Returns the parameters that name the encoder, by full name; nothing of it is trained."""
    return {
        "base.model": answered.model,
        "base.revision": "",
        "base.licence": "",
        "base.folder": "",
        "base.prompts": family_prompts(answered.model),
        "base.sha256": {},
        "base.endpoint.url": answered.url,
        "base.endpoint.dimensions": 0,
        **SERVED,
    }


def facts(answered: Answered) -> dict[str, str]:
    """Returns what is known of the encoder, in words."""
    prompts = family_prompts(answered.model)
    return {
        "dimensions": f"{answered.dim:,}",
        "answered in": f"{1000 * answered.seconds:,.0f} ms, one sentence",
        "key": f"that of {KEY}" if os.environ.get(KEY, "").strip() else f"none: {KEY} is not set",
        "prompts": f"{quoted_prompts(prompts)}, by the name's family" if prompts else "none known: the API has none",
        "maximum length": "not told by the API; texts are cut at base.max_length",
    }


def notes(settings: Mapping[str, Any]) -> list[str]:
    """Returns what to know before the pipeline runs, given section base of the parameters; empty where it is not read.

    The tokenizer and the price stay as they are, so what another encoder had is said.
    """
    said = ["its licence is not told by the API: set base.licence before you ship"]
    endpoint = settings.get("endpoint", {})
    for key in ("tokenizer", "price"):
        if endpoint.get(key):
            said.append(f"base.endpoint.{key} stays {endpoint[key]}: check that it is this model's")
    if not endpoint.get("tokenizer"):
        said.append("set base.endpoint.tokenizer to its tokenizer.json, or tokens are estimated, 4 bytes each")
    return said


def without_endpoint(settings: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Returns the parameters that must change for an encoder with weights: none where no endpoint is set."""
    return dict(NOT_SERVED) if settings.get("base", {}).get("endpoint", {}).get("url") else {}


def untrained(settings: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Returns what to do after an endpoint has gone: it was not trained, and the number of epochs is the user's."""
    if not without_endpoint(settings) or settings.get("train", {}).get("epochs") != 0:
        return []
    return ["train.epochs is 0, as the endpoint needed: set it to auto, or nothing is trained"]


def _only(url: str, names: list[str]) -> str:
    if len(names) == 1:
        return names[0]
    if not names:
        raise BadInput(f"{url}: lists no model; name it with --name")
    listed = ", ".join(names[:MOST_NAMES]) + (" ..." if len(names) > MOST_NAMES else "")
    raise BadInput(f"{url}: lists {len(names)} models, expected one; choose with --name: {one_line(listed)}")


def _names(url: str) -> list[str]:
    """Returns the names of the models that the endpoint lists."""
    address = _address(url, "models")
    body = asyncio.run(_text(address, lambda client: client.models.with_raw_response.list, {}))
    try:
        return [str(item["id"]) for item in json.loads(body)["data"]]
    except (ValueError, KeyError, TypeError, RecursionError):
        raise address.refusal(f"no list of models, got {body}", "name the model with --name") from None


async def _text(
    address: Address, method: Callable[[Any], Callable[..., Awaitable[Any]]], request: Mapping[str, Any]
) -> str:
    async with address.client() as client:
        return await address.text(method(client), request)


class _Asked(Address):
    """An address of the command line: failures name it and --name, and no answer is kept."""

    @property
    def advice(self) -> Mapping[int, str]:
        return dict(super().advice) | {
            302: "give the address it redirects to",
            400: "check that it serves this model (--name)",
            404: "correct the address (it ends in /v1 mostly) or --name",
            429: "wait",
        }

    def refusal(self, what: str, advice: str) -> BadInput:
        return BadInput(str(super().refusal(what, advice)).rpartition(", then run again")[0])


def _address(url: str, path: str) -> Address:
    return _Asked(
        url=url,
        path=path,
        section="the address",
        model="the model",
        accepts="",
        timeout_seconds=TIMEOUT_SECONDS,
        retries=RETRIES,
        cache="",
        key=api_key(),
    )
