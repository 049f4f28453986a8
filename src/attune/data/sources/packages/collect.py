"""Natural-language code search over installed packages: public definitions and the first sentences of docstrings.

The CodeSearchNet formulation (Husain et al. 2019, arXiv 1909.09436): the first sentence of a docstring is a query, the
source without any docstring is its relevant document. Packages are parsed, never imported. A flaw of a definition drops
the document; a flaw of its sentences drops the query only, and the document stays as a distractor. Descriptions in See
Also sections are the paraphrases; the source with the rest of its docstring is another form of the document.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from attune.data.sources.packages.definitions import Definition
from attune.data.sources.packages.flaws import content_words, definition_flaw, sentence_flaw
from attune.data.sources.packages.forms import form
from attune.data.sources.packages.installed import Source, read_sources, version
from attune.data.sources.packages.mentions import PackageMentions, ParaphraseRules, mentions_of, paraphrases
from attune.data.sources.packages.public_names import PublicNames
from attune.data.sources.raw import Document, Qrel, Query, RawData


@dataclass(frozen=True)
class PackageRules:
    """Filters of documents and queries; each field is the parameter of its name in section collect."""

    internal: Sequence[str]
    min_query_words: int
    max_query_words: int
    max_documents_per_query: int
    max_classes_per_method: int
    max_document_characters: int


@dataclass(frozen=True)
class DocumentCandidate:
    """A document, its query ("" where no sentence is good enough), and its other forms ("" where it has none).

    `indexed` holds the whole docstring, `form` what is left without the query.
    """

    document: Document
    query: str
    form: str
    indexed: str

    @property
    def owner(self) -> str:
        """The class of a method, or the module of a function, as in the title."""
        return self.document.title.rpartition(".")[0].rpartition(".")[2]

    @property
    def name(self) -> str:
        """The last part of the title."""
        return self.document.title.rpartition(".")[2]

    @property
    def is_method(self) -> bool:
        """True for a method of a class."""
        return "." in self.document.document_id.rpartition("::")[2]


def collect_packages(packages: Sequence[str], rules: PackageRules) -> RawData:
    """Reads installed packages, named as on the package index, in the given order.

    Raises:
        BadInput: a package is not installed or has no Python files.
    """
    dropped: Counter[str] = Counter()
    facts: dict[str, str | int] = {}
    candidates: list[DocumentCandidate] = []
    mentions: list[PackageMentions] = []
    for package in packages:
        sources = list(read_sources(package, dropped))
        names = PublicNames([source.module for source in sources], rules.internal)
        mentions.append(mentions_of(sources, names))
        own = list(_candidates(sources, names, rules, dropped))
        facts |= {f"{package}_version": version(package), f"{package}_documents": len(own)}
        candidates += own
    is_vague = _vague_methods(candidates, rules.max_classes_per_method)
    candidates = _without_queries(candidates, is_vague, "vague_method", dropped)
    is_generic = _shared_by_many(candidates, rules.max_documents_per_query)
    candidates = _without_queries(candidates, is_generic, "generic", dropped)
    limits = ParaphraseRules(rules.min_query_words, rules.max_query_words, rules.max_documents_per_query)
    texts, qrels = paraphrases(mentions, [candidate.document for candidate in candidates], limits, dropped)
    return replace(_raw_data(candidates, dropped, facts), paraphrases=texts, paraphrase_qrels=qrels)


def _candidates(
    sources: list[Source], names: PublicNames, rules: PackageRules, dropped: Counter[str]
) -> Iterator[DocumentCandidate]:
    public = [(s, d, title) for s in sources for d in s.definitions if (title := names.of(s.module.name, d.qualname))]
    dropped["document_not_offered"] += sum(len(source.definitions) for source in sources) - len(public)
    # an inherited method that the subclass overrides, and the second of two definitions under `if`, have a taken title
    public.sort(key=lambda o: names.is_inherited(o[0].module.name, o[1].qualname))
    taken: set[str] = set()
    kept = []
    for source, definition, title in public:
        flaw = definition_flaw(definition) or ("name_taken" if title in taken else None)
        if flaw != "abstract_or_setter":
            taken.add(title)
        if flaw is None:
            kept.append((source.file, definition, title))
        else:
            dropped[f"document_{flaw}"] += 1
    for file, definition, title in sorted(kept, key=lambda k: (k[0], k[1].node.lineno)):
        text = _beginning(definition.text, rules.max_document_characters)
        dropped["tail_of_document"] += text != definition.text
        query = _query(definition, rules, dropped)
        document = Document(f"{file}::{definition.qualname}", title, text)
        indexed = _beginning(form(definition, 0), rules.max_document_characters)
        other = _form(definition, text, query, rules.max_document_characters)
        yield DocumentCandidate(document, query, other, "" if indexed == text else indexed)


def _beginning(text: str, max_characters: int) -> str:
    """Cuts a text after the last whole line that fits, or within a first line that is longer."""
    beginning = text[:max_characters]
    return text if beginning == text else beginning.rpartition("\n")[0] or beginning


def _query(definition: Definition, rules: PackageRules, dropped: Counter[str]) -> str:
    """Returns the first sentence, or the second where the first has a flaw, or "" where both have one."""
    flaws: list[str] = []
    name = definition.qualname.rpartition(".")[2]
    for sentence in definition.sentences[:2]:
        flaw = sentence_flaw(sentence, name, not flaws, rules.min_query_words, rules.max_query_words)
        if flaw is None:
            return sentence
        flaws.append(flaw)
    dropped[f"query_{flaws[0]}"] += 1
    return ""


def _form(definition: Definition, text: str, query: str, max_characters: int) -> str:
    """Returns the document with the rest of its docstring; "" where none is left or it repeats the query."""
    is_second = query != "" and query != definition.sentences[0]
    other = _beginning(form(definition, 2 if is_second else 1), max_characters)
    return "" if other == text or (query and _words(query) in _words(other)) else other


def _words(text: str) -> str:
    return " ".join(re.findall(r"\w+", text.casefold()))


def _without_queries(
    candidates: list[DocumentCandidate],
    is_flawed: Callable[[DocumentCandidate], bool],
    flaw: str,
    dropped: Counter[str],
) -> list[DocumentCandidate]:
    """Removes the queries, not the documents, of flawed candidates."""
    flawed = [bool(c.query) and is_flawed(c) for c in candidates]
    dropped[f"query_{flaw}"] = sum(flawed)
    return [replace(c, query="") if bad else c for c, bad in zip(candidates, flawed, strict=True)]


def _vague_methods(candidates: Iterable[DocumentCandidate], max_classes: int) -> Callable[[DocumentCandidate], bool]:
    """Returns a predicate for queries of a method that many classes have, without a word specific to its class.

    "Fit the model" describes a hundred classes; "Fit the Gaussian process model" names its class.
    """
    methods = [candidate for candidate in candidates if candidate.is_method]
    n_classes = Counter(method.name for method in methods)
    words = Counter(word for owner in {method.owner for method in methods} for word in content_words([owner]))

    def is_vague(candidate: DocumentCandidate) -> bool:
        if not candidate.is_method or n_classes[candidate.name] <= max_classes:
            return False
        specific = {word for word in content_words([candidate.owner]) if words[word] <= max_classes}
        return not specific & (content_words([candidate.query]) - content_words([candidate.name]))

    return is_vague


def _shared_by_many(candidates: Iterable[DocumentCandidate], max_documents: int) -> Callable[[DocumentCandidate], bool]:
    """Returns a predicate for queries of more than `max_documents` documents."""
    n_documents = Counter(candidate.query.casefold() for candidate in candidates)
    return lambda candidate: n_documents[candidate.query.casefold()] > max_documents


def _raw_data(candidates: list[DocumentCandidate], dropped: Counter[str], facts: dict[str, str | int]) -> RawData:
    with_query = [(f"{c.document.document_id}#summary", c) for c in candidates if c.query]
    return RawData(
        documents=[candidate.document for candidate in candidates],
        queries=[Query(query_id, candidate.query) for query_id, candidate in with_query],
        forms={c.document.document_id: c.form for c in candidates if c.form},
        indexed={c.document.document_id: c.indexed for c in candidates if c.indexed},
        qrels={"all": [Qrel(query_id, candidate.document.document_id, 1) for query_id, candidate in with_query]},
        dropped=dropped,
        facts=facts,
    )
