"""What `SVI` minimizes: an estimator of ours, an ELBO of Pyro's, or a function, under one face."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import pyro.infer
import torch
from pyro.infer import ELBO
from torch import Tensor

from pyro_vae.inference.estimators import Estimator, Trace_ELBO, TraceMeanField_ELBO
from pyro_vae.inference.terms import Function, Latent, Terms, log_density_of_point

__all__ = ["Objective"]

Loss = Any  # a tensor, a number, or a tuple of such

# Pyro's ELBOs whose `differentiable_loss` is that of their `loss_and_grads`. TraceEnum_ELBO's
# refuses a loss without a gradient.
_DIFFERENTIABLE = {
    pyro.infer.Trace_ELBO,
    pyro.infer.TraceMeanField_ELBO,
    pyro.infer.Trace_MMD,
}
_PLAIN = {
    pyro.infer.JitTrace_ELBO: pyro.infer.Trace_ELBO,
    pyro.infer.JitTraceMeanField_ELBO: pyro.infer.TraceMeanField_ELBO,
    pyro.infer.JitTraceEnum_ELBO: pyro.infer.TraceEnum_ELBO,
    pyro.infer.JitTraceGraph_ELBO: pyro.infer.TraceGraph_ELBO,
}


class _PyrosMeanField(TraceMeanField_ELBO):
    """Ours as Pyro has it: without the density of points, and for any order of sampling."""

    def kl(self, latent: Latent) -> Tensor:
        density = log_density_of_point(latent.q)
        kl = latent.kl()
        return kl - latent.reduce(density) if isinstance(density, Tensor) else kl

    def check(self, t: Terms) -> None:
        """Refuses nothing, as Pyro."""


_OURS = {
    pyro.infer.Trace_ELBO: Trace_ELBO,
    pyro.infer.TraceMeanField_ELBO: _PyrosMeanField,
}


@dataclass
class Objective:
    """A loss with its gradient, for a model and its guide.

    Args:
        model: The model.
        guide: Its guide.
        loss: What was given: an `Estimator`, an ELBO of Pyro's, or a function of (model, guide,
            *args) that returns a loss.
        gradients: A function of (model, guide, *args) that returns the loss and adds its gradient
            to the parameters; None where the loss itself is to be differentiated.
    """

    model: Function
    guide: Function
    loss: Any
    gradients: Callable[..., Loss] | None = None

    def __post_init__(self) -> None:
        self._loss = _plain(self.loss)
        if self.gradients is None and isinstance(self._loss, ELBO) and not self.differentiable:
            self.gradients = self._loss.loss_and_grads

    @property
    def differentiable(self) -> bool:
        """Whether the loss is a tensor that knows its gradient, and calls backward nowhere."""
        if self.gradients is not None:
            return False
        if isinstance(self._loss, Estimator) or not isinstance(self._loss, ELBO):
            return True
        return type(self._loss) in _DIFFERENTIABLE

    def for_graphs(self) -> "Objective":
        """The same with our estimator for Pyro's, which waits for numbers."""
        return replace(self, loss=_ours(self._loss)) if self.gradients is None else self

    def schedules(self) -> dict[str, Callable[[int], float]]:
        """What changes from step to step, by name."""
        return self._loss.schedules() if isinstance(self._loss, Estimator) else {}

    def weights(self, step: int) -> dict[str, float]:
        """The values of the schedules at a step."""
        return {name: schedule(step) for name, schedule in self.schedules().items()}

    @property
    def state(self) -> Any:
        """The tensors that a run itself changes."""
        return self._loss.state if isinstance(self._loss, Estimator) else ()

    def value(self, args: Any, kwargs: Any, weights: Mapping[str, Any]) -> Loss:
        """The loss, with its gradient where it is differentiable.

        Args:
            args: Positional arguments of model and guide.
            kwargs: Keyword arguments of both.
            weights: The values of the schedules.
        """
        loss = self._loss
        if isinstance(loss, Estimator):
            self._loss = loss = loss.prepared(self.model, self.guide, *args, **kwargs)
            loss = loss.with_values(weights)
        if self.differentiable and isinstance(loss, ELBO):
            return loss.differentiable_loss(self.model, self.guide, *args, **kwargs)
        value = loss.loss if isinstance(loss, ELBO) else loss
        return value(self.model, self.guide, *args, **kwargs)

    def add_gradients(self, args: Any, kwargs: Any) -> Loss:
        """The loss, where its own function adds its gradient to the parameters."""
        model = self.model
        if isinstance(self._loss, ELBO):
            model = _with_a_param_site(model)
        return self.gradients(model, self.guide, *args, **kwargs)  # type: ignore[misc]


def _plain(loss: Any) -> Any:
    """For an ELBO that torch's old tracer would compile, the same without: `compile` does better.

    That one is not supported by torch any more.
    """
    if type(loss) not in _PLAIN:
        return loss
    plain = _PLAIN[type(loss)]()
    vars(plain).update({name: vars(loss)[name] for name in vars(plain) if name in vars(loss)})
    return plain


def _ours(loss: Any) -> Any:
    if type(loss) not in _OURS:
        return loss
    vectorized = loss.vectorize_particles and loss.num_particles > 1
    nesting = loss.max_plate_nesting - 1 if vectorized else loss.max_plate_nesting
    return _OURS[type(loss)](loss.num_particles, nesting, loss.vectorize_particles)


def _with_a_param_site(model: Function) -> Function:
    """Gives plain modules what some of Pyro's ELBOs ask for before they call backward."""

    def with_a_param_site(*args: Any, **kwargs: Any) -> Any:
        message = pyro.poutine.runtime.effectful(type="param")(lambda *_, **__: torch.zeros(()))
        message(_NO_PARAMETER, name=_NO_PARAMETER)
        return model(*args, **kwargs)

    return with_a_param_site


_NO_PARAMETER = "a param site"
