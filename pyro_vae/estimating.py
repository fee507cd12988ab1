"""How closely a density that is estimated is wanted: for each datum, or on average over many."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

__all__ = ["averaged_data", "on_average"]

_DATA: ContextVar[int | None] = ContextVar("data", default=None)


@contextmanager
def on_average(num_data: int) -> Iterator[None]:
    """Within it, only the mean over so many data is of interest, as of a validation in training.

    A density that is an estimate, such as a `DiffusionPrior`'s, may then be noisier for each datum
    than where it is evaluated, and cheaper.
    """
    token = _DATA.set(num_data)
    try:
        yield
    finally:
        _DATA.reset(token)


def averaged_data() -> int | None:
    """Over how many data the mean is of interest, by `on_average`; None if each datum is."""
    return _DATA.get()
