"""How many data a loss stands for: programs with a data plate larger than the batch scale it up."""

import inspect
from collections.abc import Sequence
from typing import Any

import pyro
import torch
from pyro import poutine

from pyro_vae.program import Program, evaluating

from .estimator import Estimator, collect
from .layout import data_plate, samples

__all__ = ["Counts"]


class Counts:
    """How many data the loss of a batch stands for: a data plate larger than it scales it up.

    It runs the program, with Pyro's checks, once for each length of a batch.
    """

    def __init__(self, program: Program, loss: Any) -> None:
        self.program, self.loss = program, loss
        self.validate = pyro.settings.get("validate_poutine")  # which the training turns off
        self._plates: dict[int, Any] = {}

    def weight(self, batch: Sequence[Any]) -> float:
        """What makes a loss the sum over as many data as the batch holds."""
        size, plate = len(batch[0]), self._plate(batch)
        full_size = (plate and plate.full_size) or size
        return size / max(size, full_size)

    def has_columns(self, batch: Sequence[Any]) -> bool:
        """Whether each datum has a bound of its own."""
        plate = self._plate(batch)
        return plate is not None and plate.size == len(batch[0])

    def _plate(self, batch: Sequence[Any]) -> Any:
        size = len(batch[0])
        if size not in self._plates:
            _check_arguments(self.program, batch)
            with (
                torch.random.fork_rng(),
                evaluating(self.program),
                pyro.validation_enabled(self.validate),
            ):
                self._plates[size] = self._run(batch)
        return self._plates[size]

    def _run(self, batch: Sequence[Any]) -> Any:
        model, guide = self.program.model, self.program.guide
        if isinstance(self.loss, Estimator):
            return collect(model, guide, batch, {}).layout.data
        # Other losses may sum latents out, which `collect` refuses.
        drawn = poutine.trace(guide).get_trace(*batch)
        model_trace = poutine.trace(poutine.replay(model, drawn)).get_trace(*batch)
        return data_plate(samples(model_trace), len(batch[0]))


def _check_arguments(program: Program, batch: Sequence[Any]) -> None:
    for role in ("model", "guide"):
        signature = inspect.signature(getattr(program, role))
        try:
            signature.bind(*batch)
        except TypeError as error:
            takes = sum(p.kind <= p.POSITIONAL_OR_KEYWORD for p in signature.parameters.values())
            raise TypeError(
                f"the batches have {_count(len(batch), 'part')}, but {role} takes "
                f"{_count(takes, 'argument')}; give the data alone, such as "
                "[x for x, y in loader], or let model and guide take all parts"
            ) from error


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" + "s" * (number != 1)
