"""Reads prompts, positions and a token counter of the base encoder, from its folder or for an endpoint."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

from attune.data.lengths import Lengths, counted, lengths_of
from attune.encoding.layouts import tokenizer_file
from attune.encoding.prompts import used_prompts
from attune.encoding.served import Served, ServedEncoder
from attune.encoding.served_tokens import TokenCounter
from attune.encoding.settings import folder_settings
from attune.evaluation.probe import read_task
from attune.stages.base import MAX_LENGTH, BaseParams, locate, positions_of, prompts_of


@dataclass(frozen=True)
class Reader:
    """An encoder before any run.

    Attributes:
        prompts: put before queries and documents, by query and document.
        n_positions: tokens that it can read.
        lengths: counts the tokens of sampled documents and queries; the last argument is the number of pairs.
        tokenizer: path of its tokenizer.json; None where there is none.
        counter: of tokens, where it is behind an endpoint.
    """

    prompts: Mapping[str, str]
    n_positions: int
    lengths: Callable[[Sequence[str], Sequence[str], int], Lengths]
    tokenizer: Path | None
    counter: TokenCounter | None = None


def reader_of(base: BaseParams, scratch: Path) -> Reader:
    """Returns how the base encoder reads texts.

    Args:
        base: parameters.
        scratch: folder for a tokenizer that is made from a vocabulary.

    Raises:
        BadInput: the encoder or its tokenizer cannot be read.
    """
    if base.endpoint.url:
        given = Path(base.endpoint.tokenizer) if base.endpoint.tokenizer else None
        counter = TokenCounter.read(given)
        prompts = used_prompts(base.model, {}, {str(kind): text for kind, text in base.prompts.items()})
        return Reader(prompts, MAX_LENGTH, partial(counted, counter.count, prompts), given, counter)
    settings = folder_settings(base.model, locate(base))
    tokenizer = tokenizer_file(base.model, locate(base) / settings.folder, scratch / "tokenizer")
    prompts = prompts_of(base, settings)
    return Reader(prompts, positions_of(settings), partial(lengths_of, tokenizer.parent, prompts), tokenizer)


def endpoint_facts(
    base: BaseParams,
    reader: Reader,
    max_length: int,
    texts: tuple[Sequence[str], Sequence[str]],
    probe: Mapping[str, Any],
) -> dict[str, Any]:
    """Returns what a run would send to the endpoint, less what is in the cache; empty where there is none.

    The texts of the near-domain tasks, which stage near_domain makes of the others, come on top.

    Args:
        base: parameters.
        reader: of the encoder.
        max_length: tokens at which texts are cut.
        texts: all queries and all documents.
        probe: section of the parameters, whose tasks are embedded, too.
    """
    if reader.counter is None:
        return {}
    named = [(task["type"], Path(task["path"])) for task in probe["tasks"].values()]
    tasks = [read_task(kind, path, probe["n_folds"]) for kind, path in named if path.exists()]
    queries, documents = (list(chain(own, *others)) for own, others in zip(texts, _texts_of(tasks), strict=True))
    served = Served(
        model=base.model, endpoint=base.endpoint, prompts=dict(reader.prompts), max_length=max_length, dim=0
    )
    n_texts, n_tokens = ServedEncoder(served, reader.counter).unsent(queries, documents)
    return {
        "url": base.endpoint.url,
        "n_texts_to_send": n_texts,
        "n_tokens_to_send": n_tokens,
        "tokens_are": "estimated" if reader.counter.words else "counted",
        "price": n_tokens / 1e6 * base.endpoint.price,
        "is_within_most_tokens": n_tokens <= base.endpoint.most_tokens,
    }


def _texts_of(tasks: Sequence[Any]) -> tuple[list[list[str]], list[list[str]]]:
    """Returns the queries and the documents of tasks."""
    return [task.queries for task in tasks], [task.documents for task in tasks]
