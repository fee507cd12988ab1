"""What `fit` takes for a loss, and what its value is."""

from typing import Any

import pyro.infer
import torch
from pyro.infer import ELBO, TraceTailAdaptive_ELBO
from torch import Tensor

from pyro_vae.factors import with_weights
from pyro_vae.inference.terms import Function

from .estimator import Estimator, describes_formula

__all__ = ["check_has_value", "check_loss", "has_value", "is_linear", "judged_by", "total_of"]


_PYROS_LINEAR = {
    pyro.infer.JitTrace_ELBO,
    pyro.infer.JitTraceMeanField_ELBO,
    pyro.infer.TraceGraph_ELBO,
    pyro.infer.TraceMeanField_ELBO,
    pyro.infer.Trace_ELBO,
}


def check_loss(loss: Any) -> None:
    """Refuses what is neither an estimator nor a function.

    Raises:
        ValueError: If it is a text or another value.
    """
    if isinstance(loss, str):
        name = loss.partition("(")[0]
        call = loss if "(" in loss else f"{loss}()"
        raise ValueError(
            f"the loss is the text {loss!r}; give the estimator itself, such as loss={call} after "
            f"`from pyro_vae.inference import {name}`"
        )
    if not isinstance(loss, ELBO) and not callable(loss):
        raise ValueError(
            f"the loss is {loss!r:.80}, but must be an estimator, such as Trace_ELBO(), or a "
            "function of (model, guide, *args)"
        )


def has_value(loss: Any) -> bool:
    """Whether a loss is more than its gradient: TraceTailAdaptive_ELBO reports infinity."""
    return not isinstance(loss, TraceTailAdaptive_ELBO)


def check_has_value(loss: Any) -> None:
    """Refuses to choose the best epoch by a loss that has a gradient alone."""
    if not has_value(loss):
        raise ValueError(
            f"{type(loss).__name__} has a gradient but no value, so it cannot judge validation "
            "data; leave valid out, or train with RenyiELBO, whose value it can"
        )


def judged_by(loss: Any, model: Function, guide: Function, *args: Any) -> Tensor:
    """The value of a loss where a program is judged: an ELBO's without training factors."""
    if not isinstance(loss, ELBO):
        return total_of(loss(model, guide, *args))
    model, guide = (with_weights(function, {}, 0.0) for function in (model, guide))
    return total_of(loss.loss(model, guide, *args))


def is_linear(loss: ELBO) -> bool:
    """Whether an ELBO is linear in the model's log densities; of Pyro's, those that are known."""
    if isinstance(loss, Estimator):
        return loss.is_linear and describes_formula(loss, "is_linear")
    return type(loss) in _PYROS_LINEAR


def total_of(value: Any) -> Tensor:
    """A loss as one number: what is descended of several, as of Pyro's ReweightedWakeSleep."""
    if isinstance(value, tuple | list):
        value = torch.stack([torch.as_tensor(part) for part in value])
    value = torch.as_tensor(value).as_subclass(Tensor)
    return value.sum() if value.dim() else value
