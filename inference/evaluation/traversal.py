"""Single numbers of a latent moved, and what the data become."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from pyro import poutine
from pyro.poutine.messenger import Messenger
from pyro.poutine.util import prune_subsample_sites
from torch import Tensor

from pyro_vae.arguments import arguments
from pyro_vae.batches import check_tensors
from pyro_vae.inference.terms import inner, sample_sites, support_of, trace_guide
from pyro_vae.program import Program, evaluating
from pyro_vae.sampling import sampling

from .latent_numbers import rates_and_means
from .model_run import ModelRun, data_of
from .temperature import Tempering

__all__ = ["Traversal", "traverse"]

_DRAWS = 1000  # of a prior whose mean or variance has no formula


@dataclass(frozen=True)
class Traversal:
    """What the data become as single numbers of a latent move.

    Args:
        x: E[x | z], (numbers, steps, *x_shape).
        numbers: Which numbers move, as indices into the latent, flattened, (numbers,).
        rates: The mean rate of each over the data, in nats, (numbers,); None where the numbers of
            the latent are not independent, so that none has a rate of its own.
        offsets: By how many standard deviations each step is off the mean, (steps,).
    """

    x: Tensor
    numbers: Tensor
    rates: Tensor | None
    offsets: Tensor


def traverse(
    program: Program,
    x: Tensor,
    site: str,
    y: Tensor | None = None,
    *,
    num: int = 8,
    steps: int = 7,
    reach: float = 3.0,
    datum: int | None = 0,
) -> Traversal:
    """Moves each of the numbers of a latent that say most of x, all else fixed.

    A number goes from -reach to reach standard deviations around the mean of its prior, given the
    latents above it. The others keep their noise: a latent stays as many standard deviations off
    the mean of its prior as it was, and so follows where that mean goes.

    Args:
        program: The program.
        x: Data, (N, *x_shape), over which the rates of the numbers are judged.
        site: The latent, a site of the model and the guide.
        y: The labels of the data, for a program `model(x, y)`.
        num: The numbers to move: those of the highest rate, in this order; or of the largest
            variance of the posterior mean, where no number has a rate of its own.
        steps: The steps of each.
        reach: The last step.
        datum: Which of the data is changed, from the mean of the guide of each of its latents.
            None takes a draw of the prior, with the label of the first datum.

    Raises:
        ValueError: If the program has no such latent of each datum, or it is discrete; if numbers
            make no sense; as `decode`.
    """
    check_tensors(x, y)
    _check(x, num, steps, reach, datum)
    of_datum = slice(datum or 0, (datum or 0) + 1)
    label = None if y is None else y[of_datum]
    with evaluating(program):
        order, rates = _numbers(program, x, y, site)
        numbers = order[:num]
        if datum is None:
            latents: dict[str, Tensor] = {}
        else:
            latents = _means(program, x[of_datum], label)
        options = (x.shape[1:], x.dtype)
        one = ModelRun(program, label, lambda model: poutine.condition(model, data=latents))
        _, trace, _ = one.on_placeholders(1, *options)
        noise = {s["name"]: _noise(s) for s in _latents(trace, latents)}
        offsets = torch.linspace(-reach, reach, steps, dtype=torch.float64)
        moving = _Moving(noise, site, numbers, offsets)
        rows = len(numbers) * steps
        labels = None if label is None else label.expand(rows, *label.shape[1:])
        many = ModelRun(program, labels, moving)
        found = data_of(many, *many.on_placeholders(rows, *options), given=noise, mean=True)
    return Traversal(
        found.unflatten(0, (len(numbers), steps)),
        numbers,
        None if rates is None else rates[numbers],
        offsets,
    )


class _Moving(Messenger):
    """Gives latents the noise that they had, and one number of a latent other values in each row.

    Args:
        noise: By site, how many standard deviations a latent was off its mean, or where it was.
        site: The latent that moves.
        numbers: Which of its numbers, (R,).
        offsets: In standard deviations, (S,); rows are all steps of a number, then of the next.
    """

    def __init__(
        self, noise: Mapping[str, "_Noise"], site: str, numbers: Tensor, offsets: Tensor
    ) -> None:
        super().__init__()
        self.noise, self.site = noise, site
        self.numbers = numbers.repeat_interleave(len(offsets))
        self.offsets = offsets.repeat(len(numbers))

    def _pyro_sample(self, msg: Any) -> None:
        noise = self.noise.get(msg["name"])
        if noise is None or msg["is_observed"]:
            return
        value = noise.at(msg["fn"])
        if msg["name"] == self.site:
            value = self._moved(value, msg["fn"])
        msg["value"], msg["done"] = value, True

    def _moved(self, value: Tensor, fn: Any) -> Tensor:
        if value.dim() < 1 or len(value) != len(self.numbers):
            raise ValueError(
                f"latent {self.site!r} has draws of shape {tuple(value.shape)}, whose first "
                'dimension is not that of the data; draw it in pyro.plate("data", len(x))'
            )
        loc, scale = (t.expand(value.shape).flatten(1) for t in _mean_and_deviation(fn))
        rows = torch.arange(len(value), device=value.device)
        numbers, offsets = self.numbers.to(value.device), self.offsets.to(value)
        flat = value.clone().reshape(len(value), -1)
        flat[rows, numbers] = loc[rows, numbers] + offsets * scale[rows, numbers]
        return flat.reshape(value.shape)


@dataclass(frozen=True)
class _Noise:
    """Where a latent is: in standard deviations off its mean, or by its value where discrete."""

    value: Tensor
    is_relative: bool

    def at(self, fn: Any) -> Tensor:
        """The value with this noise under a distribution with more rows."""
        if not self.is_relative:
            return self.value.expand(fn.shape())
        loc, scale = _mean_and_deviation(fn)
        return (loc + self.value * scale).expand(fn.shape())


def _noise(site: Mapping[str, Any]) -> _Noise:
    if support_of(site["fn"]).is_discrete:
        return _Noise(site["value"], is_relative=False)
    loc, scale = _mean_and_deviation(site["fn"])
    fixed = scale == 0
    return _Noise(
        torch.where(fixed, 0.0, (site["value"] - loc) / torch.where(fixed, 1.0, scale)),
        is_relative=True,
    )


def _mean_and_deviation(fn: Any) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation; of draws, always the same, where there is no finite formula."""
    try:
        loc, scale = fn.mean, fn.variance.sqrt()
    except (NotImplementedError, AttributeError):
        loc = scale = torch.tensor(torch.nan)
    if loc.isfinite().all() and scale.isfinite().all():
        return loc, scale
    with torch.random.fork_rng():
        torch.manual_seed(0)
        draws = inner(fn).sample((_DRAWS,))
    return draws.mean(0), draws.std(0)


def _latents(trace: Any, given: Mapping[str, Tensor]) -> list[dict[str, Any]]:
    """The latents of a trace of the model, of which those that are given count as observed."""
    sites = sample_sites(prune_subsample_sites(trace))
    return [
        s
        for s in sites
        if (s["name"] in given or not s["is_observed"]) and not s["infer"].get("was_observed")
    ]


def _means(program: Program, x: Tensor, y: Tensor | None) -> dict[str, Tensor]:
    """The latents of data, each at the mean of the guide given those before it at theirs."""
    with sampling() as wishes, Tempering(0.0, wishes):
        trace = trace_guide(program.guide, arguments(program, x, y), {})
    sites = sample_sites(prune_subsample_sites(trace))
    return {
        s["name"]: s["value"]
        for s in sites
        if not s["is_observed"] and not s["infer"].get("is_auxiliary")
    }


def _numbers(
    program: Program, x: Tensor, y: Tensor | None, site: str
) -> tuple[Tensor, Tensor | None]:
    """The numbers of a latent, those that say most of x first, and the rate of each, if it has."""
    rates, means = rates_and_means(program, arguments(program, x, y), site)
    if rates is not None:
        return rates.argsort(descending=True), rates
    return means.var(0).argsort(descending=True), None


def _check(x: Tensor, num: int, steps: int, reach: float, datum: int | None) -> None:
    for name, number, least in (("num", num, 1), ("steps", steps, 2)):
        if not isinstance(number, int) or number < least:
            raise ValueError(f"{name} must be a whole number of at least {least}, but is {number}")
    if not 0 < reach < float("inf"):
        raise ValueError(f"reach must be positive and finite, but is {reach}")
    if datum is not None and not 0 <= datum < len(x):
        raise ValueError(f"datum must be 0 to {len(x) - 1}, one of the data, but is {datum}")
