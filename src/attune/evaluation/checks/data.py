"""Looks at a data set before any run (`attune check`); a failure names the next step."""

from collections.abc import Mapping

from attune.evaluation.checks.facts import Facts
from attune.evaluation.checks.limits import GateParams
from attune.evaluation.checks.record import Outcome, Outcomes, check, judged
from attune.evaluation.statistics.decision import Status

SPLITS = ("train", "dev", "test")
MIN_TEST_QUERIES = 100  # with fewer, the interval of a gain is wide
MAX_CUT_SHARE = MAX_SHORT_SHARE = 0.1  # of texts
MAX_UNREAD_SHARE = 0.2  # of a script's letters; a tokenizer made for a script leaves a hundredth or two
MIN_SCRIPT_SHARE = 0.01  # of documents or queries; a stray text in another script is no reason for another encoder
MIN_LANGUAGE_SHARE = 0.1  # of documents or queries; of fewer, stems change little
MAX_LABEL_WORDS = 6  # labels are short ...
MIN_LABEL_QUERIES = 10  # ... and each has many queries


@check("ATT031", "clusters that can be split", "data", fails_gate=False)
def clusters(facts: Facts, limits: GateParams) -> Outcomes:
    """Rows that share documents or read alike hang together. Fails where one cluster holds more of the data than
    `split.max_cluster_share`, so that the split stage would stop. A split that you bring in full cuts no cluster."""
    share = facts.number("alike", "largest_cluster_share")
    reason = facts.of("split", "unusable")
    words = f"the split stage will stop: {reason}" if reason else f"the largest cluster holds {share:.0%} of all rows"
    yield judged(not reason, words)


@check("ATT032", "queries in every split", "data", fails_gate=False)
def splits(facts: Facts, limits: GateParams) -> Outcomes:
    """Fails where train or dev has no query, or test fewer than two: the pipeline would stop there. Not applicable
    where clusters cannot be split (ATT031)."""
    sizes = {name: facts.of("split", f"n_{name}_queries") for name in SPLITS}
    if not facts.of("split", "unusable"):
        words = ", ".join(f"{n:,} {name}" for name, n in sizes.items())
        faults = [f"the {name} split is empty" for name in SPLITS if not sizes[name]]
        faults += ["a single test query compares nothing"] * (sizes["test"] == 1)
        fault = f": {faults[0]}: add data, or change split.*_share" if faults else ""
        yield judged(not faults, f"{words} queries{fault}")


@check("ATT033", "number of test queries", "data", fails_gate=False)
def test_queries(facts: Facts, limits: GateParams) -> Outcomes:
    """Fails below 100 test queries, with which only a large gain can be told from chance."""
    n = facts.of("split", "n_test_queries")
    if n and not facts.of("split", "unusable"):
        few = "" if n >= MIN_TEST_QUERIES else ": only a large gain can be told from chance"
        yield judged(not few, f"{n:,} test queries{few}")


@check("ATT034", "leaks of a given split", "data", fails_gate=False)
def given_split(facts: Facts, limits: GateParams) -> Outcomes:
    """Fails where a split that you bring leaks: let attune split, mend it, set `split.by: query` if documents are
    shared on purpose, or raise `split.max_leak_share`."""
    leaks = {key: n for key, n in facts.of("split").items() if key.startswith("test_leaks") and n}
    counts = ", ".join(f"{n} {key.removeprefix('test_leaks.').replace('_', ' ')}" for key, n in leaks.items())
    by_query = any(key.endswith("_documents") for key in leaks)
    shared = ", set split.by: query if documents are shared on purpose" if by_query else ""
    advice = f"let attune split, mend it{shared}, or raise split.max_leak_share"
    words = f"the given test split leaks ({counts}): {advice}" if leaks else "no leak by words in test"
    yield judged(not leaks, words)


@check("ATT035", "texts cut at max_length", "data or metrics/base_encoder.json", fails_gate=False)
def long_texts(facts: Facts, limits: GateParams) -> Outcomes:
    """Fails where more than a tenth of train's documents, or of its queries, are longer than the encoder reads, and
    says what a longer `base.max_length` costs. The other way out: cut them into passages (prepare.passages).
    `attune check` reads all texts where train is empty. Not applicable after a run with a number as
    `base.max_length`."""
    lengths = facts.get("base_encoder", default={})
    if "documents_cut_share" not in lengths:
        return
    length, is_auto = (facts.of("base_encoder", key) for key in ("max_length", "is_max_length_auto"))
    setting = f"auto takes {length}" if is_auto else f"{length}; auto takes {lengths.get('auto_length')}"
    read = {"documents": f"the encoder reads (base.max_length: {setting})", "queries": "that"}
    for name in ("documents", "queries"):
        share = facts.number("base_encoder", f"{name}_cut_share")
        is_good = share <= MAX_CUT_SHARE
        words = f"{share:.0%} of train's {name} are longer than {read[name]}"
        yield judged(is_good, words if is_good else f"{words}: {_longer(facts, name)}")


def _longer(facts: Facts, name: str) -> str:
    """Advises what to do about texts that are cut, with the price of a length that cuts next to none."""
    passages = "cut them into passages (prepare.passages)"
    whole, ratio = facts.of("base_encoder", "whole_length"), facts.number("base_encoder", "whole_run_ratio")
    if whole <= facts.of("base_encoder", "max_length"):
        return passages
    left = facts.number("base_encoder", f"{name}_cut_at_whole_length_share")
    price = f"reads {ratio:.1f} times as many tokens, so that training takes about {ratio:.1f} times as long"
    return f"{whole} cuts {left:.0%} and {price}; or {passages}"


@check("ATT036", "texts of one or two words", "data", fails_gate=False)
def short_texts(facts: Facts, limits: GateParams) -> Outcomes:
    """Fails where more than a tenth of the documents, or of the queries, have fewer than three words, as if columns
    were mixed up. Documents that look like labels (ATT038) may be short."""
    for name in ("documents", "queries"):
        share = facts.number(name, "under_3_words_share")
        is_good = share <= MAX_SHORT_SHARE or (name == "documents" and _are_labels(facts))
        advice = "" if is_good else ": check the column names"
        yield judged(is_good, f"{share:.0%} of the {name} have fewer than 3 words{advice}")


@check("ATT037", "texts that read like empty cells", "data", fails_gate=False)
def placeholders(facts: Facts, limits: GateParams) -> Outcomes:
    """Fails where queries or documents read *nan*, *N/A* or a dash, which programs write into empty cells. Leave such
    cells empty; their rows are left out and counted."""
    for name in ("queries", "documents"):
        named, n = facts.get("peculiar", f"placeholder_{name}"), facts.of("data", "n_judgments")
        n_pairs = facts.get("peculiar", f"n_pairs_of_placeholder_{name}", default=0)
        words = f"{n_pairs:,} of {n:,} pairs have {name} that read like empty cells"
        advice = f": {named}; leave such cells empty, and their rows are left out and counted" if named else ""
        yield judged(not named, f"{words}{advice}")


@check("ATT038", "labels as documents", "data", fails_gate=False)
def labels(facts: Facts, limits: GateParams) -> Outcomes:
    """Undecided where few short documents answer many queries each: `split.by: cluster` tests labels that training
    never had, `split.by: query` tests new queries for known labels. Which of the two you need is yours to say."""
    n, n_words = facts.of("peculiar", "n_answers"), facts.number("peculiar", "words_per_answer_median")
    words = f"{n:,} documents of {n_words:.0f} words answer {facts.of('data', 'n_queries'):,} queries"
    if _are_labels(facts):
        now = {"cluster": "the first", "query": "the second"}[facts.of("params", "split", "by")]
        choice = "split.by: cluster tests labels that training never had, split.by: query tests new queries for known"
        yield Outcome(Status.UNDECIDED, f"{words}: they look like labels. {choice} labels; params.yaml has {now}")
    else:
        yield judged(True, words)


@check("ATT039", "queries that are documents", "data", fails_gate=False)
def queries_as_documents(facts: Facts, limits: GateParams) -> Outcomes:
    """Fails where queries are documents, too, not judged relevant to themselves, so that each finds itself first: set
    `split.leave_out_own_text: true`. Pairs given in both directions are counted; the split keeps both on one side."""
    n = facts.of("peculiar", "n_queries_that_are_other_documents")
    n_turned = facts.of("peculiar", "n_pairs_in_both_directions")
    is_good = not n or facts.of("params", "split", "leave_out_own_text")
    words = f"{n:,} of {facts.of('data', 'n_queries'):,} queries are also documents"
    own = "" if is_good else ", which are not judged relevant to them: set split.leave_out_own_text: true"
    turned = f"{n_turned:,} pairs are given in both directions, (a, b) and (b, a), and stay on one side of the split"
    yield judged(bool(is_good), f"{words}{own}; {turned}")


@check("ATT040", "rows of an epoch", "data", fails_gate=False)
def rows(facts: Facts, limits: GateParams) -> Outcomes:
    """Fails where an epoch has more rows than a laptop trains on in minutes: set `train.max_pairs_per_query` (the look
    suggests a number), `train.max_steps`, or one epoch."""
    n, affordable = facts.of("training", "n_rows_per_epoch"), facts.of("training", "affordable_rows")
    advice, left = "", facts.get("training", "n_rows_per_epoch_then", default=n)
    if (limit := facts.get("training", "suggested_max_pairs_per_query")) is not None:
        advice = f": set train.max_pairs_per_query: {limit} for {left:,}; each epoch draws others"
    if left > affordable:
        advice += "; more than a laptop trains on in minutes: set train.max_steps, or train.epochs: 1"
    yield judged(n <= affordable, f"{n:,} pairs to train on in each epoch{advice}")


@check("ATT041", "negatives of your own", "data", fails_gate=False)
def own_negatives(facts: Facts, limits: GateParams) -> Outcomes:
    """Fails where queries bring more negatives than a training row holds (`mine.n_negatives`)."""
    n, most = (facts.of("peculiar", key) for key in ("n_queries_with_own_negatives", "own_negatives_per_query_max"))
    held = facts.of("params", "mine", "n_negatives")
    words = f"{n:,} of {facts.of('data', 'n_queries'):,} queries bring negatives of their own, up to {most}"
    row = f"a training row holds mine.n_negatives ({held}), the query's own first, then mined ones"
    advice = "" if most <= held else ": raise it to use more of them at a time"
    yield judged(most <= held, f"{words}; {row}{advice}")


@check("ATT042", "other people's queries", "data", fails_gate=False)
def other_queries(facts: Facts, limits: GateParams) -> Outcomes:
    """Undecided where gains will be measured on queries like these only, because neither the data has other forms of
    its documents nor `probe.tasks` a task that counts as near_domain (data/tasks/README.md)."""
    tasks = facts.of("params", "probe", "tasks").values()
    n_tasks, n_forms = sum(t.get("counts_as") == "near_domain" for t in tasks), facts.of("data", "n_other_forms")
    if n_tasks or n_forms:
        yield judged(True, f"{n_tasks:,} near-domain tasks, {n_forms:,} documents in other forms")
        return
    yield Outcome(
        Status.UNDECIDED,
        "gains will be measured on queries like these only: write other people's queries over your documents (of "
        "another source, another kind of user) into data/tasks/, and name them in probe.tasks with counts_as: "
        "near_domain (data/tasks/README.md), to see what tuning costs there",
    )


@check("ATT045", "scripts that the encoder reads", "data", fails_gate=False)
def scripts(facts: Facts, limits: GateParams) -> Outcomes:
    """Fails where the base encoder's tokenizer cannot read a script in which a hundredth or more of the documents, or
    of the queries, are written: more than a fifth of its letters become the unknown token, bytes, or words spelled in
    single letters, as Thai does with an English encoder. Tuning teaches it little: take an encoder for the language."""
    sizes = {kind: facts.of(kind, "n_sampled") for kind in ("documents", "queries")}
    read, model = [], facts.of("params", "base", "model")
    for name, script in facts.get("scripts", default={}).items():
        counts = {kind: script[f"n_{kind}"] for kind in sizes}
        if all(n < MIN_SCRIPT_SHARE * sizes[kind] for kind, n in counts.items()):
            continue
        where = f"{name} ({' and '.join(f'{n:,} of {sizes[kind]:,} {kind}' for kind, n in counts.items() if n)})"
        unknown, apart = script["unknown_share"], script["apart_share"]
        if unknown + apart <= MAX_UNREAD_SHARE:
            read.append(where)
            continue
        fate = f"{unknown:.0%} of its letters are unknown to it, {apart:.0%} in words that it spells letter by letter"
        advice = "take an encoder trained on it (docs/encoders.md)"
        yield judged(False, f"the tokenizer of {model} cannot read {where}: {fate}; {advice}")
    if read:
        yield judged(True, f"the tokenizer of {model} reads {', '.join(read)}")


@check("ATT048", "languages that words are matched in", "data", fails_gate=False)
def languages(facts: Facts, limits: GateParams) -> Outcomes:
    """Fails where a language of a tenth or more of the documents or queries whose language is clear is not among
    `release.languages`: BM25, the bar that tuning must pass, tries no stems or stop words of it, and the model's card
    names other languages. Fails, too, where `evaluate.bm25_language` is none of these languages. The name of a language
    comes from a model of byte sequences, which may mistake close ones."""
    rows, declared = facts.of("languages"), facts.of("params", "release", "languages")
    main = main_languages(rows)
    if not main:  # no text is long enough
        return
    undeclared, stemmed, own, setting = (facts.of("stems", key) for key in ("undeclared", "stemmed", "own", "setting"))
    languages = f"the texts are in {', '.join(f'{code} ({_of_kinds(rows[code])})' for code in main)}"
    named = f"release.languages ({', '.join(declared)})"
    if missing := [code for code in main if code in undeclared]:
        stems = ", ".join(code for code in missing if code in stemmed and setting == "auto")
        lost = "the model's card leaves it out" + (f", and BM25 tries no stems of {stems}" if stems else "")
        advice = f"set release.languages: [{', '.join(main)}] in advanced.yaml"
        yield judged(False, f"{languages}, of which {', '.join(missing)} is not among {named}: {lost}; {advice}")
    else:
        yield judged(True, f"{languages}, all among {named}")
    if setting not in ("auto", "") and not set(own) & set(main):
        words = f"evaluate.bm25_language is {setting}: BM25 cuts words by the rules of a language that few texts are in"
        yield judged(False, f"{words}; set it to auto in advanced.yaml, and dev chooses")


def main_languages(rows: Mapping[str, Mapping[str, int]]) -> list[str]:
    """Returns the languages of a tenth or more of the documents, or queries, whose language is clear; most texts first.

    Args:
        rows: n_documents and n_queries by language, as `attune check` counts them.
    """
    clear = {code: row for code, row in rows.items() if code not in ("other", "unclear")}
    totals = {key: sum(row[key] for row in clear.values()) for key in ("n_documents", "n_queries")}
    least = {key: max(1, MIN_LANGUAGE_SHARE * n) for key, n in totals.items()}
    return [code for code, row in clear.items() if any(n >= least[key] for key, n in row.items())]


def _of_kinds(row: Mapping[str, int]) -> str:
    return " and ".join(f"{n:,} {key.removeprefix('n_')}" for key, n in row.items() if n)


def _are_labels(facts: Facts) -> bool:
    n_answers, n_queries = facts.of("peculiar", "n_answers"), facts.of("data", "n_queries")
    is_short = facts.number("peculiar", "words_per_answer_median") <= MAX_LABEL_WORDS
    return bool(is_short and n_queries >= MIN_LABEL_QUERIES * n_answers)
