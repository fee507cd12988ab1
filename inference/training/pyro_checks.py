"""When Pyro's validation is on in a training: for the first batch of each shape."""

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
    """Switches Pyro's validation on, as the user has set it when this is built, and off.

    Validation takes a good part of a step. What it finds depends on the program and on the shapes
    of a batch, hardly on its numbers, so that the first batch of each shape shows it.
    """

    def __init__(self) -> None:
        self._settings = {name: pyro.settings.get(name) for name in _SETTINGS}
        self._seen: set[Any] = set()

    def on(self) -> AbstractContextManager[None]:
        """Validates as the user has set it."""
        return pyro.settings.context(**self._settings)

    def has_seen(self, batch: Sequence[Any]) -> bool:
        """Whether there was a batch of its shapes and types."""
        return kind_of_batch(batch) in self._seen

    def is_new(self, batch: Sequence[Any]) -> bool:
        """Whether this is the first batch of its shapes and types."""
        kind = kind_of_batch(batch)
        is_new = kind not in self._seen
        self._seen.add(kind)
        return is_new

    @contextmanager
    def off(self) -> Iterator[None]:
        """Validates nothing."""
        with pyro.validation_enabled(False):
            yield
