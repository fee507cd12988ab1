"""Pyro's checks in a training: on for the first step of each kind of batch, off for the others."""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import pyro

from .training_data import kind_of_batch

__all__ = ["Checks"]

_SETTINGS = (
    "validate_distributions_pyro",
    "validate_distributions_torch",
    "validate_infer",
    "validate_poutine",
)


class Checks:
    """Pyro's checks, as they are set where this is made.

    They take a good part of a step, and what they find lies in the program, not in its numbers,
    so that one look at each kind of batch finds it.
    """

    def __init__(self) -> None:
        self._settings = {name: pyro.settings.get(name) for name in _SETTINGS}
        self._seen: set[Any] = set()

    def on(self) -> AbstractContextManager[None]:
        """Checks as the user has set it."""
        return pyro.settings.context(**self._settings)

    def is_new(self, batch: Sequence[Any]) -> bool:
        """Whether no batch of this kind has come yet."""
        kind = kind_of_batch(batch)
        is_new = kind not in self._seen
        self._seen.add(kind)
        return is_new

    @contextmanager
    def off(self) -> Iterator[None]:
        """Checks nothing."""
        with pyro.validation_enabled(False):
            yield
