"""Losses that are not finite end a training, with the reason; the parameters stay as they were.

It is judged here for every way in which a step may run. The one exception is a compiled graph that
takes the optimizer's step too: it judges its own value, and takes the step only if that is finite.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves

from pyro_vae.inference.terms import explain_nonfinite

from .objective import Objective

__all__ = ["check_finite", "check_finite_epoch"]

# On a GPU to look at a loss is to wait for it, so that only every 100th step does.
_GPU_LOOKS_EACH = 100


def check_finite(
    objective: Objective,
    loss: Any,
    step: int,
    parameters: Mapping[str, Tensor],
    args: Any,
    kwargs: Any,
) -> None:
    """Refuses the loss of a step, before its update, if it is not finite.

    Args:
        objective: What the loss is of.
        loss: A tensor, a number, or a tuple of such.
        step: How many steps were taken before.
        parameters: By name, to look for the reason in.
        args: Positional arguments of model and guide, to look for the reason with.
        kwargs: Keyword arguments of both.

    Raises:
        FloatingPointError: If it is not, with the step, and the parameter or site that it is from.
    """
    if not objective.has_value:
        return
    for part in (loss,) if isinstance(loss, Tensor) else tree_leaves(loss):
        part = torch.as_tensor(part)
        on_cpu = part.device.type == "cpu"
        if not on_cpu and step % _GPU_LOOKS_EACH:
            continue
        # For one number Python's test is the quicker one, which a step of 1 ms feels.
        if math.isfinite(part.item()) if part.numel() == 1 else part.isfinite().all():
            continue
        why = explain_nonfinite(objective.model, objective.guide, parameters, args, kwargs)
        if not on_cpu and step:
            why += "; the parameters may be spoilt, as only every 100th step looks on a GPU"
        raise FloatingPointError(f"the loss is {part.tolist()} at step {step}: {why}")


def check_finite_epoch(losses: Sequence[Tensor], steps: int) -> None:
    """Refuses what single steps have not looked at, which on a GPU are 99 of 100.

    Args:
        losses: Of the steps of an epoch.
        steps: How many steps were taken at its end.
    """
    if not losses or torch.stack([*losses]).isfinite().all():
        return
    finite = torch.stack([*losses]).isfinite().tolist()
    step = steps - len(losses) + finite.index(False)
    raise FloatingPointError(
        f"the loss is {losses[finite.index(False)].item()} at step {step}, and the parameters may "
        "be spoilt since; a lower learning rate or clip_norm helps"
    )
