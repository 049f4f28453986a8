"""Parameters of stage train, and the combinations of them that cannot work."""

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, field_validator

from attune.encoding import encoders
from attune.encoding.launch import SharedParams
from attune.errors import BadInput
from attune.stage import named

IN_PARTS = ("cached_mnrl", "gist")  # losses that can embed a batch in parts
SYMMETRIC = ("mnrl", "cached_mnrl")  # losses that have a direction from document to query
NEEDS_NEGATIVES = ("triplet", "contrastive")
# epochs: auto. Four passes; more where they are fewer steps than training takes to warm up, fewer where they take hours
EPOCHS, MOST_EPOCHS = 4, 15
LEAST_STEPS, MOST_STEPS = 60, 2000
# n_dev_documents: auto. As many documents as an evaluation can encode for a part of what training costs
DOCUMENTS_PER_ROW = 0.4  # sampled documents per row that training embeds, over all epochs ...
LEAST_DOCUMENTS, MOST_DOCUMENTS = 500, 2000  # ... within these bounds
# n_evaluations: auto. Four, and fewer in short runs: each encodes dev at every share, which costs more than few steps
EVALUATIONS, LEAST_STEPS_BETWEEN = 4, 20
LEAST_REACHABLE = 0.5  # hard_negatives: auto. Share of negatives that other rows must hold, for batches to have them

Seed = Annotated[int, Field(ge=0, lt=2**32)]
Dimension = Annotated[int, Field(ge=1)]


class TrainParams(SharedParams):
    """Parameters of stage train; params.yaml and advanced.yaml explain each.

    `runs` gives those of one seed's run, whose `seed` and `precision` are resolved.
    """

    seeds: list[Seed] = Field(min_length=1)
    loss: Literal["mnrl", "cached_mnrl", "gist", "triplet", "contrastive"]
    epochs: Literal["auto"] | Annotated[int, Field(ge=0, le=100)]
    max_steps: int = Field(ge=0)
    max_pairs_per_query: int = Field(ge=0)
    batch_size: int = Field(ge=2, le=65536)
    hard_negatives: Literal["auto", "rows", "batch"]
    mini_batch_size: int = Field(ge=0, le=65536)
    learning_rate: Literal["auto"] | Annotated[float, Field(gt=0, le=1)]
    warmup_share: float = Field(ge=0, lt=1)
    weight_decay: float = Field(ge=0, le=1)
    scale: float = Field(gt=0, le=1000)
    symmetric: bool
    guide_margin: float = Field(ge=0, lt=1)
    guide_same_side: bool
    triplet_margin: float = Field(gt=0, le=2)
    contrastive_margin: float = Field(gt=0, le=2)
    matryoshka_dims: list[Dimension]
    lora_rank: int = Field(ge=0, le=1024)
    lora_alpha: float = Field(gt=0, le=4096)
    dropout: float = Field(ge=0, lt=1)
    general: str = Field(min_length=1)
    typed_query_share: float = Field(ge=0, le=1)
    other_form_share: float = Field(ge=0, le=1)
    general_share: float = Field(ge=0, le=0.9)
    distill_weight: float = Field(ge=0, le=1000)
    distill_batch_size: int = Field(ge=1, le=65536)
    n_dev_documents: Literal["auto"] | Annotated[int, Field(ge=0)]
    n_evaluations: Literal["auto"] | Annotated[int, Field(ge=1, le=100)]
    patience: int = Field(ge=1, le=1000)
    shares: list[Annotated[float, Field(gt=0, le=1)]] = Field(max_length=100)

    @property
    def scored_shares(self) -> list[float]:
        """Shares of a checkpoint's weights that dev scores, ascending; all of them (1) is one."""
        return sorted({*self.shares, 1.0})

    @field_validator("seeds", "matryoshka_dims")
    @classmethod
    def _none_twice(cls, values: list[int]) -> list[int]:
        if len(set(values)) < len(values):
            raise ValueError("expected none of them twice; remove the second one")
        return values

    def runs(self, base: Path) -> dict[int, Self]:
        """Returns the parameters of each seed's run: one seed, and fp32 or bf16 in place of auto.

        Args:
            base: folder of the base encoder, which may say that it needs fp32.
        """
        precision = encoders.precision_of(base, self.machine.precision)
        machine = self.machine.model_copy(update={"precision": precision})
        return {seed: self.model_copy(update={"seeds": [seed], "machine": machine}) for seed in self.seeds}

    def n_epochs(self, n_batches: int) -> int:
        """Returns the passes over the rows: `epochs`, or by `auto` as many as suit their number.

        Args:
            n_batches: batches per epoch.
        """
        if self.epochs != "auto":
            return self.epochs
        least, most = -(-LEAST_STEPS // n_batches), MOST_STEPS // n_batches
        return min(max(min(EPOCHS, most), least, 1), MOST_EPOCHS)

    def n_steps(self, n_batches: int) -> int:
        """Returns the number of steps of a run that nothing stops early.

        Args:
            n_batches: batches per epoch.
        """
        n_steps = self.n_epochs(n_batches) * n_batches
        return min(n_steps, self.max_steps) if self.max_steps else n_steps

    def n_sampled_documents(self, n_batches: int) -> int:
        """Returns how many documents dev is searched in beside its own; by `auto` as many as the run's length allows.

        An evaluation encodes them at every share. Where pairs are few, a sample of 2,000 would cost ten times as much
        as training itself.

        Args:
            n_batches: batches per epoch.
        """
        if self.n_dev_documents != "auto":
            return self.n_dev_documents
        n_rows = self.n_steps(n_batches) * self.batch_size
        return min(max(round(DOCUMENTS_PER_ROW * n_rows), LEAST_DOCUMENTS), MOST_DOCUMENTS)

    def n_evaluations_in(self, n_steps: int) -> int:
        """Returns the most evaluations on dev after the start of a run; by `auto` fewer in a short one."""
        if self.n_evaluations != "auto":
            return self.n_evaluations
        return max(1, min(EVALUATIONS, n_steps // LEAST_STEPS_BETWEEN))

    @property
    def seed(self) -> int:
        """Seed of the run; of several runs, the first one's."""
        return self.seeds[0]

    @property
    def precision(self) -> str:
        """Number format of matrix products: fp32 or bf16 (auto before `runs` has resolved it)."""
        return self.machine.precision

    def takes_negatives_from_batch(self, reachable_share: float) -> bool:
        """Says if hard negatives come from other rows of the batch, and not with their own row.

        Args:
            reachable_share: of the rows' negatives, 0 to 1, that are the positive of another row.
        """
        if self.hard_negatives == "auto":
            return self.loss not in NEEDS_NEGATIVES and reachable_share >= LEAST_REACHABLE
        return self.hard_negatives == "batch"

    @property
    def needs_base(self) -> bool:
        """Says if the frozen base encoder takes part in training, as guide or as teacher."""
        return self.loss == "gist" or self.distill_weight > 0

    @property
    def needs_general_text(self) -> bool:
        """Says if general text takes part in training, as rows or for distillation."""
        return self.general_share > 0 or self.distill_weight > 0


def check_combinations(params: TrainParams, n_negatives: int) -> None:
    """Refuses combinations of parameters that cannot work, before any encoder is loaded.

    Args:
        params: the parameters.
        n_negatives: number of negatives of each training row.

    Raises:
        BadInput: one line per problem.
    """
    loss, parts = params.loss, params.mini_batch_size
    problems: list[tuple[str, str]] = []
    if loss == "cached_mnrl" and not parts:
        line = "got 0, but train.loss cached_mnrl embeds in parts; set it to 32, say"
        problems.append(("train.mini_batch_size", line))
    if parts and loss not in IN_PARTS:
        line = f"got {parts}, but train.loss {loss} embeds whole batches; set it to 0, or the loss to one of "
        problems.append(("train.mini_batch_size", line + ", ".join(IN_PARTS)))
    if params.symmetric and loss not in SYMMETRIC:
        line = f"got true, but train.loss {loss} has one direction; set it to false, or the loss to one of "
        problems.append(("train.symmetric", line + ", ".join(SYMMETRIC)))
    if loss in NEEDS_NEGATIVES and not n_negatives:
        problems.append(
            ("train.loss", f"got {loss}, but the rows have no negatives; set mine.n_negatives to 1 or more")
        )
    if loss in NEEDS_NEGATIVES and params.hard_negatives == "batch":
        line = f"got batch, but train.loss {loss} compares a row with its own negatives; set it to rows or auto"
        problems.append(("train.hard_negatives", line))
    if loss == "gist" and n_negatives > 1 and not parts:
        line = f"got gist, but the rows have {n_negatives} negatives, and without parts it takes 1 at most; "
        problems.append(("train.loss", line + "set train.mini_batch_size to 32, say, or mine.n_negatives to 1"))
    shared = {"batch_size": params.batch_size} | (
        {"distill_batch_size": params.distill_batch_size} if params.distill_weight else {}
    )
    problems += [
        (
            "train.processes",
            f"got {params.processes}, expected at most train.{name} ({size}), of which each takes a part",
        )
        for name, size in shared.items()
        if size < params.processes
    ]
    if problems:
        raise BadInput(*(f"{named(key)}: {problem}" for key, problem in problems))


def check_dimensions(params: TrainParams, dimension: int) -> None:
    """Refuses Matryoshka dimensions that are not smaller than the encoder's.

    Raises:
        BadInput: one of them is as large as the whole embedding, or larger.
    """
    if too_large := [dim for dim in params.matryoshka_dims if dim >= dimension]:
        raise BadInput(
            f"{named('train.matryoshka_dims')}: got {too_large[0]}, expected less than the encoder's {dimension} "
            "dimensions, which are trained anyway; leave it out"
        )
