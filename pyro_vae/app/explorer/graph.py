"""A pure function of tensors as a list of instructions, which a page runs in plain JavaScript."""

import base64
import math
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch._decomp import core_aten_decompositions, get_decompositions
from torch.func import functionalize
from torch.fx import GraphModule
from torch.fx.experimental.proxy_tensor import make_fx

from pyro_vae.blame import sentence_of

from . import contractions, lookups, operations  # noqa: F401  # which say how operations are written
from .lowering import Instruction, Tape, Value, lowered
from .origin import made_by
from .running import run_instruction

__all__ = ["TOLERANCE", "Graph", "Weights", "captured", "off", "traced"]

TOLERANCE = 1e-4  # of the instructions against the function itself, relative above 1


@dataclass(frozen=True)
class Graph:
    """A function of named tensors, of a batch of one, as instructions.

    Args:
        inputs: The values of the inputs, by name.
        outputs: Those of the outputs, by name.
        instructions: In the order in which they run.
        defaults: What stands in for inputs that are left out, by name: a number for all entries.
    """

    inputs: Mapping[str, Value]
    outputs: Mapping[str, Value]
    instructions: Sequence[Instruction]
    defaults: Mapping[str, float] = field(default_factory=dict)

    def run(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """What the instructions give, computed by torch, one after the other."""
        known: dict[Value, Tensor] = {}
        for name, value in self.inputs.items():
            tensor = inputs.get(name, torch.full((), self.defaults.get(name, math.nan)))
            known[value] = tensor.to(value.example.dtype).expand(value.example.shape)

        def of(value: Value) -> Tensor:
            return known[value] if value in known else value.example

        for step in self.instructions:
            given = [of(value) for value in step.inputs]
            known[step.out] = run_instruction(step.op, step.attributes, given, step.out.example)
        return {name: of(value) for name, value in self.outputs.items()}

    def description(self, weights: "Weights") -> dict[str, Any]:
        """The graph as JSON takes it, with its constants put among the weights of a page."""
        numbers: dict[Value, int] = {}
        values: list[dict[str, Any]] = []

        def number(value: Value) -> int:
            if value not in numbers:
                numbers[value] = len(values)
                values.append(_described(value, weights))
            return numbers[value]

        inputs = {name: number(value) for name, value in self.inputs.items()}
        tape = [
            {
                "op": step.op,
                "in": [number(value) for value in step.inputs],
                "out": number(step.out),
                **{name: _as_json(value) for name, value in step.attributes.items()},
            }
            for step in self.instructions
        ]
        outputs = {name: number(value) for name, value in self.outputs.items()}
        return {
            "values": values,
            "inputs": inputs,
            "outputs": outputs,
            "defaults": dict(self.defaults),
            "tape": tape,
        }


class Weights:
    """The constants of all graphs of a page as one string of bytes, those that are equal once.

    Args:
        bits: 32, or 24 for larger tensors without the lowest 8 bits: those are off by 1 in 130,000
            at most, and the page is smaller by more than a quarter.

    Raises:
        ValueError: If `bits` is neither.
    """

    def __init__(self, *, bits: int = 32) -> None:
        if bits not in (24, 32):
            raise ValueError(f"weights are stored in 32 or 24 bits, but bits is {bits}")
        self.bits = bits
        self._parts: list[bytes] = []
        self._size = 0
        self._places: dict[tuple[str, bytes], int] = {}

    def add(self, tensor: Tensor) -> dict[str, Any]:
        """Stores a tensor; returns where, and in which type.

        Raises:
            ValueError: If its whole numbers are too large.
        """
        kind = _kind(tensor)
        if kind == "i32" and tensor.numel() and tensor.long().abs().amax() >= 2**31:
            raise ValueError(
                f"a whole number of {tensor.long().abs().amax()} is beyond the 32 bits of an export"
            )
        content = tensor.detach().cpu().contiguous().to(_STORED[kind]).numpy().tobytes()
        if self.bits == 24 and kind == "f32" and tensor.numel() > 64:
            kind, content = "f24", _three_bytes(content)
        if (kind, content) not in self._places:
            self._places[kind, content] = self._size
            self._parts.append(content + b"\0" * (-len(content) % 8))
            self._size += len(self._parts[-1])
        return {"at": self._places[kind, content], "stored": kind}

    @property
    def content(self) -> bytes:
        """All of them, each at a multiple of 8 bytes, little-endian."""
        return b"".join(self._parts)

    @property
    def packed(self) -> str:
        """The content compressed and in base64, as a page holds it; `Engine.unpack` opens it."""
        return base64.b64encode(zlib.compress(self.content, 9)).decode()


_STORED = {"f32": torch.float32, "f64": torch.float64, "i32": torch.int32}


def _three_bytes(content: bytes) -> bytes:
    """The three upper bytes of float32 numbers, rounded: all first bytes, and so on.

    So put, the first ones, with the sign and most of the exponent, are much alike and compress.
    """
    bits = np.frombuffer(content, dtype="<u4").astype(np.uint64) + 0x80
    return b"".join(((bits >> shift) & 0xFF).astype(np.uint8).tobytes() for shift in (24, 16, 8))


def _kind(tensor: Tensor) -> str:
    if tensor.dtype == torch.float64:
        return "f64"
    return "f32" if tensor.is_floating_point() else "i32"


def _described(value: Value, weights: Weights) -> dict[str, Any]:
    example = value.example
    found: dict[str, Any] = {"shape": list(example.shape), "type": _kind(example)}
    if value.is_live:
        return found
    if example.numel() == 1:
        return found | {"number": _as_json(example.item())}
    return found | weights.add(example)


def _as_json(value: Any) -> Any:
    """Numbers that JSON does not have, as JavaScript's `Number` reads them."""
    if isinstance(value, float) and not math.isfinite(value):
        return {math.inf: "Infinity", -math.inf: "-Infinity"}.get(value, "NaN")
    return value


def traced(
    function: Callable[..., Sequence[Tensor]],
    inputs: Mapping[str, Tensor],
    outputs: Sequence[str],
    *,
    defaults: Mapping[str, float] | None = None,
    others: Sequence[Mapping[str, Tensor]] = (),
) -> Graph:
    """A function as instructions, checked against itself.

    Args:
        function: Takes the inputs by their names and returns a tensor for each output; without
            side effects, random numbers, and branches that depend on the inputs' numbers.
        inputs: Examples of the inputs, of a batch of one.
        outputs: The names of what it returns.
        defaults: What stands in for inputs that a caller leaves out, by name.
        others: Further inputs to check the instructions on.

    Raises:
        ValueError: If it cannot be exported, with the operation and the module that made it; if
            weights are not finite; if the instructions do not give what the function does.
    """
    names = list(inputs)

    def positional(*tensors: Tensor) -> tuple[Tensor, ...]:
        return tuple(function(**dict(zip(names, tensors, strict=True))))

    tensors = list(inputs.values())
    try:
        tape, starts, ends = lowered(captured(positional, tensors, _decompositions()), tensors)
    except (TypeError, NotImplementedError) as error:
        raise ValueError(f"this cannot be exported: {sentence_of(error)}") from error
    steps = _needed(tape, ends)
    for step in steps:
        if step.op == "unknown":
            unknown = step.attributes["error"]
            place = made_by(unknown.name, lambda: positional(*tensors))
            raise ValueError(
                f"this cannot be exported to JavaScript: the operation {unknown.name}{place} "
                f"{unknown}; take another layer, or export it with --format onnx"
            ) from unknown
    graph = Graph(
        dict(zip(names, starts, strict=True)),
        dict(zip(outputs, ends, strict=True)),
        steps,
        dict(defaults or {}),
    )
    _check_finite(graph)
    for each in (inputs, *others):
        _check(graph, function, each)
    return graph


def captured(
    function: Callable[..., tuple[Tensor, ...]],
    tensors: Sequence[Tensor],
    decompositions: Mapping[Any, Any] | None = None,
) -> GraphModule:
    """A function as a list of torch's operations that change no tensor in its place.

    Args:
        function: Takes tensors by position.
        tensors: Examples of them.
        decompositions: What takes operations apart.

    Raises:
        ValueError: If it cannot be traced, as where it branches on numbers of its inputs.
    """
    whole = functionalize(function, remove="mutations")
    try:
        with torch.no_grad(), _without_onednn():
            return make_fx(whole, decomposition_table=dict(decompositions or {}))(*tensors)
    except (RuntimeError, ValueError, TypeError, NotImplementedError) as error:
        raise ValueError(f"this cannot be exported: {sentence_of(error)}") from error


@contextmanager
def _without_onednn() -> Iterator[None]:
    """Runs torch without oneDNN, whose recurrent layers are one operation that nothing parts.

    `torch.backends.mkldnn.flags` sets what it does not change, too, and warns of that.
    """
    was_enabled = torch._C._get_mkldnn_enabled()
    torch._C._set_mkldnn_enabled(False)
    try:
        yield
    finally:
        torch._C._set_mkldnn_enabled(was_enabled)


def _decompositions() -> dict[Any, Any]:
    """What takes torch's operations apart, but for functions of one number that have a kernel."""
    aten: Any = torch.ops.aten
    further = (
        *(aten._softmax, aten._log_softmax, aten.native_group_norm, aten.native_layer_norm),
        *(aten._native_batch_norm_legit_no_training, aten.native_batch_norm),
        *(aten.upsample_bilinear2d, aten.linalg_vector_norm, aten.logsumexp),
    )
    kept = {"silu", "softplus", "elu", "leaky_relu", "gelu", "upsample_nearest2d", "clamp_min"}
    table = {**core_aten_decompositions(), **get_decompositions(list(further))}
    return {op: rule for op, rule in table.items() if str(op).split(".")[1] not in kept}


def _needed(tape: Tape, ends: Sequence[Value]) -> list[Instruction]:
    """The instructions that an output depends on."""
    wanted, kept = {*ends}, []
    for step in reversed(tape.instructions):
        if step.out in wanted:
            wanted |= {*step.inputs}
            kept.append(step)
    return kept[::-1]


def _check_finite(graph: Graph) -> None:
    """Refuses weights that are not finite; infinities that are added are masks, as of attention."""
    for step in graph.instructions:
        for value in step.inputs:
            if value.is_live or value.example.numel() < 2:
                continue
            multiplies = step.op in ("matmul", "conv")
            bad = ~value.example.isfinite() if multiplies else value.example.isnan()
            if bad.any():
                raise ValueError(
                    f"{bad.sum()} of {value.example.numel()} weights of shape "
                    f"{tuple(value.example.shape)} are not finite, so there is nothing to show; "
                    "train anew with a lower learning rate"
                )


def _check(graph: Graph, function: Callable[..., Any], inputs: Mapping[str, Tensor]) -> None:
    """Refuses instructions that do not give what the function does."""
    with torch.no_grad():
        expected = function(**inputs)
    found = graph.run(inputs)
    for (name, value), wanted in zip(found.items(), expected, strict=True):
        distance = off(value, wanted)
        if not distance <= TOLERANCE:
            raise ValueError(
                f"the export of {name} is off by {distance:.2g}, where {TOLERANCE} would do: "
                "the program does not do the same for all data, and no list of operations can "
                "stand for it"
            )


def off(found: Tensor, wanted: Tensor) -> float:
    """By how much numbers are off at most, relative to those above 1; the same NaN are not."""
    distance = (found.double() - wanted.double()).abs() / wanted.double().abs().clamp(min=1)
    same = (found == wanted) | (found.isnan() & wanted.isnan())
    return float(distance.masked_fill(same, 0.0).amax()) if distance.numel() else 0.0
