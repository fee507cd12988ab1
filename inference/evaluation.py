"""How good a program is: its bound in rate and distortion, and its log-likelihood.

Evaluation owns no optimizer, runs in evaluation mode and moves no parameter.
"""

import math
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import pyro
import torch
from pyro import poutine
from torch import Tensor
from tqdm.auto import tqdm

from pyro_vae.program import Program, evaluating

from .estimator import Terms, collect, plate_nesting, samples

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

    Raises:
        ValueError: If the data stand in no plate, so that no datum has a bound of its own, or if a
            latent is enumerated in the model.
    """
    rates, distortions = [], []
    with evaluating(program):
        for batch in x.split(batch_size):
            runs = [_terms(program, batch) for _ in range(num_particles)]
            rates.append(torch.stack([_rate(t) for t in runs]).mean(0))
            distortions.append(torch.stack([-t.log_px[0] for t in runs]).mean(0))
    return Evaluation(torch.cat(rates), torch.cat(distortions))


def log_likelihood(
    program: Program,
    x: Tensor,
    num_particles: int = 5000,
    *,
    batch_size: int = 50,
    max_rows: int = 5_000,
    progress: bool = False,
) -> Tensor:
    """The importance-weighted estimate of each datum's log p(x), a lower bound in expectation.

        log (1 / K) sum_k p(x, z_k) / q(z_k | x),  z_k ~ q(z | x)

    Args:
        program: What to evaluate.
        x: Data, (N, *x_shape).
        num_particles: K.
        batch_size: Data in one run.
        max_rows: Data times particles in one run, which bounds the memory.
        progress: Shows a bar with the time left, on a terminal or in a notebook.

    Returns:
        log p(x) of each datum in nats, (N,).

    Raises:
        ValueError: If the data stand in no plate, or a latent outside it, so that no datum has a
            likelihood of its own, or if a latent is enumerated in the model.

    Reference:
        Burda et al., 2016, https://arxiv.org/abs/1509.00519, eq. 8
    """
    if num_particles < 1:
        raise ValueError(f"num_particles must be at least 1, but is {num_particles}")
    shown = None if progress else True
    with (
        evaluating(program),
        tqdm(total=len(x) * num_particles, unit="draw", unit_scale=True, disable=shown) as bar,
    ):
        nesting = _vectorizes(program, x[:2])
        found: list[Tensor] = []
        for batch in x.split(batch_size):
            # Pyro's checks have seen one chunk by then, and cost some 4 % of the time.
            with pyro.validation_enabled(False) if found else nullcontext():
                found.append(_log_mean_w(program, batch, num_particles, max_rows, nesting, bar))
        return torch.cat(found)


def mean_and_error(values: Tensor) -> tuple[float, float]:
    """The mean of independent values and its standard error."""
    error = values.std().item() / math.sqrt(len(values)) if len(values) > 1 else math.nan
    return values.mean().item(), error


def _terms(program: Program, x: Tensor, **options: Any) -> Terms:
    """The terms of each datum, in a column each."""
    try:
        t = collect(program.model, program.guide, (x,), {}, **options)
    except ValueError as error:
        names = _enumerated(program, x)
        if not names:
            raise
        raise ValueError(
            f"latents {names} are enumerated in the model and not drawn in the guide, so they have "
            "no rate and no weight; judge the program by its loss, such as "
            "TraceEnum_ELBO().loss(model, guide, x)"
        ) from error
    if t.log_px.shape[1] != len(x):
        raise ValueError(
            f"the data have no log-likelihood each, but {t.log_px.shape[1]} for {len(x)} rows; put "
            'the data in pyro.plate("data", len(x)), by `with` and not by `for`'
        )
    return t


def _enumerated(program: Program, x: Tensor) -> list[str]:
    """The latents of the model that the guide leaves to enumeration."""
    model, guide = (samples(poutine.trace(f).get_trace(x)) for f in (program.model, program.guide))
    drawn = {site["name"] for site in guide}
    latents = [site for site in model if not site["is_observed"] and site["name"] not in drawn]
    return [site["name"] for site in latents if site["infer"].get("enumerate")]


def _rate(t: Terms) -> Tensor:
    local = sum(latent.log_q[0] - latent.log_p[0] for latent in t.latents.values())
    shared = sum((v.log_q - v.log_p).sum() for v in t.global_latents.values())
    return local + shared / (t.scale * t.log_px.shape[1]) + torch.zeros_like(t.log_px[0])


def _vectorizes(program: Program, x: Tensor) -> int | None:
    """The plate nesting of a program that runs rightly in a particle plate; None if it does not.

    Networks that take one batch dimension and no more are common: on two they fail, or worse.
    """
    with torch.random.fork_rng():
        seed = torch.initial_seed()
        torch.manual_seed(seed)
        expected = _log_w(program, x, 2, None)
        nesting = plate_nesting(program.model, program.guide, (x,), {})
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
    t = _terms(program, rows, **options)
    if t.global_latents:
        raise ValueError(
            f"latents {list(t.global_latents)} stand outside the data plate, so no datum has a "
            "likelihood of its own; evaluate the bound"
        )
    return t.log_w.reshape(num_particles, len(x))


def _log_mean_w(
    program: Program, x: Tensor, num_particles: int, max_rows: int, nesting: int | None, bar: Any
) -> Tensor:
    total = torch.full((len(x),), -math.inf, device=x.device)
    done = 0
    while done < num_particles:
        chunk = min(max(max_rows // len(x), 1), num_particles - done)
        with pyro.validation_enabled(False) if done else nullcontext():
            total = torch.logaddexp(total, _log_w(program, x, chunk, nesting).logsumexp(0))
        done += chunk
        bar.update(chunk * len(x))
    return total - math.log(num_particles)
