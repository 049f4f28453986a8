"""Natural-language code search over installed packages: what they offer is the corpus, what they say of it the queries.

The CodeSearchNet formulation (Husain et al. 2019, arXiv 1909.09436): the first sentence of a docstring is a query, the
source without any docstring is the document that answers it. Packages are read, never imported. A flaw of a definition
costs the document; a flaw of its sentences costs the query only: the document stays, to be found by others or by none.
What docstrings say of each other in their See Also sections are the paraphrases.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from attune.data.sources.packages.definitions import Definition
from attune.data.sources.packages.flaws import content_words, definition_flaw, sentence_flaw
from attune.data.sources.packages.installed import Source, read_sources, version
from attune.data.sources.packages.mentions import PackageMentions, Rules, mentions_of, paraphrases
from attune.data.sources.packages.public_names import PublicNames
from attune.data.sources.raw import Document, Qrel, Query, RawData


@dataclass(frozen=True)
class PackageRules:
    """What is taken from packages; each field is the parameter of its name."""

    internal: Sequence[str]
    min_query_words: int
    max_query_words: int
    max_documents_per_query: int
    max_classes_per_method: int
    max_document_characters: int


@dataclass(frozen=True)
class Candidate:
    """A document to be, with the sentence to ask for it, or "" where none is good enough."""

    document: Document
    query: str

    @property
    def owner(self) -> str:
        """The class, or the module of a function, as in the title."""
        return self.document.title.rpartition(".")[0].rpartition(".")[2]

    @property
    def name(self) -> str:
        """The last part of the title."""
        return self.document.title.rpartition(".")[2]

    @property
    def is_method(self) -> bool:
        """Whether it belongs to a class."""
        return "." in self.document.document_id.rpartition("::")[2]


def collect_packages(packages: Sequence[str], rules: PackageRules) -> RawData:
    """Reads installed packages, named as on the package index, in the order given.

    Raises:
        BadInput: a package is not installed or has no Python files.
    """
    dropped: Counter[str] = Counter()
    facts: dict[str, str | int] = {}
    candidates: list[Candidate] = []
    mentions: list[PackageMentions] = []
    for package in packages:
        sources = list(read_sources(package, dropped))
        names = PublicNames([source.module for source in sources], rules.internal)
        mentions.append(mentions_of(sources, names))
        found = list(_candidates(sources, names, rules, dropped))
        facts |= {f"{package}_version": version(package), f"{package}_documents": len(found)}
        candidates += found
    candidates = _unasked(candidates, _vague_methods(candidates, rules.max_classes_per_method), "vague_method", dropped)
    candidates = _unasked(candidates, _shared_by_many(candidates, rules.max_documents_per_query), "generic", dropped)
    said = Rules(rules.min_query_words, rules.max_query_words, rules.max_documents_per_query)
    others, judged = paraphrases(mentions, [candidate.document for candidate in candidates], said, dropped)
    return replace(_raw_data(candidates, dropped, facts), paraphrases=others, paraphrase_qrels=judged)


def _candidates(
    sources: list[Source], names: PublicNames, rules: PackageRules, dropped: Counter[str]
) -> Iterator[Candidate]:
    offered = [(s, d, title) for s in sources for d in s.definitions if (title := names.of(s.module.name, d.qualname))]
    dropped["document_not_offered"] += sum(len(source.definitions) for source in sources) - len(offered)
    # a method that the subclass has itself, and the second of two definitions under `if`, go by a name already given
    offered.sort(key=lambda o: names.is_inherited(o[0].module.name, o[1].qualname))
    taken: set[str] = set()
    kept = []
    for source, definition, title in offered:
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
        yield Candidate(Document(f"{file}::{definition.qualname}", title, text), query)


def _beginning(text: str, max_characters: int) -> str:
    """As many whole lines as fit; of a longer first line as many characters."""
    beginning = text[:max_characters]
    return text if beginning == text else beginning.rpartition("\n")[0] or beginning


def _query(definition: Definition, rules: PackageRules, dropped: Counter[str]) -> str:
    """The first sentence; where that says too little, the second; "" where that is no better."""
    flaws: list[str] = []
    name = definition.qualname.rpartition(".")[2]
    for sentence in definition.sentences[:2]:
        flaw = sentence_flaw(sentence, name, not flaws, rules.min_query_words, rules.max_query_words)
        if flaw is None:
            return sentence
        flaws.append(flaw)
    dropped[f"query_{flaws[0]}"] += 1
    return ""


def _unasked(
    candidates: list[Candidate], is_flawed: Callable[[Candidate], bool], flaw: str, dropped: Counter[str]
) -> list[Candidate]:
    """The candidates, without the queries that are flawed."""
    flawed = [bool(c.query) and is_flawed(c) for c in candidates]
    dropped[f"query_{flaw}"] = sum(flawed)
    return [replace(c, query="") if bad else c for c, bad in zip(candidates, flawed, strict=True)]


def _vague_methods(candidates: Iterable[Candidate], max_classes: int) -> Callable[[Candidate], bool]:
    """Whether a query asks for a method that many classes have without a word that tells its class from theirs.

    "Fit the model" could be any of a hundred; "Fit the Gaussian process model" names its class.
    """
    methods = [candidate for candidate in candidates if candidate.is_method]
    n_classes = Counter(method.name for method in methods)
    words = Counter(word for owner in {method.owner for method in methods} for word in content_words([owner]))

    def is_vague(candidate: Candidate) -> bool:
        if not candidate.is_method or n_classes[candidate.name] <= max_classes:
            return False
        telling = {word for word in content_words([candidate.owner]) if words[word] <= max_classes}
        return not telling & (content_words([candidate.query]) - content_words([candidate.name]))

    return is_vague


def _shared_by_many(candidates: Iterable[Candidate], max_documents: int) -> Callable[[Candidate], bool]:
    """Whether a query is asked for more documents than make sense as the answers to one question."""
    n_documents = Counter(candidate.query.casefold() for candidate in candidates)
    return lambda candidate: n_documents[candidate.query.casefold()] > max_documents


def _raw_data(candidates: list[Candidate], dropped: Counter[str], facts: dict[str, str | int]) -> RawData:
    asked = [(f"{c.document.document_id}#summary", c) for c in candidates if c.query]
    return RawData(
        documents=[candidate.document for candidate in candidates],
        queries=[Query(query_id, candidate.query) for query_id, candidate in asked],
        qrels={"all": [Qrel(query_id, candidate.document.document_id, 1) for query_id, candidate in asked]},
        dropped=dropped,
        facts=facts,
    )
