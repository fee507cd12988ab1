"""Data sets: functions that return real data as tensors, already split for training and testing."""

from .images import (
    Dataset,
    Split,
    arrays,
    binarized_mnist,
    digits,
    fashion_mnist,
    folder,
    mnist,
)

__all__ = [
    "Dataset",
    "Split",
    "arrays",
    "binarized_mnist",
    "digits",
    "fashion_mnist",
    "folder",
    "mnist",
]
