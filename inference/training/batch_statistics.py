"""The averages of batch normalization, computed anew over the training data before they are used.

While it trains, a layer keeps moving averages of the means and variances of its batches, which lag
behind its weights; in evaluation mode it normalizes by these. A hierarchy of many such layers adds
their lags up. Sønderby et al. (2016, https://arxiv.org/abs/1602.02282) took the statistics of all
training data before each test, with the weights as they were.
"""

import warnings
from collections.abc import Iterator, Sequence, Sized
from contextlib import contextmanager
from itertools import islice
from typing import Any

import pyro
import torch
from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm

from pyro_vae.batches import Batches
from pyro_vae.inference.terms import leaving_no_trace, traces
from pyro_vae.parameters import own_parameters
from pyro_vae.program import Program, modules_of

from .generators import generators_state, set_generators_state

__all__ = ["BatchStatistics"]


class BatchStatistics:
    """Recomputes a program's averages by one pass over its training data.

    Each becomes the plain average of the statistics of the batches (`momentum=None` in torch).
    Layers in evaluation mode, as in frozen modules, keep theirs. A program without batch
    normalization is warned of.

    Args:
        program: The program that is trained.
        data: Its training data.
    """

    def __init__(self, program: Program, data: Batches) -> None:
        self.program, self.data = program, data
        if not self._layers():
            warnings.warn(
                "there are no batch statistics to recompute: the program has no batch "
                "normalization that keeps averages and is in training mode",
                stacklevel=3,
            )

    def recompute(self, seed: int, most: int) -> None:
        """Takes the averages anew; all else that a run changes, and random numbers, stay.

        Args:
            seed: Of the order of the data.
            most: Batches of data that do not know their length, which may have no end.

        Raises:
            ValueError: If the data cannot be gone through again.
        """
        layers = self._layers()
        if not layers:
            return
        before = [_copied(layer) for layer in layers]
        try:
            found = self._averages(
                layers, seed, None if isinstance(self.data.data, Sized) else most
            )
        finally:
            _put(layers, before)
        _put(layers, found)

    @torch.no_grad()
    def _averages(
        self, layers: Sequence[Any], seed: int, most: int | None
    ) -> list[list[Tensor] | None]:
        """The averages of each layer over a pass; None of one that did not run."""
        program = self.program
        with (
            pyro.validation_enabled(False),
            own_parameters(program.model, program.guide),
            _same_random_numbers(),
            leaving_no_trace(),
            _cumulative(layers),
        ):
            number = 0
            for batch in islice(self.data.once(seed), most):
                traces(program.model, program.guide, batch, {})
                number += 1
            if not number:
                raise ValueError(
                    "the batch statistics cannot be recomputed, since the training data cannot be "
                    "gone through again; give a tensor, a list of batches or a DataLoader"
                )
            return [_copied(layer) if layer.num_batches_tracked else None for layer in layers]

    def _layers(self) -> list[Any]:
        """The batch normalizations that keep averages, and are not in evaluation mode."""
        tops = modules_of(self.program.model, self.program.guide).values()
        found = {id(part): part for top in tops for part in top.modules()}.values()
        layers = [part for part in found if isinstance(part, _BatchNorm) and part.training]
        return [layer for layer in layers if layer.track_running_stats]


@contextmanager
def _cumulative(layers: Sequence[Any]) -> Iterator[None]:
    """Has layers average from nothing, each batch alike."""
    momenta = [layer.momentum for layer in layers]
    try:
        for layer in layers:
            layer.reset_running_stats()
            layer.momentum = None
        yield
    finally:
        for layer, momentum in zip(layers, momenta, strict=True):
            layer.momentum = momentum


@contextmanager
def _same_random_numbers() -> Iterator[None]:
    state = generators_state()
    try:
        yield
    finally:
        set_generators_state(state)


def _copied(layer: Any) -> list[Tensor]:
    return [buffer.clone() for buffer in layer.buffers(recurse=False)]


@torch.no_grad()
def _put(layers: Sequence[Any], averages: Sequence[list[Tensor] | None]) -> None:
    for layer, values in zip(layers, averages, strict=True):
        for buffer, value in zip(layer.buffers(recurse=False), values or (), strict=False):
            buffer.copy_(value)
