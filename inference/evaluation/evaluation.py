"""How good a program is: its bound in rate and distortion, and its log-likelihood.

Evaluation owns no optimizer, runs in evaluation mode and moves no parameter.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor
from tqdm.auto import tqdm

from pyro_vae.batches import Batches, Data, check_data, num_data
from pyro_vae.blame import on_data
from pyro_vae.datasets import Split
from pyro_vae.inference.terms import (
    Terms,
    collect,
    estimated_sites,
    find_particles,
    particle_nesting,
    sample_sites,
    traces,
)
from pyro_vae.program import Program, evaluating

from .active_units import ActiveUnits, active_units_in
from .graph_runs import captured
from .information import Information, mutual_information_in
from .true_bounds import (
    are_fixed,
    check_true_bounds,
    check_true_weights,
    points_of_guide,
    warn_if_impossible,
)

__all__ = [
    "Evaluation",
    "each_once",
    "enumerated_latents",
    "evaluate",
    "evaluate_batches",
    "log_likelihood",
    "mean_and_error",
    "particle_nesting",
]

_FEW = 50  # data, which `log_likelihood` runs together


@dataclass(frozen=True)
class Evaluation:
    """The two sides of the ELBO for each datum, in nats: `bound` = -(`rate` + `distortion`).

    Args:
        rate: E_q[log q(z | x) - log p(z)], the KL term, (N,).
        distortion: -E_q[log p(x | z)], (N,).
        is_bound: Whether `bound` is a bound on log p(x). It is not if the guide puts a continuous
            latent on a point, which has no density, as the guide of an autoencoder does.
        is_estimate: Whether a density of the model is known by an estimate of a bound alone, as
            that of a `DiffusionPrior`. Then `bound` is one on average, and there is no
            log-likelihood.
        rates: E_q[log q - log p] of each latent site of a datum, (N,), by its name, in the model's
            order: of a hierarchy from the top down. They sum up to `rate`, less the share of
            latents that all data have together. One of several may be below 0. Empty where the
            guide has auxiliary draws, since no site has a rate of its own then, or where the data
            have other latents in one batch than in another.
        active_units: How many numbers of each continuous latent of a datum tell data apart, by its
            name; see `ActiveUnits`. Of two data or more.
        information: What each latent that the guide draws from a datum alone tells of the data, by
            its name; see `mutual_information`. Of two data or more.

    Reference:
        Alemi et al., 2018, https://arxiv.org/abs/1711.00464
    """

    rate: Tensor
    distortion: Tensor
    is_bound: bool = True
    is_estimate: bool = False
    rates: Mapping[str, Tensor] = field(default_factory=dict)
    active_units: Mapping[str, ActiveUnits] = field(default_factory=dict)
    information: Mapping[str, Information] = field(default_factory=dict)

    @property
    def bound(self) -> Tensor:
        """The ELBO of each datum, (N,); see `is_bound`."""
        return -(self.rate + self.distortion)

    def __repr__(self) -> str:
        """The number of data, and the means of bound, rate and distortion."""
        mean, error = mean_and_error(self.bound)
        return (
            f"Evaluation({len(self.rate):,} data, {'bound' if self.is_bound else 'no bound:'} "
            f"{mean:.2f} ± {error:.2f}, rate {self.rate.mean().item():.2f}, distortion "
            f"{self.distortion.mean().item():.2f} nats per datum)"
        )


def evaluate(
    program: Program,
    x: Data,
    y: Tensor | None = None,
    *,
    num_particles: int = 1,
    batch_size: int = 500,
) -> Evaluation:
    """The ELBO of each datum, at beta = 1, split into rate and distortion.

    Only the density of each datum counts. Left out are training factors, sites outside the data
    plate, such as a penalty on parameters that the model writes as a factor, and data that are
    masked. A factor in the data plate counts if it is the only density of the data there, and is
    refused beside another one.

    If the guide is a point, as that of an autoencoder or of MAP estimation, the value is no bound
    on log p(x), and `Evaluation.is_bound` is False.

    Args:
        program: The program to evaluate.
        x: Data, (N, *x_shape), a `Split`, or a `DataSource`. Each batch goes to the device of the
            program's parameters.
        y: The labels, if x is a tensor and the program is a `model(x, y)`.
        num_particles: Draws of the latents of each datum, over which the bound is averaged.
        batch_size: Data in one run of the program.

    Raises:
        ValueError: If the data stand in no plate, so that no datum has a bound of its own; if a
            latent is enumerated in the model; or if the value would be no bound on log p(x): sites
            are scaled, factors are added to the density of the data, a site outside the data plate
            depends on the latents in it, latents are masked on which data depend, or the guide
            observes data.
    """
    _check(x, y, num_particles=num_particles, batch_size=batch_size)
    batches = each_once(program, x, y, batch_size)
    result = evaluate_batches(program, batches, num_particles)
    with evaluating(program), torch.random.fork_rng():  # as these draw more than the bound does
        return replace(
            result,
            active_units=active_units_in(program, batches, len(x)),
            information=mutual_information_in(program, batches, len(x)),
        )


def evaluate_batches(program: Program, batches: Batches, num_particles: int = 1) -> Evaluation:
    """As `evaluate`, without what is told of each latent, for data in batches of arguments."""

    def rates_and_distortion(args: Any, kwargs: Any) -> Tensor:
        t = _terms(program, args, **kwargs)
        return torch.stack([_rate(t), -t.log_px[0], *_rates(t).values()])

    parts = []  # of each batch, (2 + sites, N)
    with evaluating(program):
        t = _first_terms(program, batches)
        check_true_bounds(t, "evaluate")
        num_particles = 1 if are_fixed(t) else num_particles
        runs_in_all = num_particles * batches.num_batches()
        run = captured(program, rates_and_distortion, "evaluate", runs_in_all)
        for batch in batches.once():
            runs = [run(batch, {}) for _ in range(num_particles)]
            parts.append(torch.stack(runs).mean(0))
    names = _rates(t) if all(len(part) == 2 + len(_rates(t)) for part in parts) else ()
    rate, distortion, *each = batches.in_order(
        torch.cat([part[: 2 + len(names)] for part in parts], -1)
    )
    points, estimates = points_of_guide(t), estimated_sites(t.traces[0])
    result = Evaluation(
        rate,
        distortion,
        is_bound=not points,
        is_estimate=bool(estimates),
        rates=dict(zip(names, each, strict=True)),
    )
    warn_if_impossible(result.bound, t, "evaluate", stacklevel=4)
    return result


def log_likelihood(
    program: Program,
    x: Data,
    num_particles: int = 5000,
    *,
    y: Tensor | None = None,
    batch_size: int | None = None,
    max_rows: int = 5_000,
    progress: bool = False,
) -> Tensor:
    """The importance-weighted estimate of log p(x) of each datum, a lower bound in expectation.

        log (1 / K) sum_k p(x, z_k) / q(z_k | x),  z_k ~ q(z | x)

    Args:
        program: The program to evaluate.
        x: Data, (N, *x_shape), a `Split`, or a `DataSource`, as in `evaluate`.
        num_particles: K.
        y: The labels, if x is a tensor and the program is a `model(x, y)`. With labels the estimate
            is of log p(x | y), or of log p(x, y) if the model observes them.
        batch_size: Data in one run of the program; by default as many as `max_rows` allows, from 10
            to 500. Few, with many particles each, take the guide's network less often. Up to 50
            data are run together, since a program may be one of just so many.
        max_rows: The largest number of data times particles in one run, which bounds the memory.
            What a run computes should stay in a CPU's caches; on a GPU more rows are faster.
        progress: Shows a bar with the time left, on a terminal or in a notebook.

    Returns:
        The estimates in nats, (N,).

    Raises:
        ValueError: As `evaluate`; and if a latent stands outside the data plate, so that no datum
            has a likelihood of its own, or if the guide is a point.

    Reference:
        Burda et al., 2016, https://arxiv.org/abs/1509.00519, eq. 8
    """
    given = {} if batch_size is None else {"batch_size": batch_size}
    _check(x, y, num_particles=num_particles, max_rows=max_rows, **given)
    if batch_size is None:
        at_once = max_rows // num_particles
        batch_size = len(x) if len(x) <= _FEW else min(max(at_once, 10), 500)
    batches = each_once(program, x, y, batch_size)
    with evaluating(program):
        t = _first_terms(program, batches)
        check_true_weights(t, "log_likelihood")
        num_particles = 1 if are_fixed(t) else num_particles
        chunk = min(max(max_rows // min(len(x), batch_size), 1), num_particles)
        chunks = [len(part) for part in torch.arange(num_particles).split(chunk)]
        total = batches.num_batches() * len(chunks)
        particles = find_particles(program.model, program.guide, t.args, {})

        def log_sum_w(args: Any, kwargs: Any) -> Tensor:
            return _log_w(program, args, particles=particles, **kwargs).logsumexp(0)

        run = captured(program, log_sum_w, "log_likelihood", total, may_compile=True)
        draws, hidden = len(x) * num_particles, None if progress else True
        estimates = []
        with tqdm(total=draws, unit="draw", unit_scale=True, disable=hidden) as bar:
            for batch in batches.once():
                log_sums = []
                for size in chunks:
                    log_sums.append(run(batch, {"num_particles": size}))
                    bar.update(size * num_data(batch))
                # as numbers: small tensors that stay, made among large ones that go, break up the
                # heap, which grew by 2 GB for 10,000 images
                log_sum = torch.stack(log_sums).logsumexp(0)
                estimates += log_sum.tolist()
    result = batches.in_order(log_sum.new_tensor(estimates)) - math.log(num_particles)
    warn_if_impossible(result, t, "log_likelihood")
    return result


def mean_and_error(values: Tensor) -> tuple[float, float]:
    """The mean of independent values and its standard error."""
    error = values.std().item() / math.sqrt(len(values)) if len(values) > 1 else math.nan
    return values.mean().item(), error


def _check(x: Data, y: Tensor | None, **numbers: int) -> None:
    check_data(x, y)
    for name, number in numbers.items():
        if not isinstance(number, int) or number < 1:
            raise ValueError(f"{name} must be a whole number of at least 1, but is {number}")


def each_once(program: Program, x: Data, y: Tensor | None, batch_size: int) -> Batches:
    """Batches in which each datum comes once, whatever `Split.labelled` says.

    Raises:
        TypeError: As `check_data`.
        ValueError: As `check_data`, or if the program does not take such data.
    """
    check_data(x, y)
    data = replace(x, labelled=0.0) if isinstance(x, Split) else x
    return Batches.of(program, data, y, batch_size=batch_size, by_length=True)


def _first_terms(program: Program, batches: Batches) -> Terms:
    """The terms of the first batch, to see whether the program can be judged at all.

    The random generators stay as they are.
    """
    batch = batches.first()
    with on_data(batch[0].shape), torch.random.fork_rng():
        return _terms(program, batch)


def _terms(program: Program, args: Sequence[Tensor], **options: Any) -> Terms:
    """The terms of each datum, in a column each."""
    try:
        t = collect(program.model, program.guide, args, {}, **options)
    except ValueError as error:
        names = enumerated_latents(program, args)
        if not names:
            raise
        raise ValueError(
            f"latents {names} are enumerated in the model and not drawn in the guide, so they have "
            "no rate and no weight; judge the program by its loss, such as "
            "TraceEnum_ELBO().loss(model, guide, x)"
        ) from error
    num_data = len(args[0])
    if t.log_px.shape[1] != num_data and t.scale * t.log_px.shape[1] == num_data:
        raise ValueError(
            f"the plate of the data takes {t.log_px.shape[1]} of {num_data} rows at random, so the "
            "others have no log-likelihood; leave subsample_size out where you evaluate"
        )
    if t.log_px.shape[1] != num_data:
        raise ValueError(
            f"the data have no log-likelihood each, but {t.log_px.shape[1]} for {num_data} rows; "
            'put the data in pyro.plate("data", len(x)), by `with` and not by `for`'
        )
    return t


def enumerated_latents(program: Program, args: Sequence[Tensor]) -> list[str]:
    """The latents of the model that the guide leaves to enumeration."""
    model, guide = traces(program.model, program.guide, args, {})
    drawn = {site["name"] for site in sample_sites(guide)}
    latents = [s for s in sample_sites(model) if not s["is_observed"] and s["name"] not in drawn]
    return [site["name"] for site in latents if site["infer"].get("enumerate")]


def _rate(t: Terms) -> Tensor:
    local = sum(latent.log_q[0] - latent.log_p[0] for latent in t.latents.values())
    shared = sum((v.log_q - v.log_p).sum() for v in t.global_latents.values())
    return local + shared / (t.scale * t.log_px.shape[1]) + torch.zeros_like(t.log_px[0])


def _rates(t: Terms) -> dict[str, Tensor]:
    """The rate of each latent site of a datum, (N,), in the model's order; see `Evaluation`."""
    if any(latent.p is None for latent in t.latents.values()):
        return {}
    zero = torch.zeros_like(t.log_px[0])
    return {n: t.latents[n].log_q[0] - t.latents[n].log_p[0] + zero for n in t.latent_names}


def _log_w(program: Program, args: Sequence[Tensor], **options: Any) -> Tensor:
    """Log weights, (K, N)."""
    return _terms(program, args, **options).log_w
