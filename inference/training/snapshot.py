"""Copies of what a training changes: the parameters, and buffers such as BatchNorm's."""

from collections.abc import Iterator, Mapping

import pyro
import torch
from torch import Tensor
from torch.nn.parameter import is_lazy

from pyro_vae.frozen import frozen_tensors
from pyro_vae.program import Program, modules_of

from .svi import SVI

__all__ = ["put_back", "snapshot"]


def snapshot(program: Program, svi: SVI) -> dict[str, Tensor]:
    """The values of what was trained so far, by name."""
    trained = {id(parameter) for parameter in svi.parameters.values()}
    return {
        name: tensor.detach().clone()
        for name, tensor in _tensors(program)
        if id(tensor) in trained or not tensor.requires_grad
    }


@torch.no_grad()
def put_back(program: Program, values: Mapping[str, Tensor]) -> None:
    """Gives the program the values of a snapshot."""
    for name, tensor in _tensors(program):
        if name in values:
            tensor.copy_(values[name])


def _tensors(program: Program) -> Iterator[tuple[str, Tensor]]:
    """The parameters and buffers of the program's modules, and of Pyro's store what is trained.

    What is frozen is left out: it stays as it is, and may be large.
    """
    for module_name, module in modules_of(program.model, program.guide).items():
        frozen = frozen_tensors(module)
        for name, tensor in (*module.named_parameters(), *module.named_buffers()):
            if not is_lazy(tensor) and id(tensor) not in frozen:
                yield f"{module_name}/{name}", tensor
    for name, tensor in pyro.get_param_store().named_parameters():
        if tensor.requires_grad:
            yield f"param {name}", tensor
