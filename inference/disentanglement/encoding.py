"""The codes that a program gives data of known factors."""

from dataclasses import dataclass

import torch
from torch import Tensor

from pyro_vae.arguments import arguments, takes_labels
from pyro_vae.datasets import DataSource
from pyro_vae.inference.evaluation import discrete_latents, encode, rates_and_means
from pyro_vae.program import Program, device_of, evaluating

__all__ = ["Codes", "codes_and_factors"]


@dataclass(frozen=True)
class Codes:
    """What a program makes of data, and the factors that these are made of.

    Args:
        site: The latent.
        values: The mean of q(z | x) of each number of the latent, flattened, (N, D).
        factors: The values of the factors, int64 (N, K).
        rates: The mean rate of each number, in nats, (D,); None where the numbers are not
            independent, so that none has a rate of its own.
        min_rate: Below which rate, in nats, a number is dead.
        min_std: Where there are no rates, below which standard deviation of its mean it is.
    """

    site: str
    values: Tensor
    factors: Tensor
    rates: Tensor | None
    min_rate: float = 0.01
    min_std: float = 0.05

    @property
    def dead(self) -> tuple[int, ...]:
        """The numbers that say next to nothing of the data, by index."""
        if self.rates is None:
            few = self.values.std(0) < self.min_std
        else:
            few = self.rates < self.min_rate
        return tuple(few.nonzero()[:, 0].tolist())


def codes_and_factors(
    program: Program,
    data: DataSource,
    *,
    site: str | None = None,
    num_data: int = 15_000,
    batch_size: int = 500,
    min_rate: float = 0.01,
    seed: int = 0,
) -> Codes:
    """The codes of data, and their factors: what the metrics take.

        codes = codes_and_factors(vae, sprites(32).test)
        mutual_information_gap(codes.values, codes.factors, dead=codes.dead)

    Args:
        program: The program.
        data: A source with data x and their `factors`, such as `sprites().test`.
        site: The latent; None if there is one alone.
        num_data: How many data to take, at random; fewer if there are fewer.
        batch_size: Data in one run.
        min_rate: Below which mean rate, in nats, a number counts as dead.
        seed: Of the choice of data.

    Raises:
        ValueError: If the data have no factors, or the program has not one such latent.
    """
    if not isinstance(data, DataSource) or "factors" not in data.shapes:
        found = ", ".join(data.shapes) if hasattr(data, "shapes") else type(data).__name__
        raise ValueError(
            f"the data have no known factors, but {found}; take sprites(...), or a source with a "
            "tensor factors, as by Tensors(x=x, factors=factors)"
        )
    means, factors, rates = [], [], []
    left = min(num_data, len(data))
    with evaluating(program):
        for batch in data.batches(batch_size, seed=seed):
            x, y = _labelled(program, batch["x"][:left], batch.get("y"))
            site = _site(program, x, y) if site is None else site
            rate, mean = rates_and_means(program, arguments(program, x, y), site)
            means.append(mean.double().cpu())
            rates.append(None if rate is None else rate.double().cpu() * len(x))
            factors.append(batch["factors"][:left].cpu())
            left -= len(x)
            if not left:
                break
    values = torch.cat(means)
    known = [rate for rate in rates if rate is not None]
    mean_rate = torch.stack(known).sum(0) / len(values) if len(known) == len(means) else None
    return Codes(str(site), values, torch.cat(factors), mean_rate, min_rate)


def _labelled(program: Program, x: Tensor, y: Tensor | None) -> tuple[Tensor, Tensor | None]:
    """Data where the program is, with labels if it takes them."""
    device = device_of(program)
    label = None if y is None or not takes_labels(program) else y[: len(x)].to(device)
    return x.to(device), label


def _site(program: Program, x: Tensor, y: Tensor | None) -> str:
    """The one continuous latent of a datum."""
    discrete = discrete_latents(program, x, y)
    found = encode(program, x[:2], None if y is None else y[:2])
    names = [name for name in found if name not in discrete]
    if len(names) != 1:
        raise ValueError(
            f"the continuous latents of the program are {names}, but one is needed; name one of "
            "them as site"
        )
    return names[0]
