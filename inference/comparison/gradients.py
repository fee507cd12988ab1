"""Bias, variance and signal-to-noise ratio of stochastic gradients, for model and guide apart.

Parameters that both use count as those of the model.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol, runtime_checkable

import pyro.infer
import torch
from pyro.infer import ELBO
from torch import Tensor
from torch.distributions import kl_divergence

from pyro_vae.inference.estimators import Estimator, Trace_ELBO, TraceEnum_ELBO, describes_formula
from pyro_vae.inference.terms import Terms, collect
from pyro_vae.parameters import leaves
from pyro_vae.program import Program

__all__ = [
    "Gradient",
    "Moments",
    "Solved",
    "check_finite",
    "exact_elbo",
    "flat",
    "is_bound",
    "parts_of",
    "reference",
]

# Pyro's, and its twin here, that sum latents out, exactly or by tensors of draws.
_PYROS_TIGHTER_BOUNDS = {
    TraceEnum_ELBO,
    pyro.infer.JitTraceEnum_ELBO,
    pyro.infer.TraceEnum_ELBO,
    pyro.infer.TraceTMC_ELBO,
}
# Pyro's whose value and gradient have the expectations of those of Trace_ELBO.
_PYROS_ELBOS = {
    pyro.infer.JitTrace_ELBO,
    pyro.infer.JitTraceMeanField_ELBO,
    pyro.infer.TraceGraph_ELBO,
    pyro.infer.TraceMeanField_ELBO,
    pyro.infer.Trace_ELBO,
}


@runtime_checkable
class Solved(Program, Protocol):
    """A program of one latent whose ELBO is known: log p(x) - KL(q(z | x) || p(z | x))."""

    def log_evidence(self, x: Tensor) -> Tensor:
        """The exact log p(x) of each datum, (N,)."""

    def posterior(self, x: Tensor) -> Any:
        """The exact p(z | x) of each datum."""


@dataclass(frozen=True)
class Gradient:
    """Draws of a gradient of the bound per datum, summed up over the parameters of one part.

        bias      ||mean - g||,     g the reference, exact or from many draws of another
        variance  sum_i var_i
        snr       mean_i |mean_i| / sqrt(var_i)

    The mean is over R draws, so a gradient without signal shows an snr of about sqrt(2 / (pi R)).
    Parameters whose gradient has no noise, such as the weights of a pixel that is always black,
    have no part in the snr; None if there are no others.

    Args:
        num_parameters: The number of all entries of the parameters.
        length: ||g||, or ||mean|| without a reference.
        bias: The distance of the mean from the reference; None without one.
        bias_error: The root mean square of that distance if there were no bias, but noise alone.
        variance: The variance of one draw, summed over the parameters.
        snr: The signal-to-noise ratio of one draw.

    Reference:
        Rainforth et al., 2018, https://arxiv.org/abs/1802.04537, section 3
    """

    num_parameters: int
    length: float
    bias: float | None
    bias_error: float | None
    variance: float
    snr: float | None

    @classmethod
    def of(cls, draws: "Moments", reference: "Moments | None") -> "Gradient":
        """The same numbers from the moments of draws, and of a reference if there is one."""
        variance, mean = draws.variance, draws.mean
        bias = bias_error = None
        if reference is not None:
            noise = sum((m.variance / m.count).sum().item() for m in (draws, reference))
            bias, bias_error = (mean - reference.mean).norm().item(), math.sqrt(noise)
        # Less deviation is rounding: of the gradient, and of terms of some nats that cancel in it.
        noisy = variance.sqrt() > draws.eps * (1 + 10 * mean.abs())
        snr = (mean.abs() / variance.sqrt())[noisy].mean().item()
        return cls(
            num_parameters=len(mean),
            length=(reference or draws).mean.norm().item(),
            bias=bias,
            bias_error=bias_error,
            variance=variance.sum().item(),
            snr=snr if math.isfinite(snr) else None,
        )


class Moments:
    """The running mean and variance of vectors, which are not kept (Welford, 1962)."""

    def __init__(self, exact: Tensor | None = None) -> None:
        self.count, self.eps = 0, 0.0
        self.mean = self._squares = torch.zeros(())
        if exact is not None:
            self.add(exact)

    @property
    def variance(self) -> Tensor:
        """The variance of each component; 0 after one vector."""
        return self._squares / max(self.count - 1, 1)

    def add(self, value: Tensor) -> None:
        """Takes a vector in."""
        self.eps = torch.finfo(value.dtype).eps
        value = value.double()
        if self.count == 0:
            self.mean, self._squares = torch.zeros_like(value), torch.zeros_like(value)
        self.count += 1
        deviation = value - self.mean
        self.mean.add_(deviation, alpha=1 / self.count)
        self._squares.addcmul_(deviation, value.sub_(self.mean))


def parts_of(t: Terms) -> dict[str, list[Tensor]]:
    """The parameters of the model, which log p depends on, and the others, of the guide.

    The dependence of log p on the guide by way of the draws is left out.
    """
    latents = [*t.latents.values(), *t.global_latents.values()]
    reached = {
        "model": leaves(t.log_p_at_detached_draws()),
        "guide": [leaf for latent in latents for leaf in leaves(latent.log_q)],
    }
    parts: dict[str, list[Tensor]] = {}
    seen: set[int] = set()
    for part, tensors in reached.items():
        parts[part] = list({id(p): p for p in tensors if id(p) not in seen}.values())
        seen |= {id(p) for p in tensors}
    return parts


def reference(estimator: ELBO, *, reparameterized: bool) -> ELBO | None:
    """The estimator whose averaged gradient is that of the bound that another one reports.

    Args:
        estimator: The other one. One of ours names it by its method `reference`. A subclass that
            changes the formula does not inherit that method.
        reparameterized: Whether the latents of the program are reparameterized.

    Returns:
        None if no such estimator is known.
    """
    if not isinstance(estimator, Estimator):
        return Trace_ELBO() if type(estimator) in _PYROS_ELBOS else None
    if not describes_formula(estimator, "reference"):
        return None
    other = estimator.reference(reparameterized=reparameterized)
    return replace(other, factors=estimator.factors) if isinstance(other, Estimator) else other


def is_bound(estimator: ELBO) -> bool:
    """Whether the value of an estimator is known to be the ELBO or a tighter bound on log p(x)."""
    if isinstance(estimator, Estimator):
        return estimator.is_bound
    return type(estimator) in _PYROS_ELBOS | _PYROS_TIGHTER_BOUNDS


def exact_elbo(program: Program, batch: Sequence[Tensor], estimator: ELBO) -> Tensor | None:
    """The exact mean ELBO of a batch, with its gradient; None if it is not known.

    It is known if the program has one latent with an exact posterior, and the estimator is a plain
    `Trace_ELBO`.
    """
    plain = type(estimator) is Trace_ELBO and estimator.is_bound
    if not (plain and isinstance(program, Solved) and len(batch) == 1):
        return None
    (x,) = batch
    t = collect(program.model, program.guide, batch, {})
    if t.factors or t.global_factors:
        return None
    (latent,) = t.latents.values()
    gap = kl_divergence(latent.q, program.posterior(x))
    return (program.log_evidence(x) - gap).mean()


def flat(gradients: Sequence[Tensor | None], parameters: Sequence[Tensor]) -> Tensor:
    """Gradients as one vector, with zeros for parameters that have none."""
    pairs = zip(gradients, parameters, strict=True)
    each = [torch.zeros_like(p) if g is None else g.detach() for g, p in pairs]
    return torch.cat([g.flatten() for g in each]) if each else torch.zeros(0)


def check_finite(gradients: Mapping[str, Tensor]) -> None:
    """Refuses gradients that are not finite."""
    for part, gradient in gradients.items():
        if not gradient.isfinite().all():
            raise FloatingPointError(f"the gradient of the {part}'s parameters is not finite")
