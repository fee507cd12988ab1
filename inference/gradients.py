"""What there is to know of a stochastic gradient: its bias, variance and signal to noise.

Model and guide each have their parameters; what both use counts as the model's.
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

from pyro_vae.program import Program, leaves

from .dreg import DReG
from .elbo import Trace_ELBO
from .iwae import IWAE
from .miwae import PIWAE
from .score_function import ScoreFunction
from .terms import Terms, collect
from .vimco import VIMCO
from .wake_sleep import ReweightedWakeSleep

__all__ = [
    "Gradient",
    "Moments",
    "Solved",
    "check_finite",
    "exact_elbo",
    "flat",
    "parts_of",
    "reference",
]


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

        bias      ||mean - g||,     g the reference, exact or from many draws
        variance  sum_i var_i
        snr       mean_i |mean_i| / sqrt(var_i)

    The mean is over R draws, so a gradient without signal shows an snr of about sqrt(2 / (pi R)).
    Parameters whose gradient has no noise, such as the weights of a pixel that is always black,
    have no part in the snr; None if there are no others.

    Args:
        num_parameters: How many numbers the parameters hold.
        length: ||g||.
        bias: How far the mean is from the reference.
        bias_error: How far the noise of both alone would put it, in root mean square.
        variance: Of one draw.
        snr: The signal-to-noise ratio of one draw.

    Reference:
        Rainforth et al., 2018, https://arxiv.org/abs/1802.04537, section 3
    """

    num_parameters: int
    length: float
    bias: float
    bias_error: float
    variance: float
    snr: float | None

    @classmethod
    def of(cls, draws: "Moments", reference: "Moments") -> "Gradient":
        """Sums up draws, with the mean of others, or an exact value, as the reference."""
        variance, mean = draws.variance, draws.mean
        noise = sum((m.variance / m.count).sum().item() for m in (draws, reference))
        # Less deviation is rounding: of the gradient, and of terms of some nats that cancel in it.
        noisy = variance.sqrt() > draws.eps * (1 + 10 * mean.abs())
        snr = (mean.abs() / variance.sqrt())[noisy].mean().item()
        return cls(
            num_parameters=len(mean),
            length=reference.mean.norm().item(),
            bias=(mean - reference.mean).norm().item(),
            bias_error=math.sqrt(noise),
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
    """The parameters that log p reaches at held draws, and those that log q alone reaches."""
    latents = [*t.latents.values(), *t.global_latents.values()]
    found = {
        "model": leaves(t.log_p_at_held_draws()),
        "guide": [leaf for latent in latents for leaf in leaves(latent.log_q)],
    }
    parts: dict[str, list[Tensor]] = {}
    seen: set[int] = set()
    for part, tensors in found.items():
        parts[part] = list({id(p): p for p in tensors if id(p) not in seen}.values())
        seen |= {id(p) for p in tensors}
    return parts


def reference(estimator: ELBO, elbo: Trace_ELBO, *, reparameterized: bool) -> ELBO:
    """The estimator whose many draws tell the gradient of the bound that another one reports.

    It takes the plain way through the draws, without tricks, where the latents allow it. What is
    plain already, or reports a bound of its own, is its own reference.

    Args:
        estimator: The other one.
        elbo: What to take for the ELBO, for which any number of particles serves.
        reparameterized: Whether the program's latents are.
    """
    if isinstance(estimator, IWAE) and estimator.num_particles == 1:
        return elbo
    if isinstance(estimator, DReG | PIWAE | ReweightedWakeSleep | VIMCO):
        plain = IWAE if reparameterized else VIMCO
        return plain(estimator.num_particles)
    if isinstance(estimator, Trace_ELBO) and estimator.pays_the_kl:
        return replace(elbo, beta=estimator.beta)
    pyros = (pyro.infer.Trace_ELBO, pyro.infer.TraceMeanField_ELBO)
    return elbo if isinstance(estimator, ScoreFunction) or type(estimator) in pyros else estimator


def exact_elbo(program: Program, x: Tensor, estimator: ELBO) -> Tensor | None:
    """The ELBO per datum, exact and with its gradient, if that is what is estimated; else None."""
    plain = type(estimator) is Trace_ELBO and estimator.beta == 1 and estimator.pays_the_kl
    if not (plain and isinstance(program, Solved)):
        return None
    (latent,) = collect(program.model, program.guide, (x,), {}).latents.values()
    gap = kl_divergence(latent.q, program.posterior(x))
    return (program.log_evidence(x) - gap).mean()


def flat(gradients: Sequence[Tensor | None], parameters: Sequence[Tensor]) -> Tensor:
    """Gradients as one vector, with zeros for parameters that have none."""
    pairs = zip(gradients, parameters, strict=True)
    found = [torch.zeros_like(p) if g is None else g.detach() for g, p in pairs]
    return torch.cat([g.flatten() for g in found]) if found else torch.zeros(0)


def check_finite(gradients: Mapping[str, Tensor]) -> None:
    """Refuses gradients that are not finite."""
    for part, gradient in gradients.items():
        if not gradient.isfinite().all():
            raise FloatingPointError(f"the gradient of the {part}'s parameters is not finite")
