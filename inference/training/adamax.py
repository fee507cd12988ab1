"""The steps of many Adamaxes as one call, since Pyro makes one for each parameter.

With 200 tensors their own steps take three times as long, for torch's Python around each. The call
is the one that each makes itself, with the same kernels in the same order, so that no bit changes.
"""

from collections.abc import Iterable, Mapping
from operator import itemgetter
from typing import Any

import torch
from torch import Tensor
from torch.optim import Adamax, Optimizer
from torch.optim.adamax import adamax

__all__ = ["step_together"]

_STATE = ("exp_avg", "exp_inf", "step")
_OTHERWISE = ("foreach", "capturable", "differentiable")  # ways of stepping, left to torch
_settings = itemgetter("lr", "betas", "eps", "weight_decay", "maximize")


@torch.no_grad()
def step_together(optimizers: Iterable[Optimizer]) -> None:
    """Does `step()` of each optimizer, that of plain Adamaxes on CPUs by one call.

    Args:
        optimizers: None of whose steps is watched, by a hook or a scheduler.
    """
    batches: dict[Any, list[tuple[Tensor, ...]]] = {}
    for optimizer in optimizers:
        rows = [_rows(optimizer, group) for group in optimizer.param_groups]
        if any(of_group is None for of_group in rows):
            optimizer.step()
            continue
        for group, of_group in zip(optimizer.param_groups, rows, strict=True):
            if of_group:
                batches.setdefault(_settings(group), []).extend(of_group)
    for (lr, (beta1, beta2), eps, weight_decay, maximize), batch in batches.items():
        parameters, gradients, averages, largest, steps = map(list, zip(*batch, strict=True))
        adamax(
            parameters,
            gradients,
            averages,
            largest,
            steps,
            foreach=False,
            eps=eps,
            beta1=beta1,
            beta2=beta2,
            lr=lr,
            weight_decay=weight_decay,
            maximize=maximize,
        )


def _rows(optimizer: Optimizer, group: Mapping[str, Any]) -> list[tuple[Tensor, ...]] | None:
    """Each parameter with its gradient and state; None at the start, or of another kind."""
    if type(optimizer) is not Adamax or not isinstance(group["lr"], float):
        return None
    if any(group[way] for way in _OTHERWISE):
        return None
    rows: list[tuple[Tensor, ...]] = []
    for parameter in group["params"]:
        gradient, state = parameter.grad, optimizer.state.get(parameter)
        if gradient is None:
            continue
        plain = parameter.is_cpu and not parameter.is_complex() and not gradient.is_sparse
        if not plain or not state:
            return None
        rows.append((parameter, gradient, *(state[name] for name in _STATE)))
    return rows
