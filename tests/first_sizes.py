"""Sizes of the first calls of MKL's vector functions, which several threads must not make at once."""

from collections.abc import Callable
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from attune.encoding.torch_threads import VECTOR_FUNCTIONS

NAMES = {function.__name__ for function in VECTOR_FUNCTIONS}


class FirstSizes(TorchDispatchMode):
    """Records, while it is entered, with how many numbers each function is called first, by name and dtype."""

    def __init__(self) -> None:
        super().__init__()
        self.sizes: dict[tuple[str, torch.dtype], int] = {}

    def __torch_dispatch__(
        self,
        func: Callable[..., Any],
        types: object,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """Calls the operator as it is."""
        name = func.__name__.split(".")[0].removesuffix("_")
        if name in NAMES:
            self.sizes.setdefault((name, args[0].dtype), args[0].numel())
        return func(*args, **(kwargs or {}))
