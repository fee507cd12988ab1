"""Finds the data plate among plates of equal size: one row changes, and one plate reacts."""

from collections.abc import Sequence
from typing import Any
from weakref import WeakKeyDictionary

import torch
from pyro import poutine
from pyro.poutine.indep_messenger import CondIndepStackFrame
from torch import Tensor

from pyro_vae.distributions import is_estimated

from .plates import DataPlate, is_deterministic, num_rows
from .runs import Function, Run, run, sample_sites
from .trials import all_modules, evaluation_mode, trial

__all__ = ["settled"]

_TRIES = 8
# What has been found, by the names of the plates in question: trying costs some runs.
_KNOWN: WeakKeyDictionary[Any, dict[frozenset[str], str]] = WeakKeyDictionary()


def settled(
    plate: DataPlate, model: Function, guide: Function, args: Any, kwargs: Any
) -> DataPlate:
    """The plate that numbers the rows of the data: a changed row shows at its own index alone.

    Args:
        plate: The plates in question.
        model: The model.
        guide: Its guide.
        args: Positional arguments of both.
        kwargs: Keyword arguments of both.
    """
    frames = [frame for frame in (plate.frame, *plate.rivals) if frame is not None]
    num_data = num_rows(args, kwargs)
    if any(frame.size != num_data for frame in frames):
        return plate  # none fits, or some hold subsamples, which rows do not number
    known = _known(getattr(model, "__self__", model))
    names = frozenset(frame.name for frame in frames)
    if names not in known:
        fitting = _following(frames, model, guide, args, kwargs)
        if len(fitting) != 1:
            return plate
        known[names] = fitting[0].name
    return DataPlate(next(frame for frame in frames if frame.name == known[names]))


def _known(program: Any) -> dict[frozenset[str], str]:
    try:
        return _KNOWN.setdefault(program, {})
    except TypeError:  # neither hashed nor referred to weakly, so it is tried each time
        return {}


def _following(
    frames: Sequence[CondIndepStackFrame], model: Function, guide: Function, args: Any, kwargs: Any
) -> list[CondIndepStackFrame]:
    """The plates in which a changed row changes log densities at its own index alone."""
    fitting, some_moved = list(frames), False
    with trial(), evaluation_mode(all_modules(model, guide, [])):
        before = run(model, guide, args, kwargs)
        on_its_draws = poutine.replay(guide, trace=before.detached)
        for row in range(min(frames[0].size, _TRIES)):
            other_args, other_kwargs = _with_row_of_the_next(args, kwargs, row, frames[0].size)
            after = run(model, on_its_draws, other_args, other_kwargs)
            moved = {frame: _moved(frame, before, after) for frame in fitting}
            some_moved |= any(bool(where.any()) for where in moved.values())
            fitting = [f for f in fitting if not moved[f][torch.arange(f.size) != row].any()]
            if some_moved and len(fitting) < 2:
                break
    return fitting if some_moved else []


def _with_row_of_the_next(args: Any, kwargs: Any, row: int, num_data: int) -> tuple[Any, Any]:
    """The arguments with one row of data replaced by the next."""

    def replaced(value: Any) -> Any:
        if not isinstance(value, Tensor) or value.dim() == 0 or len(value) != num_data:
            return value
        value = value.clone()
        value[row] = value[(row + 1) % num_data]
        return value

    return [replaced(value) for value in args], {k: replaced(v) for k, v in kwargs.items()}


def _moved(frame: CondIndepStackFrame, before: Run, after: Run) -> Tensor:
    """Where along a plate log densities differ between two runs, (size of the plate,)."""
    moved = torch.zeros(frame.size, dtype=torch.bool)
    for one, other in ((before.model, after.model), (before.guide, after.guide)):
        for site in sample_sites(one):
            noisy = is_deterministic(site) or is_estimated(site["fn"])
            if frame in site["cond_indep_stack"] and not noisy:
                pair = site["log_prob"], other.nodes[site["name"]]["log_prob"]
                same = torch.isclose(*pair, rtol=1e-5, atol=1e-6, equal_nan=True)
                along = same.movedim(frame.dim or -1, 0).reshape(frame.size, -1)
                moved |= ~along.all(1).cpu()
    return moved
