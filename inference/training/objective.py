"""What `SVI` minimizes: an estimator of ours, an ELBO of Pyro's, or a function, under one face."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import pyro.infer
import torch
from pyro.infer import ELBO
from torch import Tensor, nn

from pyro_vae.inference.estimators import (
    Estimator,
    Trace_ELBO,
    TraceMeanField_ELBO,
    has_value,
)
from pyro_vae.inference.terms import Function, Latent, Terms, log_density_of_point
from pyro_vae.parameters import leaving_frozen
from pyro_vae.precision import layers_in_bfloat16

from .penalty import WEIGHT, Penalty, one_module
from .trained_parameters import Trained

__all__ = ["Objective"]

Value = Any  # of a loss: a tensor, a number, or a tuple of such

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


class Objective:
    """A loss of a model and its guide, with its gradient: what `SVI` descends.

    One face for an estimator of ours, an ELBO of Pyro's, and a function; graphs are made of it.

    Args:
        model: The model.
        guide: Its guide.
        loss: An `Estimator`, an ELBO of Pyro's, or a function of (model, guide, *args) that returns
            a loss.
        gradients: A function of (model, guide, *args) that returns the loss and adds its gradient
            to the parameters; None where the loss is to be differentiated.
        trained: What is trained, which tells what is frozen.
        penalty: What is added to the gradient that no data tell; the value is without it.
        bfloat16: Whether large layers multiply in bfloat16.
        in_graphs: Whether graphs are to be made of it. Then some ELBOs of Pyro's, which read
            numbers, are computed by ours, which have the same value and gradient.

    Attributes:
        differentiable: Whether `value` has the gradient. If not, `add_gradients` adds it.
        has_value: Whether the loss is more than its gradient.
        schedules: The weights that change from step to step, by name: functions of the step.
    """

    def __init__(
        self,
        model: Function,
        guide: Function,
        loss: Any,
        gradients: Callable[..., Value] | None = None,
        *,
        trained: Trained,
        penalty: Penalty | None = None,
        bfloat16: bool = False,
        in_graphs: bool = False,
    ) -> None:
        self.model, self.guide, self.loss = model, guide, loss
        self._trained, self._bfloat16 = trained, bfloat16
        self.penalty = penalty
        plain = _plain(loss)
        self.has_value = has_value(loss)
        self.differentiable = gradients is None and _is_differentiable(plain)
        self._loss = _ours(plain) if in_graphs and self.differentiable else plain
        if gradients is None and not self.differentiable:
            gradients = plain.loss_and_grads
        self._gradients = gradients
        # Looked up once, and not at every step: an estimator's fields stay the same.
        self.schedules = self._loss.schedules() if isinstance(self._loss, Estimator) else {}
        self.schedules |= penalty.schedules if penalty is not None else {}

    @property
    def refusal(self) -> str | None:
        """Why no graph can be made of it, if none can."""
        name = type(self.loss).__name__
        if isinstance(self._loss, Estimator) and self._loss.in_chunks:
            return f"{name} has a chunk_size, and runs each chunk again for the gradient"
        return None if self.differentiable else f"{name} adds its gradient to the parameters itself"

    @property
    def modules(self) -> dict[str, nn.Module]:
        """The modules of the loss, such as a critic, by names such as "estimator.critic".

        The penalty, which is a module, too, has the name "penalty".
        """
        modules = self._loss.modules if isinstance(self._loss, Estimator) else {}
        penalty = {} if self.penalty is None else {"penalty": self.penalty}
        return {f"estimator.{name}": module for name, module in modules.items()} | penalty

    @property
    def compares_epochs(self) -> bool:
        """Whether an epoch is better than another if its loss is lower."""
        return self.has_value and getattr(self.loss, "compares_epochs", True)

    def weights(self, step: int) -> dict[str, float]:
        """The values of the schedules at a step, by name."""
        return {name: schedule(step) for name, schedule in self.schedules.items()}

    def value(self, args: Any, kwargs: Any, weights: Mapping[str, Any]) -> Value:
        """The loss, with its autograd graph and the penalty's, where it is differentiable.

        Args:
            args: Positional arguments of model and guide.
            kwargs: Keyword arguments of both.
            weights: The values of the schedules.
        """
        return self.penalized(self.loss_of(args, kwargs, weights), weights)

    def loss_of(self, args: Any, kwargs: Any, weights: Mapping[str, Any]) -> Value:
        """The loss, with its own autograd graph where it is differentiable.

        Args:
            args: Positional arguments of model and guide.
            kwargs: Keyword arguments of both.
            weights: The values of the schedules.
        """
        with self._running():
            loss = self._loss
            if isinstance(loss, Estimator):
                self._loss = loss = loss.prepared(self.model, self.guide, *args, **kwargs)
                loss = loss.with_values({n: weights[n] for n in weights if n != WEIGHT})
            if isinstance(loss, ELBO):
                loss = loss.differentiable_loss
            return loss(self.model, self.guide, *args, **kwargs)

    def penalized(self, loss: Value, weights: Mapping[str, Any]) -> Value:
        """The loss with the gradient of loss and penalty; its value is the loss's."""
        if self.penalty is None:
            return loss
        with self._running():
            penalty = self.penalty.weighed(self._program, weights)
        return loss + (penalty - penalty.detach())

    def look_at_penalty(self, step: int) -> dict[str, float]:
        """The penalty of the parameters as they are, weighed, by its name; nothing if none is."""
        if self.penalty is None:
            return {}
        with self._running():
            return {"penalty": self.penalty.look(self._program, self.weights(step))}

    def backward(self, value: Tensor, trained: Iterable[Tensor], *, alone: bool = False) -> None:
        """Adds the gradient of a value to the parameters.

        Args:
            value: As `penalized` returns it.
            trained: The parameters that are trained, and alone get a gradient where there is a
                penalty, which may depend on others.
            alone: Whether these alone get a gradient in any case.
        """
        inputs = list(trained) if alone or self.penalty is not None else None
        if value.requires_grad and inputs != []:
            with self._running():  # an estimator in chunks runs the program once more
                retain = getattr(self.loss, "retain_graph", None)
                value.backward(retain_graph=retain, inputs=inputs)

    def add_gradients(self, args: Any, kwargs: Any) -> Value:
        """The loss; its gradient is added to the parameters by a function of its own."""
        model = _with_a_param_site(self.model) if isinstance(self.loss, ELBO) else self.model
        with self._running():
            return self._gradients(model, self.guide, *args, **kwargs)  # type: ignore[misc]

    @torch.no_grad()
    def evaluate(self, args: Any, kwargs: Any, step: int) -> Value:
        """The loss at a step, without its gradient."""
        if isinstance(self.loss, ELBO) and not isinstance(self.loss, Estimator):
            with self._running():
                return self.loss.loss(self.model, self.guide, *args, **kwargs)
        return self.loss_of(args, kwargs, self.weights(step))

    def loss_and_grads(self, model: Function, guide: Function, *args: Any, **kwargs: Any) -> Any:
        """What Pyro's `SVI` calls by this name: the loss, its gradient added to the parameters."""
        if self._gradients is not None:
            return self._gradients(model, guide, *args, **kwargs)
        if isinstance(self.loss, ELBO):
            return self.loss.loss_and_grads(model, guide, *args, **kwargs)
        value = self.loss(model, guide, *args, **kwargs)
        if getattr(value, "requires_grad", False):
            value.backward(retain_graph=True)
        return value

    @property
    def _program(self) -> nn.Module:
        """The modules of model and guide, which a penalty is a function of."""
        return one_module(self.model, self.guide)

    @contextmanager
    def _running(self) -> Iterator[None]:
        with leaving_frozen(self._trained.frozen), layers_in_bfloat16(self._bfloat16):
            yield


def _is_differentiable(loss: Any) -> bool:
    """Whether a loss is a tensor that knows its gradient, and calls backward nowhere."""
    if isinstance(loss, Estimator) or not isinstance(loss, ELBO):
        return True
    return type(loss) in _DIFFERENTIABLE


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
