"""The knobs of one training run, and the combinations of them that cannot work."""

from dataclasses import dataclass

from attune.errors import BadInput

CACHED = ("cached_mnrl", "gist")  # losses that can embed a batch in parts
SYMMETRIC = ("mnrl", "cached_mnrl")  # losses that have a direction from document to query
NEEDS_NEGATIVES = ("triplet", "contrastive")


@dataclass(frozen=True)
class Recipe:
    """The knobs of one run, as params.yaml explains them; `precision` is resolved, `seed` is one of `seeds`."""

    seed: int
    loss: str
    epochs: int
    batch_size: int
    mini_batch_size: int
    learning_rate: float
    warmup_share: float
    weight_decay: float
    scale: float
    symmetric: bool
    guide_margin: float
    guide_same_side: bool
    triplet_margin: float
    contrastive_margin: float
    matryoshka_dims: tuple[int, ...]
    lora_rank: int
    lora_alpha: float
    dropout: float
    general_share: float
    distill_weight: float
    distill_batch_size: int
    n_evaluations: int
    patience: int
    keep: str
    precision: str

    @property
    def is_guided(self) -> bool:
        """Whether the frozen base encoder takes part in the training."""
        return self.loss == "gist" or self.distill_weight > 0

    @property
    def reads_general_text(self) -> bool:
        """Whether general text takes part in the training."""
        return self.general_share > 0 or self.distill_weight > 0


def check(recipe: Recipe, n_negatives: int, n_processes: int) -> None:
    """Refuses what cannot work, before any encoder is loaded.

    Args:
        recipe: the knobs.
        n_negatives: how many negatives each training row has.
        n_processes: how many share each batch.

    Raises:
        BadInput: one line per problem.
    """
    loss, parts = recipe.loss, recipe.mini_batch_size
    problems = []
    if loss == "cached_mnrl" and not parts:
        problems.append("train.mini_batch_size: got 0, but train.loss cached_mnrl embeds in parts; set it to 32, say")
    if parts and loss not in CACHED:
        problems.append(
            f"train.mini_batch_size: got {parts}, but train.loss {loss} embeds whole batches; "
            f"set it to 0, or the loss to one of {', '.join(CACHED)}"
        )
    if recipe.symmetric and loss not in SYMMETRIC:
        problems.append(
            f"train.symmetric: got true, but train.loss {loss} has one direction; "
            f"set it to false, or the loss to one of {', '.join(SYMMETRIC)}"
        )
    if loss in NEEDS_NEGATIVES and not n_negatives:
        problems.append(f"train.loss: got {loss}, but the rows have no negatives; set mine.n_negatives to 1 or more")
    if loss == "gist" and n_negatives > 1 and not parts:
        problems.append(
            f"train.loss: got gist, but the rows have {n_negatives} negatives, and without parts it takes 1 at most; "
            "set train.mini_batch_size to 32, say, or mine.n_negatives to 1"
        )
    shared = {"batch_size": recipe.batch_size} | (
        {"distill_batch_size": recipe.distill_batch_size} if recipe.distill_weight else {}
    )
    problems += [
        f"train.processes: got {n_processes}, expected at most train.{name} ({size}), of which each takes a part"
        for name, size in shared.items()
        if size < n_processes
    ]
    if problems:
        raise BadInput(*(f"params.yaml: {problem}" for problem in problems))


def check_dimensions(recipe: Recipe, dimension: int) -> None:
    """Refuses Matryoshka dimensions that an encoder of this dimension has not got.

    Raises:
        BadInput: one of them is as large as the whole embedding, or larger.
    """
    if too_large := [dim for dim in recipe.matryoshka_dims if dim >= dimension]:
        raise BadInput(
            f"params.yaml: train.matryoshka_dims: got {too_large[0]}, expected less than the encoder's {dimension} "
            "dimensions, which are trained anyway; leave it out"
        )
