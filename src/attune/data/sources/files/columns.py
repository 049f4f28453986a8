"""Which column of a user's table holds what."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field


class Columns(BaseModel):
    """Names of columns; "" where the table has none of the kind. No field has a default: params.yaml shows them all."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    query: str
    document: str
    title: str
    negatives: list[Annotated[str, Field(min_length=1)]]  # documents that do not answer the row's query
    relevance: str
    query_id: str
    document_id: str
    group: str  # a customer, a thread, a page: its queries are never split
    stratum: str  # of each of its values the splits get the same share
    split: str  # train, dev or test
