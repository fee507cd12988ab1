"""Rows of data in which one factor is fixed and the others are as they come."""

from collections.abc import Iterator

import numpy as np

from .score import Array, Table

__all__ = ["FixedFactor", "check_counts", "drawn_factors"]


class FixedFactor:
    """Draws rows that have a given value of one factor, with replacement, from those there are.

    Args:
        values: Of the factor, whole numbers from 0 on without gaps, (N,).
        rng: What is drawn from.
    """

    def __init__(self, values: Array, rng: np.random.Generator) -> None:
        self.rng, self._order = rng, values.argsort(kind="stable")
        self._counts = np.bincount(values)
        self._starts = self._counts.cumsum() - self._counts

    def rows(self, values: Array) -> Array:
        """A row for each value, in its shape."""
        place = (self.rng.random(values.shape) * self._counts[values]).astype(np.int64)
        return self._order[self._starts[values] + place]


def drawn_factors(
    t: Table, number: int, rng: np.random.Generator
) -> Iterator[tuple[int, FixedFactor, int]]:
    """Factors drawn so many times: each with what fixes it, and how often it came."""
    times = rng.multinomial(number, np.full(len(t.varying), 1 / len(t.varying)))
    for k, count in enumerate(times.tolist()):
        yield k, FixedFactor(t.factors[:, k], rng), count


def check_counts(**counts: int) -> None:
    """Refuses what are no numbers of votes, or of data in a batch."""
    for name, count in counts.items():
        least = 2 if name == "batch_size" else 1
        if not isinstance(count, int) or count < least:
            raise ValueError(f"{name} must be a whole number, {least} or more, but is {count!r}")
