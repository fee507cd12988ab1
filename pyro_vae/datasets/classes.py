"""What labels are taken for: classes counted from 0 with -1 for a missing one, or conditions."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from .reading import Array

__all__ = ["labels_of"]


def labels_of(
    sources: Sequence[str], parts: Sequence[Array | None], counts: Sequence[int]
) -> tuple[list[Tensor | None], str, tuple[str, ...]]:
    """The labels of all parts, in words what they were taken for, and the names of classes.

    Integers and texts (N,) are classes, and so are floating numbers (N,) of which all of 0, 1, ...
    or of 1, 2, ... occur and no other. Classes that do not count from 0 on without a gap are
    numbered in order, and have names. -1, NaN or an empty text stands for a label that is missing.
    Other floating numbers (N, ...) are conditions; there NaN is missing.

    Args:
        sources: What names each part in the sentence of an error.
        parts: The labels of each part; None where it has none.
        counts: The number of items of each part.

    Raises:
        ValueError: If they are no such labels.
    """
    found = [
        None if y is None else _flat(source, y, count)
        for source, y, count in zip(sources, parts, counts, strict=True)
    ]
    given = [y for y in found if y is not None]
    if not given:
        return [None] * len(found), "no labels", ()
    source = sources[0]
    kinds = {"text" if y.dtype.kind in "UT" else y.dtype.kind == "f" for y in given}
    if len(kinds) > 1:
        raise ValueError(
            f"{source} has labels of different kinds ({', '.join(str(y.dtype) for y in given)}); "
            "number the classes from 0 on in all parts, or give conditions in all"
        )
    if kinds == {True} and not _are_classes(given):
        tensors = [None if y is None else _conditions(source, y) for y in found]
        missing = sum(int(np.isnan(y).sum()) for y in given)
        lacking = f", {missing:,} entries missing (NaN)" if missing else ""
        hint = "; y.argmax(1) would make them classes" if all(map(_is_one_hot, given)) else ""
        shape = given[0].shape[1:] or (1,)
        return tensors, f"labels are conditions of shape {shape}, real numbers{lacking}{hint}", ()
    return _numbered(source, found)


def _flat(source: str, y: Array, count: int) -> Array:
    """Labels of the right number, (N,) or (N, ...) with a decimal point."""
    real = y.dtype.kind == "f"
    if y.dtype.kind not in "buifUT":
        raise ValueError(
            f"{source} has labels of dtype {y.dtype}, but expected integers, texts or numbers with "
            "a decimal point; convert them"
        )
    if y.shape == (count, 1) and not real:
        y = y[:, 0]
    if y.shape[:1] != (count,) or (y.ndim > 1 and not real):
        advice = "y.argmax(1) makes classes of them" if _is_one_hot(y) else "give each item one"
        raise ValueError(
            f"{source} has labels of shape {y.shape}, but expected ({count},), one for each of its "
            f"{count:,} items; {advice}"
        )
    if real and np.isinf(y).any():
        raise ValueError(
            f"{source} has labels that are infinite, but expected numbers, or NaN where one is "
            "missing; replace them"
        )
    return y


def _is_one_hot(y: Array) -> bool:
    """Whether each row is of zeros and one 1."""
    return y.ndim == 2 and y.shape[1] > 1 and bool((np.sort(y)[:, -2:] == (0, 1)).all())


def _are_classes(given: Sequence[Array]) -> bool:
    """Whether floating labels are 0, 1, ..., or 1, 2, ..., without a gap."""
    if any(y.ndim > 1 for y in given):
        return False
    values = np.unique(np.concatenate([y[~np.isnan(y)] for y in given]))
    return len(values) > 1 and values[0] in (0, 1) and bool((np.diff(values) == 1).all())


def _conditions(source: str, y: Array) -> Tensor:
    with np.errstate(over="ignore"):
        found = torch.from_numpy(y.astype(np.float32).reshape(len(y), -1))
    if found.isinf().any():
        raise ValueError(f"{source} has labels too large for float32; divide them by their size")
    return found.view(len(y), *(y.shape[1:] or (1,)))


def _numbered(
    source: str, found: Sequence[Array | None]
) -> tuple[list[Tensor | None], str, tuple[str, ...]]:
    given = [y for y in found if y is not None]
    known = [_known(y) for y in given]
    values = np.unique(np.concatenate([y[k] for y, k in zip(given, known, strict=True)]))
    missing = sum(int((~k).sum()) for k in known)
    if values.dtype.kind not in "UT" and len(values) and values[0] < 0:
        raise ValueError(
            f"{source} has labels from {values[0]:g} on, but expected classes from 0 on, and -1 "
            "for a label that is missing; number the classes from 0 on"
        )
    if len(values) < 2 and missing:
        one = f"only {values[0]}" if len(values) else "nothing"
        raise ValueError(
            f"{source} has {one} for labels beside those that are missing (-1), but expected two "
            "classes or more; if -1 is a class, number the classes from 0 on"
        )
    tensors: list[Tensor | None] = []
    for y in found:
        if y is None:
            tensors.append(None)
            continue
        numbers = np.searchsorted(values, y).astype(np.int64)
        tensors.append(torch.from_numpy(np.where(_known(y), numbers, -1)))
    words = _words(values, missing, sum(int(k.sum()) for k in known))
    return tensors, words, _names(values)


def _known(y: Array) -> Array:
    if y.dtype.kind in "UT":
        return np.char.strip(y) != ""
    return ~((y == -1) | np.isnan(y))


def _names(values: Array) -> tuple[str, ...]:
    """What the classes are called; nothing where that is 0, 1, ... ."""
    names = tuple(str(v) if values.dtype.kind in "UT" else f"{v:g}" for v in values)
    return () if names == tuple(map(str, range(len(names)))) else names


def _words(values: Array, missing: int, count: int) -> str:
    names = _names(values)
    words = f"{len(values):,} classes"
    if names:
        shown = names if len(names) <= 12 else [*names[:11], "...", names[-1]]
        words += f", 0 to {len(names) - 1}, from the labels {', '.join(shown)}"
    if len(values) > max(20, count // 2):
        words += "; if they are conditions, give them as floating numbers, (N, 1)"
    return words + (f", {missing:,} labels missing" if missing else "")
