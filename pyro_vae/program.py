"""Programs: any object with `model(x)` and `guide(x)`, and what one learns by looking at them."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from .modules import in_evaluation_mode, modules_of
from .parameters import own_parameters

__all__ = [
    "Program",
    "ProgramModule",
    "device_of",
    "evaluating",
    "in_evaluation_mode",
    "modules_of",
]

Function = Callable[..., Any]
ProgramModule = Any  # an nn.Module that is a Program; types have no "and"


@runtime_checkable
class Program(Protocol):
    """A generative model and its amortized guide, two Pyro functions of a batch of data.

    Both may take labels too, as `model(x, y)` or `model(x, y=None)`; see `pyro_vae.arguments`.
    """

    def model(self, x: Tensor) -> Any:
        """Samples p(x, z), with `x` observed."""

    def guide(self, x: Tensor) -> Any:
        """Samples q(z | x)."""


def device_of(program: Program) -> torch.device:
    """Where a program's first parameter or buffer lives."""
    modules = modules_of(program.model, program.guide).values()
    tensors = (t for module in modules for t in (*module.parameters(), *module.buffers()))
    return next((tensor.device for tensor in tensors), torch.device("cpu"))


@contextmanager
def evaluating(program: Program) -> Iterator[None]:
    """Runs a program in evaluation mode and without gradients."""
    with (
        torch.no_grad(),
        in_evaluation_mode(modules_of(program.model, program.guide).values()),
        own_parameters(program.model, program.guide),
    ):
        yield
