"""Threads of torch, and MKL's vector functions, which must not be called first by several threads at once.

torch leaves square roots, exponentials and the like to MKL, where each thread computes its share of the numbers. MKL
looks for the processor's version of a function when it is first called. In the MKL that torch 2.13 is built with
(2024.2), threads that call a function first at the same moment may get a version of low accuracy, for this one call
(github.com/pytorch/pytorch/issues/188792): the first step of an optimizer then differs between equal runs, now and
then. A first call on one thread gives the right version to all later ones.
"""

import torch

# all functions that torch leaves to MKL, in aten/src/ATen/cpu/vml.h
VECTOR_FUNCTIONS = (
    *(torch.acos, torch.asin, torch.atan, torch.cos, torch.erf, torch.erfc, torch.erfinv, torch.exp),
    *(torch.log, torch.log10, torch.log2, torch.sin, torch.sqrt, torch.tan, torch.tanh, torch.trunc),
)
DTYPES = torch.float32, torch.float64  # torch computes those of 16 bits by itself


def set_torch_threads(threads: int) -> None:
    """Sets the number of torch's threads, and calls each vector function once, with one number and so on one thread."""
    torch.set_num_threads(threads)
    for dtype in DTYPES:
        number = torch.tensor([0.5], dtype=dtype)
        for function in VECTOR_FUNCTIONS:
            function(number)
