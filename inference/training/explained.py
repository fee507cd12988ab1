"""Errors that data cause deep inside a program, as sentences that say what to do."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from torch import Tensor

__all__ = ["explained"]


@contextmanager
def explained(batch: Sequence[Any]) -> Iterator[None]:
    """Turns errors of what runs inside, if the batch is their cause, into sentences about it.

    Args:
        batch: The arguments of model and guide.

    Raises:
        ValueError: If batch normalization gets one datum, if a layer gets integers, or if data that
            are not finite reach the parameters of a distribution.
    """
    try:
        yield
    except (ValueError, RuntimeError) as error:
        why = _reason(str(error), [part for part in batch if isinstance(part, Tensor)])
        if why is None:
            raise
        raise ValueError(why) from error


def _reason(error: str, parts: Sequence[Tensor]) -> str | None:
    if "more than 1 value per channel" in error:
        return (
            "batch normalization cannot train on a batch of one datum; take a batch_size of at "
            "least 2, or DataLoader(..., drop_last=True)"
        )
    said = error.strip().splitlines()[0] if error.strip() else ""
    whole = [part.dtype for part in parts if not part.is_floating_point()]
    if whole and "type" in said and "parameter" not in said:
        return (
            f"the program cannot take data of {whole[0]} ({said}); give floating data, such as "
            "x.float(), or convert them in model and guide"
        )
    number = sum(int((~part.isfinite()).sum()) for part in parts if part.is_floating_point())
    if number and ("invalid values" in error or "support" in error):
        return (
            f"the data hold {number} NaN or infinite values, which the program does not take; "
            "leave such data out, or let model and guide handle what is missing"
        )
    return None
