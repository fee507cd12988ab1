"""Whether a run repeats another of the same step, so that what counts steps must not count it."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

__all__ = ["is_repetition", "repetition"]

_REPEATS: ContextVar[bool] = ContextVar("repeats", default=False)


@contextmanager
def repetition() -> Iterator[None]:
    """A run of model or guide for terms that the step's first run could not give."""
    token = _REPEATS.set(True)
    try:
        yield
    finally:
        _REPEATS.reset(token)


def is_repetition() -> bool:
    """Whether the present run is one."""
    return _REPEATS.get()
