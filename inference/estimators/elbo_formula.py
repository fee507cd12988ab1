"""The ELBO as a formula: its weights, floors and targets as an estimator has them."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from pyro_vae.inference.terms import Terms, closed_kl, weighted

from .factor_weights import is_zero, number
from .formula import Addend, Formula, drawn, latents, num_columns, observed, rates, shared
from .notation import Notation, coefficient, decimal, symbol
from .site_weights import all_at_least_one, at_site

if TYPE_CHECKING:
    from .elbo import Trace_ELBO

__all__ = ["formula_of_elbo"]


def formula_of_elbo(estimator: "Trace_ELBO", t: Terms, of: Notation) -> Formula:
    """The ELBO of an estimator with drawn or analytic KL, as it weighs and floors it.

    Args:
        estimator: The estimator.
        t: The terms of a batch.
        of: How the program's densities are written.
    """
    found: Mapping[str, Tensor] = {**estimator.global_kls(t), **estimator.kls(t)}
    names = [name for name, _ in latents(t) if name in found]
    kls = {name: weighted(_beta(estimator, name), found[name]) for name in names}
    plain = estimator.is_bound
    write = None if plain and not estimator.averages else lambda name: _paid(estimator, t, of, name)
    addends = (*observed(t, of), *rates(t, of, kls, write))
    if "all" in found:
        addends = (*addends, _held(estimator, t, of, found["all"]))
    if t.observed_by_guide and not is_zero(by_guide := estimator.observed_by_guide(t)):
        latex = " + ".join(of.log_q(name) for name in t.observed_by_guide)
        addends = (*addends, Addend(of.mean(latex), shared(t, torch.as_tensor(by_guide)), -1))
    notes = (*_on_floors(estimator), estimator.about_gradient)
    name = r"\mathrm{ELBO}" if plain else r"\mathcal{L}"
    return Formula(addends, symbol=name, notes=tuple(filter(None, notes)))


def _beta(estimator: "Trace_ELBO", name: str) -> float:
    return number(at_site(estimator.beta, name, 1.0))


def _kl(estimator: "Trace_ELBO", t: Terms, of: Notation, name: str) -> str:
    """How the KL of a latent is written: as such where it is in closed form."""
    latent = {**t.parts[0].latents, **t.parts[0].global_latents}[name]
    closed = latent.p is not None and closed_kl(latent.q, latent.p) is not None
    return of.kl(name) if estimator.averages and closed else drawn(of, name)


def _paid(estimator: "Trace_ELBO", t: Terms, of: Notation, name: str) -> str:
    kl = _kl(estimator, t, of, name)
    bits, each = (
        number(at_site(floor, name, 0.0))
        for floor in (estimator.free_bits, estimator.free_bits_per_dimension)
    )
    if bits:
        kl = rf"\max({kl}, {decimal(bits)})"
    if each:
        kl = rf"\sum_{{j}} \max({kl}_{{j}}, {decimal(each)})"
    balances = estimator.kl_balance and not all_at_least_one(estimator.beta)
    balance = rf"c_{{{symbol(name)}}}\," if balances and name in t.latents else ""
    return coefficient(_beta(estimator, name)) + balance + kl


def _held(estimator: "Trace_ELBO", t: Terms, of: Notation, distance: Tensor) -> Addend:
    """How far the KL of all latents of a datum is from the capacity."""
    kls = " + ".join(_paid_without_beta(estimator, t, of, name) for name in t.latent_names)
    beta = number(estimator.beta)  # type: ignore[arg-type]
    latex = rf"{coefficient(beta)}|{kls} - {decimal(number(estimator.capacity))}|"
    value = weighted(beta, distance).mean(0).expand(num_columns(t))
    return Addend(latex, value, -1)


def _paid_without_beta(estimator: "Trace_ELBO", t: Terms, of: Notation, name: str) -> str:
    return _paid(estimator, t, of, name).removeprefix(coefficient(_beta(estimator, name)))


def _on_floors(estimator: "Trace_ELBO") -> list[str]:
    """What the letters in the formula stand for."""
    notes = []
    if not is_zero(estimator.free_bits_per_dimension):
        notes.append("$j$ runs over the numbers of a latent")
    if not is_zero(estimator.free_bits) or not is_zero(estimator.free_bits_per_dimension):
        notes.append("a floor is held against the mean over the batch")
    if not is_zero(estimator.capacity):
        notes.append("the KL is held against its target in the mean over the batch")
    if estimator.kl_balance and not all_at_least_one(estimator.beta):
        notes.append("$c$ balances the latents while a beta is below 1; it is 1 on average")
    return notes
