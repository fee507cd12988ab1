"""What a latent tells of the data: mutual information, and the guide averaged over the data.

The rate, averaged over the data, is a sum of two (Hoffman and Johnson, 2016):

    E_x[KL(q(z | x) || p(z))] = I_q(x; z) + KL(q(z) || p(z)),    q(z) = 1/N sum_n q(z | x_n)

A decoder that ignores z leaves nothing to tell, and I_q(x; z) goes to 0: posterior collapse.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyro
import torch
from torch import Tensor
from torch.distributions import Normal, TransformedDistribution

from pyro_vae.batches import Batches, Data, num_data, rows_of
from pyro_vae.distributions import FlowDistribution, Reshaped, is_estimated
from pyro_vae.inference.terms import (
    collect,
    inner,
    is_point,
    sample_sites,
    traces,
    which_count,
)
from pyro_vae.program import Program, evaluating

__all__ = ["Information", "mutual_information", "mutual_information_in"]

# The most data and draws. The densities of diagonal Normals at each other's draws are products of
# matrices, 1 s on a CPU; a flow runs its networks for each pair, 5 s.
_OF_NORMALS, _OF_OTHERS, _OF_FLOWS = (10_000, 2_000), (2_000, 500), (1_000, 50)
_PAIRS = 20_000  # of a datum and a draw, in one call of `log_prob`


@dataclass(frozen=True)
class Information:
    """The two parts of a latent's rate, estimated with N data.

    Args:
        told: log q(z_i | x_i) - log q(z_i) of draws z_i from some of the data, (M,).
        marginal: log q(z_i) - log p(z_i), (M,); None where p(z) is not the same for all data.
        num_data: N, over which q(z) is averaged.
    """

    told: Tensor
    marginal: Tensor | None
    num_data: int

    @property
    def mutual_information(self) -> float:
        """I_q(x; z), in nats."""
        return self.told.mean().item()

    @property
    def error(self) -> float:
        """The standard error of the mutual information, by the draws."""
        return self.told.std().item() / math.sqrt(len(self.told))

    @property
    def cap(self) -> float:
        """Log N: no estimate is larger, since N data can be told apart by log N nats.

        An estimate near it says that the latent tells as much, or any more.
        """
        return math.log(self.num_data)

    @property
    def marginal_kl(self) -> float | None:
        """KL(q(z) || p(z)), in nats, if it is known."""
        return None if self.marginal is None else self.marginal.mean().item()

    def __str__(self) -> str:
        found = f"mutual information {self.mutual_information:z.2f} of at most {self.cap:.2f} nats"
        kl = self.marginal_kl
        return found + ("" if kl is None else f", KL(q(z) || p(z)) {kl:z.2f}")


def mutual_information(
    program: Program,
    x: Data,
    y: Tensor | None = None,
    *,
    num_data: int | None = None,
    num_draws: int | None = None,
    batch_size: int = 500,
) -> dict[str, Information]:
    """I_q(x; z) of each latent that the guide draws from x alone, and KL(q(z) || p(z)).

    In a hierarchy this is the first latent of the guide. Left out are latents that depend on
    others, such as the lower layers; those on points, masked or of codes; and sequences of them.

    Args:
        program: The program.
        x: Data, (N, *x_shape), a `Split` or a `DataSource`; two or more.
        y: The labels of a tensor x, for a program `model(x, y)`.
        num_data: The most data to average the guide over, taken evenly. By default 10,000 of
            diagonal Normals, 1,000 of flows, whose densities take long, and 2,000 of others. With
            few data, as of a minibatch, the estimate is close to its cap, and says little.
        num_draws: The most draws, one for a datum; by default 2,000, 50 and 500.
        batch_size: Data in one run.

    Reference:
        Hoffman and Johnson, 2016, http://approximateinference.org/accepted/HoffmanJohnson2016.pdf;
        of collapse: He et al., 2019, https://arxiv.org/abs/1901.05534
    """
    with evaluating(program):
        batches = Batches.of(program, x, y, batch_size=batch_size)
        return mutual_information_in(program, batches, len(x), num_data, num_draws)


def mutual_information_in(
    program: Program,
    batches: Batches,
    in_all: int,
    num_data: int | None = None,
    num_draws: int | None = None,
) -> dict[str, Information]:
    """As `mutual_information`, for `in_all` data that are in batches, as the program is."""
    if in_all < 2:
        return {}
    with pyro.validation_enabled(False):
        names = _names(program, batches.few(in_all))
        if not names:
            return {}
        sizes = min(names.values())
        each = math.ceil(in_all / (num_data or sizes[0]))
        aggregates = {name: _Aggregate() for name in names}
        kept = len(range(0, in_all, each))
        for batch, drawn in _thinned(batches, each, math.ceil(kept / (num_draws or sizes[1]))):
            model, guide = traces(program.model, program.guide, batch, {})
            for name, aggregate in aggregates.items():
                aggregate.add(guide.nodes[name], model.nodes[name], drawn)
        return {name: aggregate.information() for name, aggregate in aggregates.items()}


def _names(program: Program, batch: Sequence[Any]) -> dict[str, tuple[int, int]]:
    """The latents of which an estimate is made, and of how many data and draws at most."""
    t = collect(program.model, program.guide, batch, {})
    fns = (site["fn"] for site in sample_sites(t.traces[1]) if site["name"] in t.latents)
    if num_data(batch) < 2 or not any(map(_has_density, fns)):
        return {}
    one, other = (traces(program.model, program.guide, batch, {})[1] for _ in range(2))
    found = {}
    for site in sample_sites(one):
        name, q = site["name"], site["fn"]
        is_local = name in t.latents and t.latents[name].p is not None
        if (
            not is_local
            or tuple(q.batch_shape) != (num_data(batch),)
            or not which_count(site).all()
        ):
            continue
        if not _has_density(q):
            continue
        z = site["value"].clone()  # so that a flow inverts it both times
        if torch.allclose(q.log_prob(z), other.nodes[name]["fn"].log_prob(z), equal_nan=True):
            found[name] = _sizes(inner(q))
    return found


def _has_density(q: Any) -> bool:
    """Whether it is no point and no codes, and its density is no estimate."""
    return not (is_point(q) or hasattr(q, "book") or is_estimated(q))


def _sizes(q: Any) -> tuple[int, int]:
    if isinstance(q, Normal):
        return _OF_NORMALS
    flat = q.base_dist if isinstance(q, Reshaped) else q
    is_flow = isinstance(flat, TransformedDistribution | FlowDistribution)
    return _OF_FLOWS if is_flow else _OF_OTHERS


def _thinned(batches: Batches, each: int, drawn_each: int) -> Iterator[tuple[list[Any], slice]]:
    """Every so many-th datum, in batches, with those among them that a draw is made of."""
    seen = kept = 0
    for batch in batches.once():
        size = num_data(batch)
        rows = slice(-seen % each, None, each)
        seen += size
        number = len(range(size)[rows])
        if number:
            yield rows_of(batch, rows), slice(-kept % drawn_each, None, drawn_each)
            kept += number


@dataclass
class _Aggregate:
    """A latent's posteriors of all data, and draws from some of them."""

    posteriors: list[Any] = field(default_factory=list)
    draws: list[Tensor] = field(default_factory=list)
    log_q: list[Tensor] = field(default_factory=list)
    log_p: list[Tensor] = field(default_factory=list)
    has_prior: bool = True  # the same for all data
    first: Any = None  # draw, with its log p(z)

    def add(self, guide: Mapping[str, Any], model: Mapping[str, Any], drawn: slice) -> None:
        """Adds the posteriors of a batch, and those of its draws that are asked for."""
        q, p, z = guide["fn"], model["fn"], guide["value"]
        self.posteriors.append(q)
        self.draws.append(z[drawn])
        self.log_q.append(q.log_prob(z)[drawn])
        self.has_prior = self.has_prior and not is_estimated(p) and self._is_same(p, z)
        if self.has_prior:
            self.log_p.append(p.log_prob(z)[drawn])

    def information(self) -> Information:
        """What the draws tell of which posterior they are from."""
        z, number = torch.cat(self.draws), sum(q.batch_shape[0] for q in self.posteriors)
        sums = [_log_densities(q, z).logsumexp(-1) for q in self.posteriors]
        log_marginal = torch.stack(sums).logsumexp(0) - math.log(number)
        # of which rounding alone is above log N
        told = (torch.cat(self.log_q).double() - log_marginal).clamp(max=math.log(number))
        marginal = log_marginal - torch.cat(self.log_p).double() if self.has_prior else None
        return Information(told, marginal, number)

    def _is_same(self, p: Any, z: Tensor) -> bool:
        """Whether a prior is the same for all data and other latents: its density of one z is."""
        first = z[:1] if self.first is None else self.first[0]
        values = p.log_prob(first.expand_as(z))
        self.first = first, values[:1] if self.first is None else self.first[1]
        return torch.allclose(values, self.first[1].expand_as(values))


def _log_densities(q: Any, z: Tensor) -> Tensor:
    """Log q_n(z_i) of N posteriors at M draws: (M, *event_shape) to (M, N), in double precision."""
    normal, size = inner(q), q.batch_shape[0]
    if isinstance(normal, Normal):
        shape = q.batch_shape + q.event_shape
        loc, scale = (
            v.expand(shape).reshape(size, -1).double() for v in (normal.loc, normal.scale)
        )
        z, weight = z.reshape(len(z), -1).double(), scale**-2
        squares = z.square() @ weight.mT - 2 * z @ (weight * loc).mT + (weight * loc**2).sum(1)
        constant = scale.log().sum(1) + loc.shape[1] * math.log(2 * math.pi) / 2
        return -squares / 2 - constant
    rows = z.split(max(_PAIRS // size, 1))
    return torch.cat(
        [q.log_prob(z[:, None].expand(-1, size, *q.event_shape)).double() for z in rows]
    )
