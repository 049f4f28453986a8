"""LoRA: only small matrices beside the linear layers are trained (Hu et al. 2021, arXiv 2106.09685), by peft.

Of each evaluated checkpoint the weights are kept with the matrices merged in, so the saved model is an ordinary
encoder. While training weights have peft's names, also in the trainer's checkpoints; the trainer cannot load these, so
`LoraTrainer` does.
"""

from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig
from peft.tuners.lora import LoraLayer, LoraModel
from safetensors.torch import load_file, save_file
from sentence_transformers import SentenceTransformer, SentenceTransformerTrainer

from attune.errors import BadInput
from attune.stage import named
from attune.tuning.training.recipe import TrainParams

ADAPTER = "default"
WEIGHTS = "model.safetensors"  # of a checkpoint


class LoraTrainer(SentenceTransformerTrainer):
    """Trainer of an encoder with adapters; its checkpoints hold the transformer's weights under the module's own names.

    transformers would save those of some architectures (nomic_bert) under the names of their published files, and
    reads them back for an encoder without adapters only.
    """

    def _save(self, output_dir: str | None = None, state_dict: Any = None) -> None:  # noqa: ANN401
        super()._save(output_dir, state_dict)
        weights = self.model.transformers_model.state_dict()  # some are views of one tensor, which the file cannot hold
        file = Path(output_dir or self.args.output_dir) / WEIGHTS
        save_file({name: value.detach().cpu().clone().contiguous() for name, value in weights.items()}, file)

    def _load_from_checkpoint(self, checkpoint_path: str) -> None:
        self.model.transformers_model.load_state_dict(load_file(Path(checkpoint_path) / WEIGHTS))


def add_adapters(model: SentenceTransformer, params: TrainParams) -> LoraModel:
    """Freezes the encoder and puts adapters beside all its linear layers (Dettmers et al. 2023, arXiv 2305.14314).

    The adapters' first values come from the run's seed; they change no embedding until the first step.

    Raises:
        BadInput: the encoder has no linear layers.
    """
    model.requires_grad_(False)
    config = LoraConfig(
        r=params.lora_rank,
        lora_alpha=params.lora_alpha,
        lora_dropout=params.dropout,
        target_modules="all-linear",
        bias="none",
    )
    with torch.random.fork_rng():
        torch.manual_seed(params.seed)
        try:
            return LoraModel(model.transformers_model, config, ADAPTER)
        except ValueError as error:
            raise BadInput(
                f"{named('train.lora_rank')}: got {params.lora_rank}, but peft cannot adapt this encoder "
                f"({error}); set it to 0"
            ) from None


def plain_weights(model: SentenceTransformer) -> dict[str, torch.Tensor]:
    """Returns the encoder's weights with the adapters merged in, under the names that it has without adapters."""
    layers = {name: module for name, module in model.named_modules() if isinstance(module, LoraLayer)}
    weights = {
        name.replace(".base_layer.", "."): value for name, value in model.state_dict().items() if ".lora_" not in name
    }
    for name, layer in layers.items():
        key = f"{name}.weight"
        weights[key] = weights[key] + layer.get_delta_weight(ADAPTER)
    return weights
