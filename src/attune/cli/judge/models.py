"""Models as judges: a cross-encoder's score against a limit, or a chat model's yes or no.

Neither is calibrated here. Whoever judged is named in the sheet and in the estimate, and a sheet that a person judged
tells how far a model's word goes.
"""

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from string import Formatter
from typing import Annotated

import numpy as np
from pydantic import AfterValidator, Field

from attune.cli.judge.sheet import NO, UNDECIDED, YES, Row
from attune.data.sources.generated.endpoint import Endpoint, complete
from attune.data.sources.raw import Document
from attune.errors import BadInput
from attune.stage import Machine, Params
from attune.tuning.mining.candidates import Pairs
from attune.tuning.mining.cross_encoder import load_reranker

_THOUGHTS = re.compile(r"<think>.*?(?:</think>|\Z)", re.DOTALL)  # of models that reason aloud
_WORD = re.compile(r"[a-z]+")


def _placeholders(prompt: str) -> str:
    """Checks that a prompt has the placeholders {query} and {document} and no other."""
    try:
        names = [name for _, name, _, _ in Formatter().parse(prompt) if name is not None]
    except ValueError as error:
        raise ValueError(f"{error}; write {{{{ and }}}} for braces") from None
    if set(names) != {"query", "document"}:
        raise ValueError("expected {query} and {document} and no other placeholder; write {{ and }} for braces")
    return prompt


class JudgeParams(Params):
    """Settings of judging models, and the confidence of the interval.

    Attributes:
        min_score: least score of a cross-encoder, 0 to 1, that counts as yes.
        prompt: sent to the chat endpoint for each row, with {query} and {document}.
        confidence: of the interval.
        n_pairs: rows of a sheet of test queries.
    """

    min_score: float = Field(ge=0, le=1)
    prompt: Annotated[str, AfterValidator(_placeholders)]
    confidence: float = Field(gt=0.5, lt=1)
    n_pairs: int = Field(ge=1, le=1000)
    machine: Machine


def judged_by_cross_encoder(rows: Sequence[Row], folder: Path, params: JudgeParams) -> list[Row]:
    """Lets a cross-encoder judge the rows that nobody has judged.

    Args:
        rows: of the sheet.
        folder: with the cross-encoder, in models/rerankers.
        params: the least score that counts as yes, and the CPU threads.

    Raises:
        BadInput: the folder holds no cross-encoder.
    """
    if not folder.is_dir():
        there = ", ".join(sorted(path.name for path in folder.parent.glob("*/"))) or "none"
        raise BadInput(f"{folder}: not found, got {there}; put the folder of a cross-encoder there, or name another")
    left = [row for row in rows if not row.is_answer]
    score = load_reranker(folder, [row.query for row in left], [row.document for row in left], params.machine.threads)
    places = np.arange(len(left))
    scores = score(Pairs(places, places)) if left else np.empty(0, dtype=np.float32)
    words = [YES if value >= params.min_score else NO for value in scores.tolist()]
    return _judged(rows, words, f"{folder.name} (cross-encoder, score of at least {params.min_score:g})")


def judged_by_endpoint(rows: Sequence[Row], params: JudgeParams, endpoint: Endpoint) -> list[Row]:
    """Lets the model behind a chat endpoint judge the rows that nobody has judged; its answers are cached.

    Raises:
        BadInput: the endpoint does not answer.
    """
    prompts = [
        params.prompt.format(query=row.query, document=row.document[: endpoint.max_characters])
        for row in rows
        if not row.is_answer
    ]
    # the prompt is filled in already; the limit of characters held for the document
    whole = endpoint.model_copy(update={"prompt": "{text}", "max_characters": max(map(len, prompts), default=100)})
    answers = complete([Document("", "", prompt) for prompt in prompts], whole)
    return _judged(rows, [word_in(answer) for answer in answers], f"{endpoint.model} (chat model)")


def word_in(answer: str) -> str:
    """Returns yes or no where the answer begins with it, else ?: how a chat model that says something else counts."""
    words = _WORD.findall(_THOUGHTS.sub("", answer).lower())
    return words[0] if words[:1] in ([YES], [NO]) else UNDECIDED


def _judged(rows: Sequence[Row], words: Sequence[str], judge: str) -> list[Row]:
    """Returns the rows with these words where nobody had judged."""
    rest = iter(words)
    return [row if row.is_answer else replace(row, is_answer=next(rest), judged_by=judge) for row in rows]
