"""The instructions of a tape, run by torch: what `page/kernels.js` does, to check an export by."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

__all__ = ["run_instruction"]

_MAPS: Mapping[str, Callable[..., Tensor]] = {
    "copy": lambda x: x,
    "silu": functional.silu,
    "gelu": functional.gelu,
    "gelu_tanh": lambda x: functional.gelu(x, approximate="tanh"),
    "softplus": functional.softplus,
    "leaky_relu": functional.leaky_relu,
    "elu": lambda x, alpha, scale, slope: torch.where(
        x > 0, scale * x, scale * alpha * torch.expm1(x * slope)
    ),
}
_ZIPS: Mapping[str, Callable[..., Tensor]] = {
    "and": torch.logical_and,
    "or": torch.logical_or,
}
_REDUCTIONS: Mapping[str, Callable[[Tensor], Tensor]] = {
    "sum": lambda x: x.sum(-1),
    "mean": lambda x: x.mean(-1),
    "prod": lambda x: x.prod(-1),
    "max": lambda x: x.amax(-1),
    "min": lambda x: x.amin(-1),
    "any": lambda x: x.any(-1),
    "all": lambda x: x.all(-1),
    "argmax": lambda x: x.argmax(-1),
    "argmin": lambda x: x.argmin(-1),
}


def run_instruction(op: str, a: Mapping[str, Any], inputs: list[Tensor], like: Tensor) -> Tensor:
    """What an instruction gives.

    Args:
        op: Its name.
        a: Its attributes.
        inputs: The values that it reads.
        like: A tensor of the shape and type of what it gives.
    """
    return _KERNELS[op](a, like, *inputs).to(like.dtype).reshape(like.shape).contiguous()


def _map(a: Mapping[str, Any], like: Tensor, x: Tensor) -> Tensor:
    function = _MAPS.get(a["fn"]) or getattr(torch, a["fn"])
    return function(x, *a.get("p", ()))


def _zip(a: Mapping[str, Any], like: Tensor, x: Tensor, y: Tensor) -> Tensor:
    return (_ZIPS.get(a["fn"]) or getattr(torch, a["fn"]))(x, y)


def _where(a: Mapping[str, Any], like: Tensor, condition: Tensor, x: Tensor, y: Tensor) -> Tensor:
    return torch.where(condition.bool(), x, y)


def _strided(a: Mapping[str, Any], like: Tensor, x: Tensor) -> Tensor:
    places = torch.full((1,) * like.dim(), a["offset"])
    for dim, step in enumerate(a["strides"]):
        form = [1] * like.dim()
        form[dim] = like.shape[dim]
        places = places + (torch.arange(like.shape[dim]) * step).view(form)
    return x.reshape(-1)[places]


def _matmul(a: Mapping[str, Any], like: Tensor, x: Tensor, y: Tensor) -> Tensor:
    return x @ y


def _conv(
    a: Mapping[str, Any], like: Tensor, x: Tensor, weight: Tensor, bias: Tensor | None = None
) -> Tensor:
    if x.dim() == 3:
        x, weight, like = (t.unsqueeze(-2) for t in (x, weight, like))
    if not a["transposed"]:
        return functional.conv2d(
            x, weight, bias, a["stride"], a["padding"], a["dilation"], a["groups"]
        )
    extra = [
        size - ((n - 1) * s - 2 * p + d * (k - 1) + 1)
        for size, n, s, p, d, k in zip(
            like.shape[-2:],
            x.shape[-2:],
            a["stride"],
            a["padding"],
            a["dilation"],
            weight.shape[-2:],
            strict=True,
        )
    ]
    return functional.conv_transpose2d(
        x, weight, bias, a["stride"], a["padding"], extra, a["groups"], a["dilation"]
    )


def _reduce(a: Mapping[str, Any], like: Tensor, x: Tensor) -> Tensor:
    return _REDUCTIONS[a["fn"]](x.reshape(like.numel(), a["size"]))


def _scan(a: Mapping[str, Any], like: Tensor, x: Tensor) -> Tensor:
    return x.cumsum(-1) if a["fn"] == "sum" else x.cumprod(-1)


def _cat(a: Mapping[str, Any], like: Tensor, *values: Tensor) -> Tensor:
    return torch.cat(values, a["dim"])


def _pad(a: Mapping[str, Any], like: Tensor, x: Tensor) -> Tensor:
    sizes: list[int] = []
    for before, size, whole in zip(a["before"], x.shape, like.shape, strict=True):
        sizes = [before, whole - size - before, *sizes]
    return functional.pad(x, sizes, value=a["value"])


def _take(a: Mapping[str, Any], like: Tensor, x: Tensor, index: Tensor) -> Tensor:
    rows = x.reshape(-1, a["size"], a["inner"])
    return rows[:, index.long().reshape(-1) % a["size"]]


def _put(a: Mapping[str, Any], like: Tensor, x: Tensor, places: Tensor, values: Tensor) -> Tensor:
    flat, where = x.reshape(-1).clone(), places.long().reshape(-1)
    flat.index_put_((where,), values.reshape(-1).to(flat.dtype), accumulate=a["accumulate"])
    return flat


def _pool(a: Mapping[str, Any], like: Tensor, x: Tensor) -> Tensor:
    if a["fn"] == "max":
        return functional.max_pool2d(x, a["kernel"], a["stride"], a["padding"])
    return functional.avg_pool2d(x, a["kernel"], a["stride"])


_KERNELS: Mapping[str, Callable[..., Tensor]] = {
    "map": _map,
    "zip": _zip,
    "where": _where,
    "view": lambda a, like, x: x,
    "strided": _strided,
    "matmul": _matmul,
    "conv": _conv,
    "reduce": _reduce,
    "scan": _scan,
    "cat": _cat,
    "pad": _pad,
    "take": _take,
    "put": _put,
    "pool": _pool,
}
