"""Copies of what a training changes: the parameters, and buffers such as BatchNorm's."""

from collections.abc import Iterator, Mapping
from typing import Any

import pyro
import torch
from torch import Tensor
from torch.nn.parameter import is_lazy

from pyro_vae.frozen import frozen_tensors
from pyro_vae.inference.estimators import Estimator
from pyro_vae.program import Program, modules_of

from .svi import SVI

__all__ = ["put_back", "snapshot"]


def snapshot(program: Program, svi: SVI) -> dict[str, Tensor]:
    """The values of what was trained so far, by name; the estimator's modules among them."""
    trained = {id(parameter) for parameter in svi.parameters.values()}
    return {
        name: tensor.detach().clone()
        for name, tensor in _tensors(program, svi.estimator)
        if id(tensor) in trained or not tensor.requires_grad
    }


@torch.no_grad()
def put_back(program: Program, loss: Any, values: Mapping[str, Tensor]) -> None:
    """Gives the program, and the modules of its estimator, the values of a snapshot."""
    for name, tensor in _tensors(program, loss):
        if name in values:
            tensor.copy_(values[name])


def _tensors(program: Program, loss: Any) -> Iterator[tuple[str, Tensor]]:
    """The parameters and buffers of all modules, and of Pyro's store what is trained.

    What is frozen is left out: it stays as it is, and may be large.
    """
    for module_name, module in modules_of(program.model, program.guide).items():
        frozen = frozen_tensors(module)
        for name, tensor in (*module.named_parameters(), *module.named_buffers()):
            if not is_lazy(tensor) and id(tensor) not in frozen:
                yield f"{module_name}/{name}", tensor
    if isinstance(loss, Estimator):
        for name, tensor in loss.state_dict(keep_vars=True).items():
            yield f"estimator/{name}", tensor
    for name, tensor in pyro.get_param_store().named_parameters():
        if tensor.requires_grad:
            yield f"param {name}", tensor
