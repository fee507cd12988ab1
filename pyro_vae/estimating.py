"""How closely a density that is estimated is wanted: for each datum, or on average over many."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

__all__ = ["is_on_average", "on_average"]

_ON_AVERAGE: ContextVar[bool] = ContextVar("on_average", default=False)


@contextmanager
def on_average() -> Iterator[None]:
    """Within it, only the mean over many data is of interest, as of a validation after an epoch.

    A density that is an estimate, such as a `DiffusionPrior`'s, may then be as noisy for each datum
    as it is in training, and as cheap.
    """
    token = _ON_AVERAGE.set(True)
    try:
        yield
    finally:
        _ON_AVERAGE.reset(token)


def is_on_average() -> bool:
    """Whether only the mean over many data is of interest, by `on_average`."""
    return _ON_AVERAGE.get()
