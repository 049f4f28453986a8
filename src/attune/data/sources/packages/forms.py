"""Other forms of documents: the source as people index it, with its docstring, but without what gives answers away.

The first sentence is the document's query, or could be, and is cut; so is the second where that one became the query.
See Also sections are cut, since their descriptions are the paraphrases of other documents, which would match word for
word the document that only mentions them.
"""

import inspect
import re
from collections.abc import Sequence
from itertools import pairwise

from attune.data.sources.packages.definitions import Definition
from attune.data.sources.packages.sentences import prose, sentences

_INDENT = "    "
_CHUNK_END = re.compile(r"(?<=\S)(?=\s|$)")
_GAP = re.compile(r"\n\s*\n")
_SEE_ALSO = re.compile(r"see also:?", re.IGNORECASE)
_UNDERLINE = re.compile(r"([-=~^*])\1{2,}")


def form(definition: Definition, n_sentences: int) -> str:
    """Returns the document's text with the rest of its docstring below its signature; the text itself if none is left.

    Args:
        definition: as the document's text has it.
        n_sentences: first sentences of the docstring to cut.
    """
    docstring = inspect.cleandoc(definition.docstring)
    docstring = without_see_also(without_sentences(docstring, definition.sentences[:n_sentences]))
    # without blank lines, as the source
    lines = [line.rstrip() for line in docstring.splitlines() if line.strip()]
    if not lines:
        return definition.text
    body = [f'{_INDENT}"""{lines[0].strip()}', *(f"{_INDENT}{line}" for line in lines[1:]), f'{_INDENT}"""']
    source = definition.text.split("\n")
    return "\n".join([*source[: definition.docstring_at], *body, *source[definition.docstring_at :]])


def without_sentences(docstring: str, first: Sequence[str]) -> str:
    """Cuts the first sentences out of a docstring, with what stands before them, such as a signature.

    Args:
        docstring: with its markup.
        first: its first sentences as `sentences` returns them, without markup.
    """
    start, end = prose(docstring)
    for sentence in first:
        start = _end_of(docstring, start, end, sentence)
    return docstring[start:].lstrip() if first else docstring


def _end_of(docstring: str, start: int, end: int, sentence: str) -> int:
    """Returns where a sentence ends that begins a paragraph from `start` on, or the paragraph's end if none does so."""
    for beginning in [start, *(gap.end() for gap in _GAP.finditer(docstring, start, end))]:
        found = None
        for chunk in _CHUNK_END.finditer(docstring, beginning, _paragraph_end(docstring, beginning, end)):
            if sentences(docstring[beginning : chunk.start()]) == [sentence]:
                found = chunk.start()  # or later, with a citation that follows
            elif found is not None:
                break
        if found is not None:
            return found
    return _paragraph_end(docstring, start, end)


def _paragraph_end(docstring: str, start: int, end: int) -> int:
    gap = _GAP.search(docstring, start, end)
    return gap.start() if gap else end


def without_see_also(docstring: str) -> str:
    """Cuts every section titled See Also, up to the next underlined title."""
    kept = []
    is_cut = False
    for line, below in pairwise([*docstring.splitlines(), ""]):
        if line.strip() and _UNDERLINE.fullmatch(below.strip()):
            is_cut = _SEE_ALSO.fullmatch(line.strip()) is not None
        if not is_cut:
            kept.append(line)
    return "\n".join(kept)
