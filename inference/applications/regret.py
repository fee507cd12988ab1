"""Likelihood regret (Xiao et al., 2020, https://arxiv.org/abs/2003.02977)."""

import inspect
import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from pyro.distributions import Independent, MaskedDistribution
from pyro.poutine.messenger import Messenger
from pyro.poutine.util import site_is_subsample
from torch import Tensor
from torch.distributions import transform_to
from torch.distributions.constraints import Constraint

from pyro_vae.batches import Data
from pyro_vae.checks import check_positive, check_sizes
from pyro_vae.distributions import Reshaped
from pyro_vae.inference.evaluation import check_true_weights, each_once
from pyro_vae.inference.terms import Terms, collect
from pyro_vae.inference.training import generators_state, set_generators_state
from pyro_vae.program import Program, evaluating

__all__ = ["likelihood_regret"]


def likelihood_regret(
    program: Program,
    x: Data,
    y: Tensor | None = None,
    *,
    steps: int = 100,
    lr: float = 0.05,
    num_particles: int = 100,
    batch_size: int = 500,
) -> Tensor:
    """How many nats the ELBO of each datum gains if its posterior is fitted to it alone.

        ELBO(x; q of the datum's own) - ELBO(x; q(z | x)) >= 0

    The parameters of the guide's distributions, such as loc and scale, get an offset for each
    datum, which Adam moves from 0 where they have no bounds, as the logarithm of a scale has none.
    The model stays as it is. Of usual data a trained guide leaves little to gain.

    Both bounds are means over the same draws, and the better of the two posteriors counts, so that
    no regret is below 0. The steps follow the gradient without score, whose noise goes to 0 where
    the own posterior is exact.

    Args:
        program: The trained program.
        x: Data, (N, *x_shape), a `Split`, or a `DataSource`.
        y: The labels, if x is a tensor and the program is a `model(x, y)`.
        steps: The steps of each datum; its gradient is of one draw, and the rate falls to 0.
        lr: The learning rate that they begin with.
        num_particles: Draws of which both bounds are means.
        batch_size: Data in one run of the program; no datum's steps depend on the others.

    Returns:
        The regrets in nats, (N,).

    Raises:
        ValueError: As `log_likelihood`; and if the guide has a latent that is discrete, or of a
            distribution such as a flow, whose parameters are those of a network.

    Reference:
        Xiao et al., 2020, https://arxiv.org/abs/2003.02977, whose first variant fits the whole
        encoder to each datum, and whose second these parameters
    """
    check_sizes(steps=steps, num_particles=num_particles, batch_size=batch_size)
    check_positive(lr=lr)
    batches = each_once(program, x, y, batch_size)
    with evaluating(program):
        with torch.random.fork_rng():
            t = collect(program.model, program.guide, batches.first(), {})
        check_true_weights(t, "likelihood_regret")
        found = [_regret(program, batch, steps, lr, num_particles) for batch in batches.once()]
    return batches.in_order(torch.cat(found))


def _regret(
    program: Program, batch: Sequence[Any], steps: int, lr: float, num_particles: int
) -> Tensor:
    """The regret of each datum of a batch, (N,)."""
    shifts = _Shifts()

    def terms() -> Terms:
        return collect(program.model, shifts(program.guide), batch, {})

    began = generators_state()
    before = _bound(terms, num_particles)
    _climb(terms, list(shifts.offsets.values()), steps, lr)
    ended = generators_state()
    set_generators_state(began)
    after = _bound(terms, num_particles)
    set_generators_state(ended)
    return (after - before).clamp_min(0)


def _bound(terms: Callable[[], Terms], num_particles: int) -> Tensor:
    return torch.stack([terms().log_w[0] for _ in range(num_particles)]).mean(0)


def _climb(terms: Callable[[], Terms], offsets: Sequence[Tensor], steps: int, lr: float) -> None:
    """Moves the offsets of all data by Adam, which moves each number by its own gradients."""
    optimizer = torch.optim.Adam(offsets, lr=lr)
    for step in range(steps):
        optimizer.param_groups[0]["lr"] = lr * (1 + math.cos(math.pi * step / steps)) / 2
        with torch.enable_grad():
            loss = -terms().without_score("likelihood_regret").log_w.sum()
            # Not by backward, which would add to the gradients of the program's parameters.
            gradients = torch.autograd.grad(loss, offsets)
        for offset, gradient in zip(offsets, gradients, strict=True):
            offset.grad = gradient
        optimizer.step()


class _Shifts(Messenger):
    """Adds an offset to each parameter of a guide's distributions, where it has no bounds.

    Attributes:
        offsets: By site and parameter, of the parameter's shape; 0 when they are first met.
    """

    def __init__(self) -> None:
        super().__init__()
        self.offsets: dict[str, Tensor] = {}

    def _pyro_sample(self, msg: Any) -> None:
        if not (msg["is_observed"] or site_is_subsample(msg)):
            msg["fn"] = self._shifted(msg["name"], msg["fn"])

    def _shifted(self, name: str, fn: Any) -> Any:
        match fn:
            case Independent():
                return Independent(self._shifted(name, fn.base_dist), fn.reinterpreted_batch_ndims)
            case MaskedDistribution():
                return self._shifted(name, fn.base_dist).mask(fn._mask)
            case Reshaped():
                return Reshaped(self._shifted(name, fn.base_dist), fn.event_shape)
        parameters = {
            parameter: self._moved(f"{name}.{parameter}", constraint, getattr(fn, parameter))
            for parameter, constraint in _parameters(name, fn).items()
        }
        return type(fn)(**parameters)

    def _moved(self, key: str, constraint: Constraint, value: Tensor) -> Tensor:
        free = transform_to(constraint)
        unbounded = free.inv(value)
        if key not in self.offsets:
            self.offsets[key] = torch.zeros_like(unbounded).requires_grad_()
        return free(unbounded + self.offsets[key])


def _parameters(name: str, fn: Any) -> dict[str, Constraint]:
    """The constraints of the tensors that a distribution is built of, by their names.

    Raises:
        ValueError: If it is built of something else, or has no gradient in its draws.
    """
    if not fn.has_rsample:
        raise ValueError(
            f"likelihood_regret moves a posterior along the gradient of its draws, and latent "
            f"{name!r} has none, as a {type(fn).__name__}; take another score, such as the bound"
        )
    found = {n: c for n, c in fn.arg_constraints.items() if n in vars(fn)}
    if "scale_tril" in found:  # the same covariance may be there in other forms
        found = {n: found[n] for n in ("loc", "scale_tril")}
    needed = [
        n
        for n, parameter in inspect.signature(type(fn)).parameters.items()
        if parameter.default is parameter.empty
    ]
    if not found or not found.keys() >= {*needed} or not all(map(_is_free, found.values())):
        raise ValueError(
            f"likelihood_regret moves the parameters of a posterior, but those of {name!r}, "
            f"a {type(fn).__name__}, are not such as loc and scale of a Normal; take another "
            "score, such as the bound"
        )
    return found


def _is_free(constraint: Constraint) -> bool:
    """Whether what the constraint holds can be written in numbers without bounds."""
    try:
        transform_to(constraint)
    except NotImplementedError:
        return False
    return True
