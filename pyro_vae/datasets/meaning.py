"""What the numbers of an array are taken for: bits, grey levels, whole or real numbers."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .reading import Array, Refusal

__all__ = ["Meaning", "check_numbers", "meaning_of"]

# The posterior of a fresh VAE overflows from inputs of some 100 on, and at 30 its bound starts
# beyond -1e7 nats; a learned scale comes down from 1 to a hundredth in thousands of steps.
LARGEST, LARGE, SMALLEST = 100, 10, 0.01
# float32 of so many takes 8.6 GB, and splitting them as much again.
MOST_ENTRIES = 2**31


@dataclass(frozen=True)
class Meaning:
    """What numbers are taken for.

    Args:
        scale: What divides them.
        words: What they are taken for, in words.
        is_grey: Whether that is whole numbers from 0 to `scale`, as grey levels are.
    """

    scale: float
    words: str
    is_grey: bool = False


def check_numbers(source: str, found: Array) -> None:
    """Refuses what is no array of real numbers (items, ...), NaN where one is missing.

    Raises:
        ValueError: In one sentence that names `source`.
    """
    if found.dtype.kind not in "buif":
        raise ValueError(
            f"{source} has dtype {found.dtype}, but expected real numbers; convert them, as by "
            "x.astype('float32'), or leave such columns out"
        )
    check_shape(source, found.shape)
    if found.dtype.kind != "f":
        return
    infinite = np.isinf(found).reshape(len(found), -1)
    if infinite.any():
        raise ValueError(
            f"{source} has {infinite.sum():,} infinite values, the first in item "
            f"{int(infinite.any(1).argmax())}, but expected numbers, or NaN where one is missing; "
            "replace or remove them"
        )
    if np.isnan(found).all():
        raise ValueError(f"{source} holds nothing but NaN; give data that are not all missing")


def check_shape(source: str, shape: tuple[int, ...]) -> None:
    """Refuses shapes that are not (items, ...) with something in them, or are too large."""
    if len(shape) < 2 or 0 in shape:
        advice = "; reshape(-1, 1) makes items of one number" if len(shape) == 1 else ""
        raise Refusal(
            f"{source} has shape {shape}, but expected (items, ...) with at least one item "
            f"and one feature{advice}"
        )
    if math.prod(shape) > MOST_ENTRIES:
        raise Refusal(
            f"{source} has {math.prod(shape):,} entries, shape {shape}, but expected no more than "
            f"{MOST_ENTRIES:,}, which take 8.6 GB; give a part of the items, or smaller ones"
        )


def meaning_of(
    source: str, parts: Sequence[Array], *, scale: float | None = None, standardize: bool = False
) -> Meaning:
    """What the arrays of all parts together are taken for.

    Args:
        source: What names them in the sentence of an error.
        parts: Arrays that `check_numbers` has passed.
        scale: Divides them, whatever they are.
        standardize: Whether they will be standardized, whatever they are.

    Raises:
        ValueError: If they are larger or smaller than a network takes, or could be of two kinds,
            and neither `scale` nor `standardize` is given.
    """
    low = min(float(np.fmin.reduce(x, axis=None)) for x in parts)
    high = max(float(np.fmax.reduce(x, axis=None)) for x in parts)
    whole = all(_whole(x) for x in parts)
    kind = "whole numbers" if whole else "real numbers"
    found = f"{kind} from {low:.6g} to {high:.6g} ({parts[0].dtype})"
    bits = whole and low >= 0 and high <= 1
    if bits and scale == 1:
        return Meaning(1, f"zeros and ones ({parts[0].dtype})")
    if standardize:
        return Meaning(1, found)
    if scale is not None:
        words = found + ("" if scale == 1 else f", divided by {scale:g}")
        return Meaning(scale, words, is_grey=whole and low >= 0 and scale >= max(high, 2))
    dtype = parts[0].dtype
    if dtype == np.uint8 and high <= 1:  # bits would silently become 0 and 1/255
        raise ValueError(
            f"{source} has only zeros and ones as uint8, where 255 is expected for white; "
            "give scale=1 if they are bits, or scale=255"
        )
    if bits:
        return Meaning(1, f"zeros and ones ({dtype})")
    pictures = parts[0].ndim > 2
    if whole and (white := _white(dtype, pictures, low, high)):
        levels = f"grey levels of 0 to {white:,}, here from {low:g} to {high:g} ({dtype})"
        return Meaning(white, f"{levels}, divided by {white:,}", is_grey=True)
    if 0 < max(-low, high) < SMALLEST or max(-low, high) > LARGEST:
        raise ValueError(f"{source} holds {_out_of_scale(found, pictures, low, high)}")
    if max(-low, high) > LARGE:
        levels = "scale=255 if they are grey levels, or " if pictures and whole and low >= 0 else ""
        found += f", as they are; {levels}standardize=True would bring them to the size of 1"
    return Meaning(1, found)


def _whole(x: Array) -> bool:
    return x.dtype.kind != "f" or bool(((x == np.floor(x)) | np.isnan(x)).all())


def _white(dtype: np.dtype, pictures: bool, low: float, high: float) -> int | None:
    """The level of white, if whole numbers are surely grey levels."""
    if dtype == np.uint8:
        return 255
    if low < 0:
        return None
    if 127 < high <= 255 and (pictures or dtype == np.uint16 or (low, high) == (0, 255)):
        return 255
    if 2**15 <= high < 2**16 and (pictures or dtype == np.uint16):
        return 2**16 - 1
    return None


def _out_of_scale(found: str, pictures: bool, low: float, high: float) -> str:
    advice = ["standardize=True for a mean of 0 and a standard deviation of 1"]
    if low >= 0 and high > 1 and (pictures or high <= 255):
        white = 255 if high <= 255 else 2 ** math.ceil(math.log2(high + 1)) - 1
        advice.insert(0, f"scale={white} if they are grey levels of 0 to {white:,}")
    return (
        f"{found}, but networks expect numbers of the size of 1; give {', '.join(advice)}, or "
        "scale=1 to take them as they are"
    )
