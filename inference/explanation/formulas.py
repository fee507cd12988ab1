"""The formula of an estimator on a batch: of ours by its own method, of Pyro's by ours."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pyro.infer
import torch
from pyro.infer import ELBO
from torch import Tensor

from pyro_vae.inference.comparison import is_bound
from pyro_vae.inference.estimators import (
    IWAE,
    Addend,
    Estimator,
    Formula,
    Renyi,
    Trace_ELBO,
    TraceMeanField_ELBO,
    describes_formula,
    elbo,
    shared,
    weighed,
)
from pyro_vae.inference.evaluation import points_of_guide
from pyro_vae.program import Program

from .enumerated import enumerated
from .structure import Structure

__all__ = ["Stated", "stated"]

_MAX_ROWS = 5_000  # data times particles in one run of importance weights, which bounds the memory
_PYROS = {
    pyro.infer.Trace_ELBO: Trace_ELBO,
    pyro.infer.JitTrace_ELBO: Trace_ELBO,
    pyro.infer.TraceGraph_ELBO: Trace_ELBO,
    pyro.infer.TraceMeanField_ELBO: TraceMeanField_ELBO,
    pyro.infer.JitTraceMeanField_ELBO: TraceMeanField_ELBO,
}


@dataclass(frozen=True)
class Stated:
    """A formula with its values on a batch.

    Args:
        formula: The value of the estimator.
        beside: What training factors add to it.
        elbo: The ELBO of the same draws, (N,); None where it is not known apart.
        is_bound: Whether the estimator's value is a bound, whatever the program.
        points: The latents that the guide puts on a point, where it has no density.
    """

    formula: Formula
    beside: tuple[Addend, ...] = ()
    elbo: Tensor | None = None
    is_bound: bool = True
    points: tuple[str, ...] = ()


def stated(loss: ELBO, program: Program, args: tuple[Any, ...], structure: Structure) -> Stated:
    """The formula of an estimator on a batch.

    Args:
        loss: The estimator, without schedules.
        program: The program, in evaluation mode.
        args: The batch, as model and guide take it.
        structure: The program's.
    """
    if isinstance(loss, pyro.infer.TraceEnum_ELBO):
        formula, beside = enumerated(loss, program, args, structure)
        return Stated(formula, beside)
    ours = _ours(loss)
    if ours is None:
        return _of_pyro(loss, program, args, structure)
    if isinstance(ours, IWAE):
        ours = replace(ours, chunk_size=None)
        size = max(_MAX_ROWS // ours.num_particles, 1)
        parts = [
            _one(ours, program, tuple(part), structure)
            for part in zip(*(x.split(size) for x in args), strict=True)
        ]
        return _together(parts, _cat)
    runs = 1 if ours.vectorize_particles else ours.num_particles
    ours = ours if runs == 1 else replace(ours, num_particles=1)
    parts = [_one(ours, program, args, structure) for _ in range(runs)]
    return _together(parts, _mean)


def _one(
    estimator: Estimator, program: Program, args: tuple[Any, ...], structure: Structure
) -> Stated:
    """The formula by one run."""
    t = estimator.terms(program.model, program.guide, *args)
    of = structure.notation
    known = describes_formula(estimator, "formula")
    formula = estimator.formula(t, of) if known else Estimator.formula(estimator, t, of)
    return Stated(
        formula,
        weighed(estimator, t),
        elbo(t, of).value,
        is_bound(estimator),
        tuple(points_of_guide(t.parts[0])),
    )


def _together(parts: Sequence[Stated], combine: Callable[[Sequence[Tensor]], Tensor]) -> Stated:
    """One of several, whose values are combined."""
    if len(parts) == 1:
        return parts[0]

    def addends(groups: Sequence[Sequence[Addend]]) -> tuple[Addend, ...]:
        each = zip(*groups, strict=True)
        return tuple(replace(same[0], value=combine([a.value for a in same])) for same in each)

    formula = replace(parts[0].formula, addends=addends([p.formula.addends for p in parts]))
    values = [part.elbo for part in parts if part.elbo is not None]
    beside = addends([part.beside for part in parts])
    return replace(parts[0], formula=formula, beside=beside, elbo=combine(values))


def _cat(values: Sequence[Tensor]) -> Tensor:
    return torch.cat([*values])


def _mean(values: Sequence[Tensor]) -> Tensor:
    return torch.stack([*values]).mean(0)


def _ours(loss: ELBO) -> Estimator | None:
    """The estimator of this house whose value is that of a loss; None if there is none."""
    if isinstance(loss, Estimator):
        return loss
    if type(loss) is pyro.infer.RenyiELBO:
        return Renyi(loss.num_particles, alpha=loss.alpha)
    kind = _PYROS.get(type(loss))
    return None if kind is None else kind(num_particles=loss.num_particles)


def _of_pyro(loss: ELBO, program: Program, args: tuple[Any, ...], structure: Structure) -> Stated:
    """The formula of another ELBO of Pyro: the ELBO, and what its value is above that."""
    value = -torch.as_tensor(loss.loss(program.model, program.guide, *args))
    t = Trace_ELBO().terms(program.model, program.guide, *args)
    plain, name = elbo(t, structure.notation), type(loss).__name__
    rest = shared(t, value) - plain.value.mean()
    addend = Addend(rf"\Delta_{{\mathrm{{{name}}}}}".replace("_ELBO", ""), rest)
    note = rf"$\Delta$ is what the value of pyro.infer.{name} is above the mean ELBO of other draws"
    formula = Formula((*plain.addends, addend), notes=(note,))
    points = tuple(points_of_guide(t))
    return Stated(formula, elbo=plain.value, is_bound=is_bound(loss), points=points)
