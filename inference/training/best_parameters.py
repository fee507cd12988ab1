"""Copies of what a training changes: parameters, and buffers such as those of BatchNorm."""

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
    """Copies of the parameters that are trained and of all buffers, by name.

    Those of the estimator's modules are among them.
    """
    trained = {id(parameter) for parameter in svi.parameters.values()}
    return {
        name: tensor.detach().clone()
        for name, tensor in _tensors(program, svi.estimator)
        if id(tensor) in trained or not tensor.requires_grad
    }


@torch.no_grad()
def put_back(program: Program, loss: Any, values: Mapping[str, Tensor]) -> None:
    """Copies the values of a `snapshot` into the program and the modules of its estimator."""
    for name, tensor in _tensors(program, loss):
        if name in values:
            tensor.copy_(values[name])


def _tensors(program: Program, loss: Any) -> Iterator[tuple[str, Tensor]]:
    """The parameters and buffers of all modules, and the parameters in Pyro's store, by name.

    Those of frozen modules are left out: they do not change, and may be large.
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
