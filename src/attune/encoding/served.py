"""Encoder behind an OpenAI-compatible embeddings endpoint, whose vectors are kept on disk by the hash of their text.

Source: https://platform.openai.com/docs/api-reference/embeddings. Each batch is stored as it arrives, so a run that was
stopped resumes, and no text is sent, or paid for, twice. A server may change its model under the same name; so the
first request of each run sends a text whose vector is known, and another vector than before stops the run.
"""

import asyncio
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import Field

from attune.encoding.origin import ORIGIN
from attune.encoding.served_tokens import TokenCounter
from attune.endpoints.embeddings import vectors_in
from attune.endpoints.requests import Address, api_key
from attune.endpoints.store import Answers
from attune.errors import BadInput
from attune.runtime.arrays import Float32
from attune.stage import Params

if TYPE_CHECKING:
    from openai import AsyncOpenAI

ENDPOINT = "endpoint"  # key of attune.json
ENGINE = "endpoint"  # name of this way to encode, beside onnxruntime, openvino and torch
STORE = "vectors.sqlite"
REQUEST_TOKENS = 100_000  # most of one request; OpenAI takes 300,000
KNOWN_TEXT = "The vector of this text tells whether an endpoint still serves the encoder that it served before."
MIN_COSINE = 0.999  # of two vectors of one text by one encoder: half precision and other batches differ by less


class EndpointParams(Params):
    """Parameters base.endpoint.*: where an encoder is served, and what a run may send there.

    Attributes:
        url: base address, "" for none.
        dimensions: to ask for; 0 for the model's own.
        tokenizer: tokenizer.json of the model; "" estimates tokens.
        price: of a million tokens.
        most_tokens: that one stage may send.
        batch_size: texts per request.
        timeout_seconds: longest time of one request.
        retries: repeats of a request that fails.
        n_parallel: requests at one time.
        cache: folder of the vectors.
    """

    url: str = Field(pattern=r"^(https?://[^\s/@?#]+(/[^\s@?#]*)?)?$")
    dimensions: int = Field(ge=0, le=65_536)
    tokenizer: str
    price: float = Field(ge=0)
    most_tokens: int = Field(ge=1)
    batch_size: int = Field(ge=1, le=2048)
    timeout_seconds: float = Field(gt=0, le=3600)
    retries: int = Field(ge=0, le=20)
    n_parallel: int = Field(ge=1, le=256)
    cache: str = Field(min_length=1)


class Served(Params):
    """An encoder behind an endpoint, as attune.json of its folder describes it.

    Attributes:
        model: its name at the server.
        endpoint: where it is served.
        prompts: put before queries and documents, by query and document.
        max_length: tokens at which texts are cut; 0 cuts none.
        dim: length of its vectors; 0 where it is not known yet.
    """

    model: str
    endpoint: EndpointParams
    prompts: dict[str, str]
    max_length: int
    dim: int


def is_served(folder: Path) -> bool:
    """Tells whether the folder describes an encoder behind an endpoint, and holds no weights."""
    return ENDPOINT in _origin(folder)


def _origin(folder: Path) -> dict[str, Any]:
    file = folder / ORIGIN
    known: dict[str, Any] = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    return known


class ServedEncoder:
    """Encoder of queries and documents whose vectors an endpoint computes.

    Args:
        served: the encoder.
        tokens: counts and cuts texts.
    """

    def __init__(self, served: Served, tokens: TokenCounter) -> None:
        self.served = served
        self._tokens = tokens
        self._is_same = False

    @classmethod
    def load(cls, folder: Path) -> "ServedEncoder":
        """Loads the encoder that attune.json describes, with the tokenizer beside it where there is one."""
        served = Served.model_validate(_origin(folder)[ENDPOINT])
        return cls(served, TokenCounter.load(folder))

    @property
    def dim(self) -> int:
        """Dimension of the embeddings."""
        return self.served.dim

    def encode_query(self, texts: Sequence[str], *, show_progress: bool = False) -> Float32:
        """Embeds queries: (n texts) -> (n, dim); asks for those that are not in the cache.

        Raises:
            BadInput: the endpoint does not answer, or not with vectors of one encoder.
        """
        return self._embed(self._sent("query", texts))

    def encode_document(self, texts: Sequence[str], *, show_progress: bool = False) -> Float32:
        """Embeds documents, as `encode_query` does."""
        return self._embed(self._sent("document", texts))

    def unsent(self, queries: Sequence[str], documents: Sequence[str]) -> tuple[int, int]:
        """Returns how many different texts of these are not in the cache, and the number of their tokens."""
        by_key = _by_key([*self._sent("query", queries), *self._sent("document", documents)], self.served)
        there: Mapping[str, object] = {}
        if (Path(self.served.endpoint.cache) / STORE).is_file():
            with self._store() as store:
                there = store.get_all(list(by_key))
        missing = [text for key, text in by_key.items() if key not in there]
        return len(missing), int(self._tokens.count(missing).sum())

    def announce(self, queries: Sequence[str], documents: Sequence[str]) -> None:
        """Says on stderr what is to be sent for these texts and what it costs, before anything is sent.

        Raises:
            BadInput: it is more than base.endpoint.most_tokens.
        """
        n_texts, n_tokens = self.unsent(queries, documents)
        endpoint = self.served.endpoint
        cost = f", price {n_tokens / 1e6 * endpoint.price:.4g}" if endpoint.price else ""
        what = f"{n_texts:,} texts of {n_tokens:,} tokens{self._tokens.words}{cost}"
        if n_tokens > endpoint.most_tokens:
            raise BadInput(
                f"base.endpoint.most_tokens: got {endpoint.most_tokens}, but {what} are to be sent to {endpoint.url}; "
                "raise it, or lower base.max_length or collect.max_documents"
            )
        if n_texts:
            sys.stderr.write(f"attune: {what} are sent to {endpoint.url}; vectors are kept in {endpoint.cache}\n")

    def known_vector(self) -> Float32:
        """Asks for the vector of a known text, and compares it with the one of earlier runs; returns it, (dim,).

        Raises:
            BadInput: the endpoint does not answer, or now serves another encoder.
        """
        texts = _by_key([KNOWN_TEXT], self.served)
        (key,) = texts
        with self._store() as store:
            earlier = _there(store, [key]).get(key)
            ((_, vector),) = asyncio.run(self._ask([(key, KNOWN_TEXT)], self._address()))
            if earlier is not None:
                self._require_same(vector, earlier)
            else:
                store.put_all([(key, vector.tobytes())])
        self._is_same = True
        return vector

    def _require_same(self, vector: Float32, earlier: Float32) -> None:
        endpoint, n = self.served.endpoint, len(earlier)
        cosine = float(vector @ earlier) if len(vector) == n else 0.0
        if cosine < MIN_COSINE:
            got = f"{len(vector)} numbers, not {n}" if len(vector) != n else f"a cosine of {cosine:.4f} to the first"
            raise BadInput(
                f"{endpoint.url}: {self.served.model} has another vector of a known text than earlier ({got}): it is "
                f"another encoder now; remove {endpoint.cache} and run `dvc repro -f base`, or serve the earlier one"
            )

    def _sent(self, kind: str, texts: Sequence[str]) -> list[str]:
        """Returns the texts as they are sent: behind the prompt, and cut; a space for nothing, which is refused."""
        prompt = self.served.prompts.get(kind, "")
        return [text or " " for text in self._tokens.cut([prompt + text for text in texts], self.served.max_length)]

    def _embed(self, texts: Sequence[str]) -> Float32:
        by_key = _by_key(texts, self.served)
        with self._store() as store:
            found = _there(store, list(by_key))
            if missing := {key: text for key, text in by_key.items() if key not in found}:
                if not self._is_same:
                    self.known_vector()
                asyncio.run(self._ask_all(missing, store))
                found |= _there(store, list(missing))
        odd = next((key for key, vector in found.items() if len(vector) != self.dim), None)
        if odd is not None:
            folder, n = self.served.endpoint.cache, len(found[odd])
            raise BadInput(f"{folder}: a vector of {n} numbers, expected {self.dim}; remove it and run `dvc repro`")
        return np.stack([found[key] for key in _keys(texts, self.served)])

    async def _ask_all(self, missing: Mapping[str, str], store: Answers) -> None:
        """Requests all vectors, some batches at one time, and stores each batch as it arrives."""
        address, rest, failures = self._address(), self._batches(missing), list[BadInput]()

        async def ask_rest() -> None:
            for batch in rest:  # shared by all that run at one time
                try:
                    vectors = await self._ask(batch, address, client)
                except BadInput as error:
                    failures.append(error)
                if failures:
                    return  # after one refusal no further request is sent
                store.put_all((key, vector.tobytes()) for key, vector in vectors)

        async with address.client() as client:
            await asyncio.gather(*(ask_rest() for _ in range(self.served.endpoint.n_parallel)))
        if failures:
            raise failures[0]

    def _batches(self, missing: Mapping[str, str]) -> Iterator[list[tuple[str, str]]]:
        """Yields keys and texts for one request each: at most batch_size, and no more tokens than servers take."""
        batch, total = list[tuple[str, str]](), 0
        counts = self._tokens.count(list(missing.values()))
        for item, count in zip(missing.items(), counts.tolist(), strict=True):
            if batch and (len(batch) == self.served.endpoint.batch_size or total + count > REQUEST_TOKENS):
                yield batch
                batch, total = [], 0
            batch.append(item)
            total += count
        if batch:
            yield batch

    async def _ask(
        self, batch: Sequence[tuple[str, str]], address: Address, client: "AsyncOpenAI | None" = None
    ) -> list[tuple[str, Float32]]:
        """Requests the vectors of some texts; returns them by key."""
        if client is None:
            async with address.client() as own:
                return await self._ask(batch, address, own)
        request: dict[str, Any] = {"model": self.served.model, "input": [text for _, text in batch]}
        request["encoding_format"] = "float"
        if self.served.endpoint.dimensions:
            request["dimensions"] = self.served.endpoint.dimensions
        body = await address.text(client.embeddings.with_raw_response.create, request)
        try:
            vectors = vectors_in(body, len(batch))
        except ValueError as error:
            raise address.refusal(f"{error}, got {body}", "expected embeddings; see the server's log") from None
        return list(zip((key for key, _ in batch), vectors, strict=True))

    def _address(self) -> Address:
        endpoint = self.served.endpoint
        return Address(
            url=endpoint.url,
            path="embeddings",
            section="base.endpoint",
            model="base.model",
            accepts="texts of this length (base.max_length) and base.endpoint.dimensions",
            timeout_seconds=endpoint.timeout_seconds,
            retries=endpoint.retries,
            cache=endpoint.cache,
            key=self._key,
        )

    @cached_property
    def _key(self) -> str:
        return api_key()

    def _store(self) -> Answers:
        return Answers(Path(self.served.endpoint.cache), STORE)


def _keys(texts: Sequence[str], served: Served) -> list[str]:
    """Returns the hash of each text with the model and dimensions that its vector depends on, and not the address."""
    of_model = [served.model, served.endpoint.dimensions]
    return [sha256(json.dumps([*of_model, text]).encode()).hexdigest() for text in texts]


def _by_key(texts: Sequence[str], served: Served) -> dict[str, str]:
    return dict(zip(_keys(texts, served), texts, strict=True))


def _there(store: Answers, keys: Sequence[str]) -> dict[str, Float32]:
    """Returns the vectors that are stored, by key."""
    found = store.get_all(keys)
    return {key: np.frombuffer(own if isinstance(own, bytes) else b"", "<f4") for key, own in found.items()}
