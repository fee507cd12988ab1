"""Batches that a training steps on in one call, so that Python is done once for many steps."""

import time
from collections.abc import Iterator, Sequence
from itertools import groupby, islice
from typing import Any

import torch

from .svi import SVI
from .training_data import kind_of_batch

__all__ = ["Together"]

Batch = Sequence[Any]

_SECONDS = 0.05  # of a call: the bar is to move, and Ctrl-C to be heard
_MOST = 64  # batches of a call, which lie in memory at once


class Together:
    """Hands out batches in lists: of one, or of so many as the steps' graph takes in one call.

    Where taking a batch draws random numbers none is taken before its turn, since the steps draw
    them, too. The first of an epoch may draw them: by them a `DataLoader` chooses its order.

    Args:
        svi: Takes the steps, once a list is handed out.
        total: The number of steps at which the training ends.
    """

    def __init__(self, svi: SVI, total: int) -> None:
        self.svi, self.total = svi, total
        self._draws = False  # whether taking a batch was seen to draw random numbers
        self._last: Any = None  # the kind of the last batch

    def lists(self, batches: Iterator[Batch]) -> Iterator[list[Batch]]:
        """The batches of an epoch, all of a list of one kind."""
        number, is_first = 1, True
        while True:
            before = torch.get_rng_state()
            taken = list(islice(batches, min(number, self.total - self.svi.steps)))
            if not taken:
                return
            self._draws |= not is_first and not torch.equal(before, torch.get_rng_state())
            is_first = False
            began = time.perf_counter()
            yield from self._alike(taken)
            seconds = (time.perf_counter() - began) / len(taken)
            loops = self.svi.loops and not self._draws
            number = min(max(int(_SECONDS / seconds), 1), _MOST) if loops else 1

    def _alike(self, batches: Sequence[Batch]) -> Iterator[list[Batch]]:
        """The batches in lists of the kind of the last one, and in lists of one."""
        for kind, group in groupby(batches, kind_of_batch):
            alike = list(group)
            is_known, self._last = kind == self._last, kind
            yield from [alike] if is_known else ([batch] for batch in alike)
