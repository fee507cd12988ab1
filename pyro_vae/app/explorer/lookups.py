"""How torch's look-ups of numbers by their places, and what writes to places, are written down."""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from .lowering import Tape, Value, constant, contiguous_strides, lowers

__all__: list[str] = []


@lowers("embedding")
def _embedding(tape: Tape, example: Tensor, weight: Value, index: Value, *_: Any) -> Value:
    return _taken(tape, example, weight, index, 0)


@lowers("copy")
def _copy(tape: Tape, example: Tensor, x: Value, source: Value, *_: Any) -> Value:
    return _expanded(tape, source, example.shape)


@lowers("index_select")
def _index_select(tape: Tape, example: Tensor, x: Value, dim: int, index: Value) -> Value:
    return _taken(tape, example, x, index, dim)


def _taken(tape: Tape, example: Tensor, x: Value, index: Value, dim: int) -> Value:
    """The entries of a value along a dimension at places of any shape, which replace it."""
    shape, dim = x.example.shape, dim % x.example.dim()
    return tape.emit(
        "take", [x, index], example, size=shape[dim], inner=math.prod(shape[dim + 1 :])
    )


@lowers("gather")
def _gather(tape: Tape, example: Tensor, x: Value, dim: int, index: Value, **_: Any) -> Value:
    places = _places(tape, x, {dim % x.example.dim(): index}, index.example.shape)
    return _taken_flat(tape, example, x, places)


@lowers("index.Tensor", "_unsafe_index.Tensor")
def _index(tape: Tape, example: Tensor, x: Value, indices: Sequence[Value | None]) -> Value:
    given = _named_dims(indices)
    if len(given) == 1:
        ((dim, index),) = given.items()
        return _taken(tape, example, x, index, dim)
    if list(given) != list(range(min(given), max(given) + 1)):
        raise ValueError("takes entries by indices of dimensions that are no neighbours")
    return _taken_flat(tape, example, x, _index_places(tape, x, given, example))


def _named_dims(indices: Sequence[Value | None]) -> dict[int, Value]:
    """The indices by their dimensions; a mask that is always the same names those where it is."""
    given: dict[int, Value] = {}
    dim = 0
    for index in indices:
        if index is None or index.example.dtype not in (torch.bool, torch.uint8):
            given |= {} if index is None else {dim: index}
            dim += 1
        elif index.is_live:
            raise ValueError("reads or writes entries that a mask names, of no fixed number")
        else:
            for places in index.example.nonzero(as_tuple=True):
                given[dim] = constant(places)
                dim += 1
    return given


def _index_places(tape: Tape, x: Value, given: dict[int, Value], example: Tensor) -> Value:
    """Which number of the flat x each number of x[..., given, ...] is."""
    steps, shape = contiguous_strides(x.example.shape), x.example.shape
    common = torch.broadcast_shapes(*(index.example.shape for index in given.values()))
    behind = len(shape) - 1 - max(given)
    total = _fixed_places(shape, given, common)
    live: Value = constant(total)
    for dim, index in given.items():
        wide = index.example.reshape(*index.example.shape, *[1] * behind)
        placed = tape.view(index, wide) if index.is_live else constant(wide)
        live = _plus(tape, live, _times(tape, _wrapped(tape, placed, shape[dim]), steps[dim]))
    return _expanded(tape, live, example.shape)


def _fixed_places(shape: Sequence[int], given: dict[int, Value], common: Sequence[int]) -> Tensor:
    """What the dimensions without an index add to the place of each number."""
    steps = contiguous_strides(shape)
    before, behind = range(min(given)), range(max(given) + 1, len(shape))
    total = torch.zeros([1] * (len(before) + len(common) + len(behind)), dtype=torch.int64)
    for dim in (*before, *behind):
        place = dim if dim in before else len(before) + len(common) + dim - behind.start
        form = [1] * total.dim()
        form[place] = shape[dim]
        total = total + (torch.arange(shape[dim]) * steps[dim]).view(form)
    return total


def _places(tape: Tape, x: Value, given: dict[int, Value], shape: Sequence[int]) -> Value:
    """As `_index_places`, for indices of the shape of the result, as gather and scatter have."""
    steps = contiguous_strides(x.example.shape)
    total = torch.zeros([1] * len(shape), dtype=torch.int64)
    for dim, step in enumerate(steps):
        if dim not in given:
            form = [1] * len(shape)
            form[dim] = shape[dim]
            total = total + (torch.arange(shape[dim]) * step).view(form)
    places: Value = constant(total)
    for dim, index in given.items():
        wrapped = _wrapped(tape, index, x.example.shape[dim])
        places = _plus(tape, places, _times(tape, wrapped, steps[dim]))
    return _expanded(tape, places, shape)


def _taken_flat(tape: Tape, example: Tensor, x: Value, places: Value) -> Value:
    return tape.emit("take", [x, places], example, size=x.example.numel(), inner=1)


@lowers("index_put")
def _index_put(
    tape: Tape,
    example: Tensor,
    x: Value,
    indices: Sequence[Value | None],
    values: Value,
    accumulate: bool = False,
) -> Value:
    mask = indices[0]
    if mask is not None and len(indices) == 1 and values.example.numel() == 1 and not accumulate:
        if mask.example.dtype in (torch.bool, torch.uint8):
            missing = x.example.dim() - mask.example.dim()
            form = mask.example.reshape(*mask.example.shape, *[1] * missing)
            condition = tape.view(mask, form) if mask.is_live else constant(form)
            return tape.emit("where", [condition, values, x], example)
    given = _named_dims(indices)
    placed = x.example[tuple(slice(None) if i is None else i.example for i in indices)]
    places = _index_places(tape, x, given, placed)
    wide = _expanded(tape, values, placed.shape)
    return tape.emit("put", [x, places, wide], example, accumulate=accumulate)


@lowers("scatter.src", "scatter.value")
def _scatter(
    tape: Tape,
    example: Tensor,
    x: Value,
    dim: int,
    index: Value,
    source: Any,
    *,
    accumulate: bool = False,
) -> Value:
    places = _places(tape, x, {dim % x.example.dim(): index}, index.example.shape)
    wide = _expanded(tape, constant(source), index.example.shape)
    return tape.emit("put", [x, places, wide], example, accumulate=accumulate)


@lowers("scatter_add")
def _scatter_add(tape: Tape, example: Tensor, x: Value, *where: Any) -> Value:
    return _scatter(tape, example, x, *where, accumulate=True)


@lowers("select_scatter", "slice_scatter")
def _put_slice(tape: Tape, example: Tensor, x: Value, source: Value, *where: Any) -> Value:
    numbers = torch.arange(x.example.numel()).view(x.example.shape)
    dim = where[0] if where else 0
    if len(where) == 2 and source.example.dim() < x.example.dim():
        places = numbers.select(dim, where[1])
    else:
        start, end, step = (*where[1:], None, None, None)[:3]
        bounds = slice(start, end, step).indices(x.example.shape[dim])
        places = numbers.index_select(dim, torch.arange(*bounds))
    return tape.emit("put", [x, constant(places), source], example, accumulate=False)


def _wrapped(tape: Tape, index: Value, size: int) -> Value:
    """An index with negative ones counted from the end."""
    if not index.is_live:
        return constant(index.example % size)
    return tape.emit("zip", [index, size], index.example % size, fn="remainder")


def _times(tape: Tape, value: Value, factor: int) -> Value:
    if not value.is_live:
        return constant(value.example * factor)
    return tape.emit("zip", [value, factor], value.example * factor, fn="mul")


def _plus(tape: Tape, a: Value, b: Value) -> Value:
    total = a.example + b.example
    if not a.is_live and not b.is_live:
        return constant(total)
    return tape.emit("zip", [a, b], total, fn="add")


def _expanded(tape: Tape, value: Value, shape: Sequence[int]) -> Value:
    wide = value.example.expand(shape)
    if not value.is_live:
        return constant(wide.contiguous())
    if value.example.shape == wide.shape:
        return value
    own = [1] * (wide.dim() - value.example.dim()) + list(value.example.shape)
    steps = zip(own, contiguous_strides(own), strict=True)
    return tape.strided(value, wide, [0 if size == 1 else step for size, step in steps], 0)


@lowers("upsample_nearest2d", "upsample_nearest2d.vec")
def _upsample(tape: Tape, example: Tensor, x: Value, *_: Any) -> Value:
    """Each pixel a few times: a stretched view for whole factors."""
    (n, c, h, w), (height, width) = x.example.shape, example.shape[-2:]
    if height % h or width % w:
        rows, columns = torch.arange(height) * h // height, torch.arange(width) * w // width
        index = {2: constant(rows[:, None]), 3: constant(columns[None])}
        return _taken_flat(tape, example, x, _index_places(tape, x, index, example))
    shape = (n, c, h, height // h, w, width // w)
    wide = x.example[:, :, :, None, :, None].expand(shape)
    stretched = tape.strided(x, wide, [c * h * w, h * w, w, 0, 1, 0], 0)
    return tape.view(stretched, example)
