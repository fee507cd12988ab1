"""A bound as a formula on the blackboard: its addends, each with its value on a batch."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Self

import torch
from torch import Tensor

from pyro_vae.inference.terms import Latent, Terms, log_px_of_each, weighted

from .factor_weights import number
from .notation import Notation, coefficient, symbol

if TYPE_CHECKING:
    from .estimator import Estimator

__all__ = ["Addend", "Formula", "elbo", "observed", "rates", "shared", "weighed", "with_rest"]


@dataclass(frozen=True)
class Addend:
    """One term of a bound, with the weight that it has there.

    Args:
        latex: How it is written, without its sign.
        value: In nats, of each datum, (N,), without its sign.
        sign: 1 or -1.
    """

    latex: str
    value: Tensor
    sign: int = 1

    @property
    def added(self) -> Tensor:
        """What it adds to the bound of each datum, (N,)."""
        return self.sign * self.value


@dataclass(frozen=True)
class Formula:
    """What an estimator's value is, with the value of each of its terms on a batch.

    Args:
        addends: Terms that add up to the value.
        symbol: What the value is called, in LaTeX.
        definition: The value in closed form, in LaTeX, where its addends are a way to read it;
            empty where they are its definition.
        notes: Sentences on it, such as what its gradient is of.
    """

    addends: tuple[Addend, ...]
    symbol: str = r"\mathcal{L}"
    definition: str = ""
    notes: tuple[str, ...] = ()

    @property
    def value(self) -> Tensor:
        """The sum of the addends for each datum, (N,)."""
        return torch.stack([each.added for each in self.addends]).sum(0)

    def noting(self, *notes: str) -> Self:
        """The same with more sentences."""
        return replace(self, notes=(*self.notes, *notes))


def elbo(t: Terms, of: Notation, *, gradient: str = "") -> Formula:
    """The ELBO, with the rates of all latents as drawn.

    Args:
        t: The terms of a batch.
        of: How the program's densities are written.
        gradient: A sentence on the gradient, if it is not the plain one.
    """
    addends = (*observed(t, of), *rates(t, of, {n: z.log_q - z.log_p for n, z in latents(t)}))
    return Formula(addends, symbol=r"\mathrm{ELBO}", notes=(gradient,) if gradient else ())


def with_rest(estimator: "Estimator", t: Terms, of: Notation) -> Formula:
    """The drawn ELBO, and what an estimator of unknown formula adds to that in one piece."""
    found = elbo(t, of)
    rest = estimator.objective(t) + shared(t, torch.as_tensor(estimator.global_objective(t)))
    rest = rest + shared(t, sum_of_outside(t)) - found.value
    name = symbol(type(estimator).__name__)
    if rest.abs().max() <= 1e-4 * (1 + found.value.abs().max()):
        return found
    addend = Addend(rf"\Delta_{{{name}}}", rest)
    note = (
        rf"$\Delta$ is what {type(estimator).__name__} adds to the ELBO; it states no formula "
        "of its own"
    )
    return Formula((*found.addends, addend), notes=(note,))


def observed(t: Terms, of: Notation) -> tuple[Addend, ...]:
    """The log densities of what the model observes, a site each."""
    local = [
        Addend(of.mean(of.log_p(name)), value.mean(0).expand(num_columns(t)))
        for name, value in log_px_of_each(t).items()
    ]
    outside = [
        Addend(_share(t, of.mean(of.log_p(name))), shared(t, value.mean()))
        for name, value in t.outside.items()
    ]
    return (*local, *outside)


def rates(
    t: Terms,
    of: Notation,
    kls: Mapping[str, Tensor],
    write: Callable[[str], str] | None = None,
) -> tuple[Addend, ...]:
    """What is taken off for each latent, which of those outside the data plate is a share.

    Args:
        t: The terms of a batch.
        of: How the program's densities are written.
        kls: By latent, (K, N), or (K, 1) of those that all data share.
        write: How that of a latent is written; by default as the mean of log q - log p.
    """
    if any(latent.p is None for _, latent in latents(t)) and write is None:
        return _of_all_together(t, of, kls)
    write = write or (lambda name: drawn(of, name))
    addends = []
    for name, kl in kls.items():
        if name in t.global_latents:
            addends.append(Addend(_share(t, write(name)), shared(t, kl.mean()), -1))
        else:
            addends.append(Addend(write(name), kl.mean(0).expand(num_columns(t)), -1))
    return tuple(addends)


def weighed(estimator: "Estimator", t: Terms) -> tuple[Addend, ...]:
    """What the training factors add beside the bound, each with its weight."""
    addends = []
    for name, value in {**t.factors, **t.global_factors}.items():
        weight = number(estimator.factors.get(name, 1.0))
        latex = coefficient(weight) + symbol(name)
        value = weighted(weight, value)
        local = name in t.factors
        mean = value.mean(0).expand(num_columns(t)) if local else shared(t, value.mean())
        addends.append(Addend(latex, mean))
    return tuple(addends)


def drawn(of: Notation, name: str) -> str:
    """The rate of a latent as the mean of log q - log p; of one of the guide alone, of log q."""
    if name not in of.model:
        return of.mean(of.log_q(name))
    return of.mean(rf"{of.log_q(name)} - {of.log_p(name)}")


def latents(t: Terms) -> list[tuple[str, Latent]]:
    """The latents by name, from the top down, those that all data share before those of a datum."""
    return [*t.global_latents.items(), *((name, t.latents[name]) for name in order(t))]


def order(t: Terms) -> list[str]:
    """The latents of each datum in the model's order, then those of the guide alone."""
    named = [name for name in t.parts[0].latent_names]
    return [*named, *(name for name in t.latents if name not in named)]


def num_columns(t: Terms) -> int:
    """N, the data that have a column each."""
    sizes = (latent.log_q.shape[-1] for latent in t.latents.values())
    return max(t.log_px.shape[-1], *sizes, 1)


def shared(t: Terms, value: Tensor) -> Tensor:
    """The share of each datum of the batch in what all data have together, (N,)."""
    return (value.sum() / (t.scale * num_columns(t))).expand(num_columns(t))


def sum_of_outside(t: Terms) -> Tensor:
    """What the model observes outside the data plate, a number."""
    return torch.as_tensor(sum(value.mean() for value in t.outside.values()))


def _share(t: Terms, latex: str) -> str:
    """The share of a datum in what all data have together."""
    num_data = round(t.scale * num_columns(t))
    return latex if num_data == 1 else rf"\frac{{1}}{{{num_data}}} {latex}"


def _of_all_together(t: Terms, of: Notation, kls: Mapping[str, Tensor]) -> tuple[Addend, ...]:
    """The rate of latents of which an automatic guide draws others, which have none alone."""
    names = [name for name, latent in latents(t) if latent.p is not None]
    z = ", ".join(map(symbol, names))
    values = [
        shared(t, kl.mean()) if name in t.global_latents else kl.mean(0).expand(num_columns(t))
        for name, kl in kls.items()
    ]
    latex = of.mean(rf"\log q({z}) - \log p({z})")
    return (Addend(latex, torch.stack(values).sum(0), -1),)
