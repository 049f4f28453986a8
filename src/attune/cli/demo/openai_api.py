"""OpenAI's embeddings API over the shipped model: requests, responses and error objects, without the server.

Source: https://platform.openai.com/docs/api-reference/embeddings.
"""

import base64
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StrictInt, StrictStr, StringConstraints, ValidationError

from attune.errors import BadInput
from attune.runtime import Embedder
from attune.runtime.arrays import Float32

MAX_INPUTS = 2048  # per request, as at OpenAI
OWNER = "attune"
Text = Annotated[StrictStr, StringConstraints(min_length=1)]


class EmbeddingRequest(BaseModel):
    """Body of POST /v1/embeddings. Token ids as input are not supported: they would be another tokenizer's."""

    model_config = ConfigDict(extra="forbid")

    model: StrictStr
    input: Text | Annotated[list[Text], Field(min_length=1, max_length=MAX_INPUTS)]
    encoding_format: Literal["float", "base64"] = "float"  # the API's defaults
    dimensions: StrictInt | None = None
    user: StrictStr | None = None


class ApiError(Exception):
    """Error with an HTTP status and an error object, as OpenAI's clients expect."""

    def __init__(self, status: int, message: str, param: str | None = None, code: str | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.content = error_object(message, param, code)


def error_object(message: str, param: str | None = None, code: str | None = None) -> dict[str, Any]:
    """Returns the body of an error response."""
    return {"error": {"message": message, "type": "invalid_request_error", "param": param, "code": code}}


class EmbeddingsApi:
    """Answers requests with the shipped model, under the name `tuned`.

    The API does not distinguish queries from documents, so `tuned-query` and `tuned-document` apply the encoder's
    prompts. Texts are cut at the encoder's maximum length, as everywhere in the pipeline.
    """

    def __init__(self, folder: Path) -> None:
        self._embedder = Embedder(folder)
        self._models: Mapping[str, str | None] = {  # name of the model -> name of the prompt
            "tuned": self._embedder.manifest.default_prompt_name,
            "tuned-query": "query",
            "tuned-document": "document",
        }

    def models(self) -> dict[str, Any]:
        """Returns the body of the response to GET /v1/models."""
        data = [{"id": name, "object": "model", "created": 0, "owned_by": OWNER} for name in self._models]
        return {"object": "list", "data": data}

    def embeddings(self, body: bytes) -> dict[str, Any]:
        """Returns the body of the response to POST /v1/embeddings.

        Raises:
            ApiError: the request is not valid, or names an unknown model.
        """
        request = parse(body)
        if request.model not in self._models:
            known = ", ".join(self._models)
            raise ApiError(
                404, f"The model '{request.model}' does not exist; use one of: {known}", "model", "model_not_found"
            )
        if request.dimensions not in (None, self._embedder.dim):
            got, dim = request.dimensions, self._embedder.dim
            raise ApiError(400, f"dimensions is {got}; this model makes {dim} only", "dimensions")
        texts = [request.input] if isinstance(request.input, str) else request.input
        try:
            rows = self._embedder.token_ids(texts, self._models[request.model])
        except BadInput as error:
            raise ApiError(400, str(error), "input") from None
        vectors = self._embedder.encode_tokens(rows)
        n_tokens = sum(len(row) for row in rows)  # tokens read: the prompt included, truncated ones not
        data = [
            {"object": "embedding", "index": index, "embedding": _encoded(vector, request.encoding_format)}
            for index, vector in enumerate(vectors)
        ]
        usage = {"prompt_tokens": n_tokens, "total_tokens": n_tokens}
        return {"object": "list", "data": data, "model": request.model, "usage": usage}


class Elsewhere:
    """Refuses requests where the encoder is behind an endpoint: there its vectors are to be had."""

    def __init__(self, url: str) -> None:
        self._why = f"this encoder is behind {url}: ask there, and map its query vectors by models/adapter"

    def models(self) -> dict[str, Any]:
        """Lists no model."""
        return {"object": "list", "data": []}

    def embeddings(self, body: bytes) -> dict[str, Any]:
        """Refuses any request.

        Raises:
            ApiError: always, with status 501.
        """
        raise ApiError(501, self._why)


def parse(body: bytes) -> EmbeddingRequest:
    """Parses the body of a request.

    Raises:
        ApiError: the body is not JSON or not a valid request; names the first wrong key.
    """
    try:
        return EmbeddingRequest.model_validate_json(body)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        if not first["loc"]:
            raise ApiError(400, f"the body is not a JSON object of an embeddings request: {first['msg']}") from None
        param = str(first["loc"][0])
        raise ApiError(400, f"{param}: {_explain(first, param)}", param) from None


def _explain(error: Mapping[str, Any], param: str) -> str:
    if error["type"] == "extra_forbidden":
        return "unknown argument; remove it"
    if error["type"] == "missing":
        return "missing; every request needs it"
    if param == "input":
        return f"expected a text that is not empty, or a list of 1 to {MAX_INPUTS} texts; token ids are not supported"
    return f"{error['msg'][0].lower()}{error['msg'][1:]}"


def _encoded(vector: Float32, encoding_format: str) -> list[float] | str:
    """Encodes a vector as a list of floats, or as base64 of its little-endian float32 bytes."""
    return base64.b64encode(vector.astype("<f4").tobytes()).decode() if encoding_format == "base64" else vector.tolist()
