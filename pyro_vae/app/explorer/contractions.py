"""How torch's products of matrices, convolutions, reductions and poolings are written down."""

import math
from collections.abc import Sequence
from typing import Any

from torch import Tensor

from .lowering import Tape, Value, lowers

__all__: list[str] = []


@lowers("mm", "bmm")
def _mm(tape: Tape, example: Tensor, a: Value, b: Value) -> Value:
    return tape.emit("matmul", [a, b], example)


@lowers("addmm")
def _addmm(
    tape: Tape, example: Tensor, c: Value, a: Value, b: Value, *, beta: float = 1, alpha: float = 1
) -> Value:
    product = tape.emit("matmul", [a, b], example)
    for factor, name in ((alpha, "alpha"), (beta, "beta")):
        if factor != 1:
            scaled = product if name == "alpha" else c
            scaled = tape.emit("zip", [scaled, factor], scaled.example, fn="mul")
            product, c = (scaled, c) if name == "alpha" else (product, scaled)
    return tape.emit("zip", [product, c], example, fn="add")


@lowers("convolution")
def _convolution(
    tape: Tape,
    example: Tensor,
    x: Value,
    weight: Value,
    bias: Value | None,
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    transposed: bool,
    output_padding: Sequence[int],
    groups: int,
) -> Value:
    dims = x.example.dim() - 2
    if dims not in (1, 2) or weight.is_live:
        raise ValueError(
            "has weights that depend on the input" if weight.is_live else f"has {dims} dimensions"
        )
    inputs = [x, weight, *([] if bias is None else [bias])]
    two = {"stride": stride, "padding": padding, "dilation": dilation}
    attributes = {
        name: _pair(values, 0 if name == "padding" else 1) for name, values in two.items()
    }
    return tape.emit(
        "conv", inputs, example, **attributes, groups=groups, transposed=bool(transposed)
    )


def _pair(values: Sequence[int], missing: int) -> list[int]:
    """The numbers for height and width: a convolution of one dimension is one row high."""
    return [missing, *values] if len(values) == 1 else list(values)


def _reduced(tape: Tape, example: Tensor, x: Value, dims: Any, fn: str) -> Value:
    """The sum, or another function, of a value over some of its dimensions."""
    shape = x.example.shape
    over = _dims(dims, len(shape))
    kept = [d for d in range(len(shape)) if d not in over]
    size = math.prod(shape[d] for d in over)
    last = tape.permuted(x, [*kept, *over])
    return tape.emit("reduce", [last], example, fn=fn, size=size)


def _dims(dims: Any, rank: int) -> list[int]:
    """Dimensions, from 0 on; all of them where none is named."""
    if dims is None or (isinstance(dims, list | tuple) and not dims):
        return list(range(rank))
    return sorted(d % rank for d in ([dims] if isinstance(dims, int) else dims)) if rank else []


def _register() -> None:
    kinds = {
        "sum": ("sum", "sum.dim_IntList"),
        "mean": ("mean", "mean.dim"),
        "prod": ("prod", "prod.dim_int"),
        "max": ("amax", "max"),
        "min": ("amin", "min"),
        "any": ("any", "any.dim", "any.dims"),
        "all": ("all", "all.dim", "all.dims"),
        "argmax": ("argmax",),
        "argmin": ("argmin",),
    }
    for name, torchs in kinds.items():

        def reduce(
            tape: Tape,
            example: Tensor,
            x: Value,
            dims: Any = None,
            *_: Any,
            fn: str = name,
            **__: Any,
        ) -> Value:
            return _reduced(tape, example, x, dims, fn)

        lowers(*torchs)(reduce)


_register()


@lowers("max.dim")
def _max_and_place(
    tape: Tape, example: Sequence[Tensor], x: Value, dim: int, *_: Any
) -> tuple[Value, Value]:
    values, places = example
    return _reduced(tape, values, x, dim, "max"), _reduced(tape, places, x, dim, "argmax")


@lowers("min.dim")
def _min_and_place(
    tape: Tape, example: Sequence[Tensor], x: Value, dim: int, *_: Any
) -> tuple[Value, Value]:
    values, places = example
    return _reduced(tape, values, x, dim, "min"), _reduced(tape, places, x, dim, "argmin")


@lowers("var.correction", "var_mean.correction")
def _variance(
    tape: Tape,
    example: Any,
    x: Value,
    dims: Any = None,
    *,
    correction: float | None = None,
    keepdim: bool = False,
) -> Any:
    over = _dims(dims, x.example.dim())
    size = math.prod(x.example.shape[d] for d in over)
    with_ones = x.example.mean(over, keepdim=True)
    mean = _reduced(tape, with_ones, x, over, "mean")
    centred = tape.emit("zip", [x, mean], x.example - with_ones, fn="sub")
    squares = tape.emit("zip", [centred, centred], centred.example.square(), fn="mul")
    found = example[0] if isinstance(example, tuple | list) else example
    total = _reduced(tape, found, squares, over, "sum")
    divisor = size - (1 if correction is None else correction)
    variance = tape.emit("zip", [total, float(divisor)], found, fn="div")
    if isinstance(example, tuple | list):
        return variance, tape.view(mean, example[1])
    return variance


@lowers("cumsum")
def _cumulated(
    tape: Tape, example: Tensor, x: Value, dim: int, *, fn: str = "sum", **_: Any
) -> Value:
    rank = x.example.dim()
    order = [d for d in range(rank) if d != dim % rank] + ([dim % rank] if rank else [])
    scanned = tape.emit("scan", [tape.permuted(x, order)], example.permute(order), fn=fn)
    return tape.permuted(scanned, [order.index(d) for d in range(rank)])


@lowers("cumprod")
def _multiplied(tape: Tape, example: Tensor, x: Value, dim: int, **_: Any) -> Value:
    return _cumulated(tape, example, x, dim, fn="prod")


@lowers("avg_pool2d", "max_pool2d_with_indices")
def _pool(
    tape: Tape,
    example: Any,
    x: Value,
    kernel: Sequence[int],
    stride: Sequence[int] = (),
    padding: Sequence[int] = (0,),
    *others: Any,
) -> Any:
    is_max = isinstance(example, tuple | list)
    others = tuple(o for o in others if o not in (False, True, [1, 1], 1, None))
    two = [_both(kernel), _both(stride or kernel), _both(padding)]
    out = example[0] if is_max else example
    sizes = [
        (size + 2 * p - k) // s + 1
        for size, k, s, p in zip(x.example.shape[-2:], *two, strict=True)
    ]
    if others or sizes != list(out.shape[-2:]) or (not is_max and any(two[2])):
        raise ValueError("has a dilation, a divisor, sizes rounded up, or padded means")
    names = dict(zip(("kernel", "stride", "padding"), two, strict=True))
    pooled = tape.emit("pool", [x], out, fn="max" if is_max else "mean", **names)
    return (pooled, None) if is_max else pooled


def _both(values: Sequence[int]) -> list[int]:
    return list(values) * 2 if len(values) == 1 else list(values)
