"""Draws the sheet, collects judgements, and writes the estimate to metrics/judged.json, which the report reads."""

from pathlib import Path

from attune.cli.judge.estimate import judged_share
from attune.cli.judge.interface import Estimate
from attune.cli.judge.models import JudgeParams, judged_by_cross_encoder, judged_by_endpoint
from attune.cli.judge.sheet import Row, carried_over, judged_rows, rows_of, with_judgements, write_sheet
from attune.errors import BadInput
from attune.evaluation.report.judged import RECEIPT, read_judged, sample_hash, write_judged
from attune.stage import all_params, load_params
from attune.stages.collect import CollectParams
from attune.tables import NEGATIVE_SAMPLE, read

METRICS, MINED, RERANKERS, SHEETS = Path("metrics"), Path("data/mined"), Path("models/rerankers"), Path("data/judged")
MODEL_ALONE = "a model's judgement is not calibrated: judge some rows yourself in another sheet and compare"


def judge(sheet: Path | None, earlier: Path | None, reranker: str, is_endpoint: bool) -> Estimate:
    """Writes the sheet where there is none, lets a model judge if one is named, and writes the estimate.

    Args:
        sheet: the file; None takes data/judged/ROUND.csv. An entry of metrics/judged.json bears its name.
        earlier: a sheet whose judgements are taken over where the same texts were drawn again.
        reranker: folder in models/rerankers whose cross-encoder judges what nobody has judged.
        is_endpoint: the chat model of collect.endpoint judges what nobody has judged.

    Raises:
        BadInput: nothing was drawn, the sheet or the model cannot be used, or two models are named.
    """
    params = load_params(JudgeParams, "judge")
    mined = MINED / str(all_params().get("merge", {}).get("round", "r1"))
    sample = read(mined / "sample.parquet", NEGATIVE_SAMPLE)
    sheet = sheet or SHEETS / f"{mined.name}.csv"
    drawn = rows_of(sample)
    if not drawn:
        raise BadInput(f"{mined / 'sample.parquet'}: no negatives; set mine.n_sample to 50 or more and run `dvc repro`")
    known = with_judgements(drawn, sheet, mined) if sheet.exists() else drawn
    known = carried_over(known, earlier) if earlier else known
    rows = filled(known, params, reranker, is_endpoint)
    if not sheet.exists() or rows != known or earlier:
        write_sheet(rows, sheet)
    judged = judged_rows(rows, sheet)
    if not judged:
        none = [f"{sheet}: {len(rows)} mined negatives drawn at random, none judged", next_step(sheet)]
        return Estimate(str(sheet), len(rows), 0, 0, None, None, None, none)
    share = judged_share(judged, params.confidence, sample_hash(sample))
    write_judged(METRICS, read_judged(METRICS) | {sheet.stem: share})
    lines = [share.sentence, f"{METRICS / RECEIPT}: {sheet.stem} written; `make repro` shows it in the report"]
    lines += [MODEL_ALONE] if reranker or is_endpoint else []
    numbers = share.n_judged, share.n_answers, share.share, share.ci_low, share.ci_high
    return Estimate(str(sheet), len(rows), *numbers, lines)


def filled(rows: list[Row], params: JudgeParams, reranker: str, is_endpoint: bool) -> list[Row]:
    """Returns the rows as the named model judges those that nobody has judged; without a model as they are."""
    if reranker and is_endpoint:
        raise BadInput("attune judge: got --reranker and --endpoint, expected one judge; give each its own sheet")
    if reranker:
        return judged_by_cross_encoder(rows, RERANKERS / reranker, params)
    if is_endpoint:
        return judged_by_endpoint(rows, params, load_params(CollectParams, "collect").endpoint)
    return rows


def next_step(sheet: Path) -> str:
    """Says how a person judges the sheet."""
    return f"write yes, no or ? into its column is_answer, from the top, as far as you like; then: attune judge {sheet}"
