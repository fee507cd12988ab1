"""How good a program is: its bound in rate and distortion, and its log-likelihood.

Evaluation owns no optimizer, runs in evaluation mode and moves no parameter.
"""

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from pyro_vae.program import Program, evaluating

from .estimator import Terms, collect, plate_nesting

__all__ = ["Evaluation", "evaluate", "log_likelihood", "mean_and_error"]


@dataclass(frozen=True)
class Evaluation:
    """The two sides of the ELBO for each datum, in nats: `bound` = -(`rate` + `distortion`).

    Args:
        rate: E_q[log q(z | x) - log p(z)], the KL term, (N,).
        distortion: -E_q[log p(x | z)], (N,).

    Reference:
        Alemi et al., 2018, https://arxiv.org/abs/1711.00464
    """

    rate: Tensor
    distortion: Tensor

    @property
    def bound(self) -> Tensor:
        """The ELBO of each datum, (N,)."""
        return -(self.rate + self.distortion)


def evaluate(
    program: Program, x: Tensor, *, num_particles: int = 1, batch_size: int = 500
) -> Evaluation:
    """The ELBO of each datum, at beta = 1, split into rate and distortion.

    Args:
        program: What to evaluate.
        x: Data, (N, *x_shape).
        num_particles: Draws of the latents for each datum, averaged over.
        batch_size: Data in one run.
    """
    rates, distortions = [], []
    with evaluating(program):
        for batch in x.split(batch_size):
            runs = [
                collect(program.model, program.guide, (batch,), {}) for _ in range(num_particles)
            ]
            rates.append(torch.stack([_rate(t) for t in runs]).mean(0))
            distortions.append(torch.stack([-t.log_px[0] for t in runs]).mean(0))
    return Evaluation(torch.cat(rates), torch.cat(distortions))


def log_likelihood(
    program: Program,
    x: Tensor,
    num_particles: int = 5000,
    *,
    batch_size: int = 50,
    max_rows: int = 5000,
) -> Tensor:
    """The importance-weighted estimate of each datum's log p(x), a lower bound in expectation.

        log (1 / K) sum_k p(x, z_k) / q(z_k | x),  z_k ~ q(z | x)

    Args:
        program: What to evaluate.
        x: Data, (N, *x_shape).
        num_particles: K.
        batch_size: Data in one run.
        max_rows: Data times particles in one run, which bounds the memory.

    Returns:
        log p(x) of each datum in nats, (N,).

    Reference:
        Burda et al., 2016, https://arxiv.org/abs/1509.00519, eq. 8
    """
    if num_particles < 1:
        raise ValueError(f"num_particles must be at least 1, but is {num_particles}")
    with evaluating(program):
        nesting = _vectorizes(program, x[:2])
        return torch.cat(
            [_log_mean_w(program, b, num_particles, max_rows, nesting) for b in x.split(batch_size)]
        )


def mean_and_error(values: Tensor) -> tuple[float, float]:
    """The mean of independent values and its standard error."""
    error = values.std().item() / math.sqrt(len(values)) if len(values) > 1 else math.nan
    return values.mean().item(), error


def _rate(t: Terms) -> Tensor:
    local = sum(latent.log_q[0] - latent.log_p[0] for latent in t.latents.values())
    shared = sum((v.log_q - v.log_p).sum() for v in t.global_latents.values())
    return local + shared / (t.scale * t.log_px.shape[1]) + torch.zeros_like(t.log_px[0])


def _vectorizes(program: Program, x: Tensor) -> int | None:
    """The plate nesting of a program that runs rightly in a particle plate; None if it does not.

    Networks that take one batch dimension and no more are common: on two they fail, or worse.
    """
    nesting = plate_nesting(program.model, program.guide, (x,), {})
    with torch.random.fork_rng():
        seed = torch.initial_seed()
        torch.manual_seed(seed)
        expected = _log_w(program, x, 2, None)
        torch.manual_seed(seed)
        try:
            found = _log_w(program, x, 2, nesting)
        except (RuntimeError, ValueError, IndexError):
            return None
    return nesting if torch.allclose(found, expected, rtol=1e-3, atol=1e-3) else None


def _log_w(program: Program, x: Tensor, num_particles: int, nesting: int | None) -> Tensor:
    """Log weights (K, N): in a particle plate, or with each datum repeated K times in the batch."""
    options: dict[str, Any] = {}
    if nesting is not None:
        options = {"num_particles": num_particles, "max_plate_nesting": nesting}
        rows = x
    else:
        rows = x.repeat(num_particles, *[1] * (x.dim() - 1))
    t = collect(program.model, program.guide, (rows,), {}, **options)
    if t.global_latents:
        raise ValueError(
            f"latents {list(t.global_latents)} stand outside the data plate, so no datum has a "
            "likelihood of its own; evaluate the bound"
        )
    return t.log_w.reshape(num_particles, len(x))


def _log_mean_w(
    program: Program, x: Tensor, num_particles: int, max_rows: int, nesting: int | None
) -> Tensor:
    total = x.new_full((len(x),), -math.inf)
    done = 0
    while done < num_particles:
        chunk = min(max(max_rows // len(x), 1), num_particles - done)
        total = torch.logaddexp(total, _log_w(program, x, chunk, nesting).logsumexp(0))
        done += chunk
    return total - math.log(num_particles)
