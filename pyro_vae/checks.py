"""What constructors refuse: numbers out of range, by their names."""

import math
from numbers import Integral

__all__ = ["check_positive", "check_sizes"]


def check_sizes(**sizes: int) -> None:
    """Refuses sizes below one, and those that are no whole numbers, by their names."""
    for name, size in sizes.items():
        if not isinstance(size, Integral):
            raise ValueError(f"{name} must be a whole number, but is {size!r}")
        if size < 1:
            raise ValueError(f"{name} must be at least 1, but is {size}")


def check_positive(**numbers: float) -> None:
    """Refuses numbers that are not positive and finite, by their names."""
    for name, number in numbers.items():
        if not 0 < number < math.inf:
            raise ValueError(f"{name} must be positive and finite, but is {number}")
