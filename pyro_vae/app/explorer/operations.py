"""How the elementwise operations of torch and its changes of shape are written down."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from .lowering import Tape, Value, contiguous_strides, lowers

__all__ = ["BINARY", "UNARY"]

# Torch's names of functions of one number, and the instruction's.
UNARY = {
    **{n: n for n in ("abs", "neg", "exp", "expm1", "log", "log1p", "sqrt", "rsqrt", "erf")},
    **{n: n for n in ("sin", "cos", "tan", "tanh", "sigmoid", "relu", "sign", "erfc", "silu")},
    **{n: n for n in ("floor", "ceil", "round", "trunc", "reciprocal", "lgamma", "log2")},
    **{n: n for n in ("isnan", "isinf", "logical_not", "atan", "sinh", "cosh", "asinh")},
    "bitwise_not": "logical_not",
}
# Likewise of two numbers.
BINARY = {
    **{n: n for n in ("mul", "atan2", "eq", "ne", "lt", "le", "gt", "ge")},
    **{n: n for n in ("maximum", "minimum", "pow", "remainder", "fmod")},
    **{"logical_and": "and", "logical_or": "or", "logical_xor": "ne"},
    **{"bitwise_and": "and", "bitwise_or": "or", "bitwise_xor": "ne"},
}


def _register() -> None:
    for torchs, name in UNARY.items():

        def unary(tape: Tape, example: Tensor, x: Value, fn: str = name) -> Value:
            return tape.emit("map", [x], example, fn=fn)

        lowers(torchs)(unary)
    for torchs, name in BINARY.items():

        def binary(tape: Tape, example: Tensor, a: Any, b: Any, fn: str = name) -> Value:
            return tape.emit("zip", [a, b], example, fn=fn)

        kinds = ("", ".Tensor", ".Scalar", ".Tensor_Scalar", ".Tensor_Tensor")
        lowers(*(torchs + kind for kind in kinds))(binary)


_register()


@lowers("add.Tensor", "add.Scalar")
def _add(tape: Tape, example: Tensor, a: Any, b: Any, alpha: float = 1) -> Value:
    return _sum(tape, example, a, b, alpha, "add")


@lowers("sub.Tensor", "sub.Scalar")
def _sub(tape: Tape, example: Tensor, a: Any, b: Any, alpha: float = 1) -> Value:
    return _sum(tape, example, a, b, alpha, "sub")


def _sum(tape: Tape, example: Tensor, a: Any, b: Any, alpha: float, fn: str) -> Value:
    if alpha != 1 and not isinstance(b, Value):
        b = b * alpha
    elif alpha != 1:
        b = tape.emit("zip", [b, alpha], b.example * alpha, fn="mul")
    return tape.emit("zip", [a, b], example, fn=fn)


@lowers("div.Tensor", "div.Scalar", "div.Tensor_mode", "div.Scalar_mode")
def _div(tape: Tape, example: Tensor, a: Any, b: Any, *, rounding_mode: str | None = None) -> Value:
    if rounding_mode is None:
        return tape.emit("zip", [a, b], example, fn="div")
    ratio = tape.emit("zip", [a, b], example.double(), fn="div")  # of integers, too
    return tape.emit("map", [ratio], example, fn=rounding_mode)


@lowers("floor_divide", "floor_divide.Scalar")
def _floor_div(tape: Tape, example: Tensor, a: Any, b: Any) -> Value:
    return _div(tape, example, a, b, rounding_mode="floor")


@lowers("where.self", "where.ScalarOther", "where.ScalarSelf", "where.Scalar")
def _where(tape: Tape, example: Tensor, condition: Value, a: Any, b: Any) -> Value:
    return tape.emit("where", [condition, a, b], example)


@lowers("clamp", "clamp.Tensor", "clamp_min", "clamp_max", "hardtanh")
def _clamp(tape: Tape, example: Tensor, x: Value, low: Any = None, high: Any = None) -> Value:
    for bound, fn in ((low, "maximum"), (high, "minimum")):
        if bound is not None:
            x = tape.emit("zip", [x, bound], example, fn=fn)
    return x


@lowers("leaky_relu")
def _leaky_relu(tape: Tape, example: Tensor, x: Value, slope: float = 0.01) -> Value:
    return tape.emit("map", [x], example, fn="leaky_relu", p=[slope])


@lowers("elu")
def _elu(
    tape: Tape, example: Tensor, x: Value, alpha: float = 1, scale: float = 1, slope: float = 1
) -> Value:
    return tape.emit("map", [x], example, fn="elu", p=[alpha, scale, slope])


@lowers("softplus")
def _softplus(
    tape: Tape, example: Tensor, x: Value, beta: float = 1, threshold: float = 20
) -> Value:
    return tape.emit("map", [x], example, fn="softplus", p=[beta, threshold])


@lowers("gelu")
def _gelu(tape: Tape, example: Tensor, x: Value, *, approximate: str = "none") -> Value:
    fn = "gelu" if approximate == "none" else "gelu_tanh"
    return tape.emit("map", [x], example, fn=fn)


@lowers("_to_copy", "convert_element_type", "clone", "alias", "detach", "lift_fresh_copy")
def _cast(tape: Tape, example: Tensor, x: Value, *_: Any, **__: Any) -> Value:
    if example.dtype == x.example.dtype:
        return x
    if example.dtype == torch.bool:
        return tape.emit("zip", [x, 0], example, fn="ne")
    truncates = x.example.is_floating_point() and not example.is_floating_point()
    return tape.emit("map", [x], example, fn="trunc" if truncates else "copy")


@lowers("reshape", "_unsafe_view", "_reshape_alias")
def _reshape(tape: Tape, example: Tensor, x: Value, *_: Any) -> Value:
    return tape.view(x, example)


@lowers("flip")
def _flip(tape: Tape, example: Tensor, x: Value, dims: Sequence[int]) -> Value:
    strides, offset = contiguous_strides(x.example.shape), 0
    for dim in dims:
        offset += (x.example.shape[dim] - 1) * strides[dim]
        strides[dim] *= -1
    return tape.strided(x, example, strides, offset)


@lowers("cat")
def _cat(tape: Tape, example: Tensor, values: Sequence[Value], dim: int = 0) -> Value:
    full = [value for value in values if value.example.numel()]
    if len(full) == 1:
        return full[0]
    return tape.emit("cat", full, example, dim=dim % example.dim())


@lowers("constant_pad_nd")
def _pad(tape: Tape, example: Tensor, x: Value, sizes: Sequence[int], value: float = 0) -> Value:
    rank = x.example.dim()
    before = [0] * rank
    for i in range(len(sizes) // 2):
        before[rank - 1 - i] = sizes[2 * i]
    return tape.emit("pad", [x], example, before=before, value=float(value))
