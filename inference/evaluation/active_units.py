"""How many numbers of each latent tell data apart (Burda et al., 2016)."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from pyro_vae.batches import Batches, Data
from pyro_vae.inference.terms import (
    Terms,
    collect,
    sample_sites,
    support_of,
    trace_guide,
    which_count,
)
from pyro_vae.program import Program, evaluating

from .model_run import mean_or_draw

__all__ = ["ActiveUnits", "active_units", "active_units_in"]

# What makes the noise of a variance small beside the threshold: 20,000 draws in all, where the mean
# given x of a standard normal is not known but by draws, leave 0.0014.
_DRAWS_IN_ALL, _FEWEST, _MOST = 20_000, 10, 100


@dataclass(frozen=True)
class ActiveUnits:
    """How far the mean of each number of a latent changes from datum to datum.

    Args:
        variances: Var_x(E_q[z | x]) of each number of the latent, (D,); an estimate, which may be
            a little below 0 where the mean given x is known by draws alone.
        threshold: Above which variance a number is active.
    """

    variances: Tensor
    threshold: float = 0.01

    @property
    def active(self) -> int:
        """How many numbers are active."""
        return int((self.variances > self.threshold).sum())

    def __len__(self) -> int:
        """How many numbers there are."""
        return len(self.variances)

    def __str__(self) -> str:
        return f"{self.active} of {len(self)} units active"


def active_units(
    program: Program,
    x: Data,
    y: Tensor | None = None,
    *,
    num_particles: int | None = None,
    batch_size: int = 500,
) -> dict[str, ActiveUnits]:
    """Which numbers of each continuous latent of a datum are active: Var_x(E_q[z | x]) > 0.01.

    In a hierarchy E_q[z | x] is a mean over draws of the latents that z depends on in the guide.
    The noise that so few draws leave is taken out of the variance, which is unbiased.

    Args:
        program: The program.
        x: Data, (N, *x_shape), a `Split` or a `DataSource`; two or more.
        y: The labels of a tensor x, for a program `model(x, y)`.
        num_particles: Draws for each datum; by default 10 to 100, the fewer the more data, or one
            where the means do not change from draw to draw.
        batch_size: Data in one run.

    Reference:
        Burda et al., 2016, https://arxiv.org/abs/1509.00519, section 5.2
    """
    with evaluating(program):
        batches = Batches.of(program, x, y, batch_size=batch_size)
        return active_units_in(program, batches, len(x), num_particles)


def active_units_in(
    program: Program, batches: Batches, num_data: int, num_particles: int | None = None
) -> dict[str, ActiveUnits]:
    """As `active_units`, for data that are in batches already, as the program is."""
    if num_data < 2:
        return {}
    first = batches.few(num_data)
    t = collect(program.model, program.guide, first, {})
    if num_particles is None:
        num_particles = 1
        if _changes(dict(_means(program, first, t)), dict(_means(program, first, t))):
            num_particles = min(max(_DRAWS_IN_ALL // num_data, _FEWEST), _MOST)
    sums: dict[str, _Sums] = {}
    for batch in batches.once():
        draws: dict[str, list[Tensor]] = {}
        for _ in range(num_particles):
            for name, means in _means(program, batch, t):
                draws.setdefault(name, []).append(means)
        for name, of_site in draws.items():
            sums.setdefault(name, _Sums()).add(torch.stack(of_site).double())
    return {name: ActiveUnits(sums[name].variances()) for name in t.latent_names if name in sums}


def _means(program: Program, batch: Sequence[Any], t: Terms) -> Iterator[tuple[str, Tensor]]:
    """Each latent's mean given those drawn before it, (N, D), NaN where masked."""
    for site in sample_sites(trace_guide(program.guide, batch, {})):
        fn = site["fn"]
        latent = site["name"] in t.latents and t.latents[site["name"]].p is not None
        if not latent or support_of(fn).is_discrete or hasattr(fn, "book"):
            continue
        mean = torch.where(which_count(site), mean_or_draw(site, mean=True), torch.nan)
        yield site["name"], t.layout.rows({**site, "value": mean})


def _changes(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return any(not torch.equal(one[n].nan_to_num(), other[n].nan_to_num()) for n in one)


@dataclass
class _Sums:
    """What the variance over data needs of them: sums over data, (D,) each."""

    number: Any = field(default=0)
    mean: Any = field(default=0)
    square: Any = field(default=0)
    noise: Any = field(default=0)

    def add(self, draws: Tensor) -> None:
        """Adds data by K draws of their means, (K, N, D)."""
        mean, counts = draws.mean(0), ~draws[0].isnan()
        noise = draws.var(0) / len(draws) if len(draws) > 1 else torch.zeros_like(mean)
        self.number = self.number + counts.sum(0)
        self.mean = self.mean + mean.nansum(0)
        self.square = self.square + mean.square().nansum(0)
        self.noise = self.noise + noise.nansum(0)

    def variances(self) -> Tensor:
        """The variance over data, without that of the mean over K draws."""
        between = (self.square - self.mean**2 / self.number) / (self.number - 1)
        return between - self.noise / self.number
