"""Tokens of texts that are sent to an endpoint: counted before they are sent, and cut at a maximum length.

With the model's tokenizer.json both are exact. Without it a token is taken to be 4 bytes of UTF-8, by the rule that
OpenAI gives for English (https://help.openai.com/en/articles/4936856); other scripts have more bytes per letter, and
more tokens, too.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer

from attune.errors import BadInput
from attune.runtime.arrays import Int64

FILE = "tokenizer.json"
BYTES_PER_TOKEN = 4


class TokenCounter:
    """Counts the tokens of texts, and cuts texts.

    Args:
        tokenizer: of the model; None to estimate.
    """

    def __init__(self, tokenizer: Tokenizer | None) -> None:
        self._tokenizer = tokenizer

    @classmethod
    def read(cls, file: Path | None) -> "TokenCounter":
        """Reads a tokenizer.json; None estimates.

        Raises:
            BadInput: the file is missing or no tokenizer.
        """
        if file is None:
            return cls(None)
        try:
            tokenizer = Tokenizer.from_file(str(file))
        except Exception as error:  # the library raises bare Exception
            raise BadInput(f"base.endpoint.tokenizer: {file} is no tokenizer.json ({error}); correct it") from None
        tokenizer.no_truncation()
        tokenizer.no_padding()
        return cls(tokenizer)

    @classmethod
    def load(cls, folder: Path) -> "TokenCounter":
        """Reads the tokenizer in the folder of an encoder; estimates where there is none."""
        return cls.read(folder / FILE if (folder / FILE).is_file() else None)

    @property
    def words(self) -> str:
        """Method of counting tokens, for a message; "" where the count is exact."""
        return "" if self._tokenizer else " (estimated, 4 bytes each)"

    def count(self, texts: Sequence[str]) -> Int64:
        """Returns (n texts,) numbers of tokens, special ones included."""
        if self._tokenizer is None:
            counts = [-(-len(_bytes(text)) // BYTES_PER_TOKEN) for text in texts]
        else:
            counts = [len(encoding.ids) for encoding in self._tokenizer.encode_batch_fast(list(texts))]
        return np.array(counts, dtype=np.int64)

    def cut(self, texts: Sequence[str], max_length: int) -> list[str]:
        """Returns the texts, longer ones without what is beyond `max_length` tokens; 0 cuts none."""
        if not max_length:
            return list(texts)
        counts = self.count(texts).tolist()
        return [
            self._beginning(text, max_length) if count > max_length else text
            for text, count in zip(texts, counts, strict=True)
        ]

    def _beginning(self, text: str, max_length: int) -> str:
        if self._tokenizer is None:
            return _bytes(text)[: BYTES_PER_TOKEN * max_length].decode("utf-8", "ignore")
        room = max(0, max_length - self._tokenizer.num_special_tokens_to_add(False))
        offsets = self._tokenizer.encode(text, add_special_tokens=False).offsets
        return text[: offsets[room - 1][1]] if room else ""


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "replace")
