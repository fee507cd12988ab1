"""From torch's core operations to the few instructions that `page/kernels.js` knows.

A graph of `make_fx` is walked once, in the order of its nodes, with a value at hand for each. What
depends on no input is a constant from then on. Of the rest each operation becomes one instruction
or a few; those of the house's programs are in `operations`.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.fx import GraphModule, Node
from torch.fx.node import map_arg

__all__ = ["LOWERINGS", "Instruction", "Tape", "UnknownOperation", "Value", "lowered", "lowers"]


class UnknownOperation(ValueError):
    """An operation that cannot be written down, and why; `name` is torch's."""

    def __init__(self, name: str, why: str = "is not known to it") -> None:
        super().__init__(why)
        self.name = name


@dataclass(frozen=True, eq=False)
class Value:
    """A tensor on the tape.

    Args:
        example: What it is for the inputs that were traced.
        is_live: Whether it depends on an input; if not, it is a constant.
    """

    example: Tensor
    is_live: bool


@dataclass(frozen=True)
class Instruction:
    """One step: the value `out` is `op` of the values `inputs`."""

    op: str
    inputs: tuple[Value, ...]
    out: Value
    attributes: Mapping[str, Any]


@dataclass
class Tape:
    """Instructions in the order in which they run, as they are written down."""

    instructions: list[Instruction] = field(default_factory=list)

    def emit(self, op: str, inputs: Sequence[Any], example: Tensor, **attributes: Any) -> Value:
        """Writes an instruction down; numbers among its inputs become constants."""
        out = Value(example, is_live=True)
        values = tuple(constant(each) for each in inputs)
        self.instructions.append(Instruction(op, values, out, attributes))
        return out

    def view(self, value: Value, example: Tensor) -> Value:
        """The same numbers in another shape."""
        if tuple(example.shape) == tuple(value.example.shape):
            return value
        return self.emit("view", [value], example)

    def strided(self, value: Value, example: Tensor, strides: Sequence[int], offset: int) -> Value:
        """Numbers at offset + sum_i index_i strides_i of the flat value."""
        return self.emit("strided", [value], example, strides=list(strides), offset=int(offset))

    def permuted(self, value: Value, dims: Sequence[int]) -> Value:
        """The value with its dimensions in another order."""
        if list(dims) == list(range(len(dims))):
            return value
        strides = contiguous_strides(value.example.shape)
        return self.strided(value, value.example.permute(*dims), [strides[d] for d in dims], 0)


# Operations that read no numbers of a tensor, but its shape alone.
_OF_SHAPES = {
    *("full_like", "zeros_like", "ones_like", "empty_like"),
    *("new_full", "new_zeros", "new_ones", "new_empty", "new_empty_strided"),
}
Lowering = Callable[..., Any]
LOWERINGS: dict[str, Lowering] = {}


def lowers(*names: str) -> Callable[[Lowering], Lowering]:
    """Says that a function writes down these operations of torch, such as "add.Tensor".

    It gets the tape, the operation's example (what it gives), and the operation's arguments.
    """

    def register(function: Lowering) -> Lowering:
        LOWERINGS.update(dict.fromkeys(names, function))
        return function

    return register


def constant(value: Any) -> Value:
    """A value of a tensor or a number."""
    if isinstance(value, Value):
        return value
    if not isinstance(value, Tensor):
        value = torch.tensor(value, dtype=torch.float64 if isinstance(value, float) else None)
    return Value(value, is_live=False)


def contiguous_strides(shape: Sequence[int]) -> list[int]:
    """By how many numbers each index moves in a flat row-major tensor."""
    strides, step = [], 1
    for size in reversed(shape):
        strides.append(step)
        step *= size
    return strides[::-1]


def lowered(module: GraphModule, inputs: Sequence[Tensor]) -> tuple[Tape, list[Value], list[Value]]:
    """The tape of a traced function, the values of its inputs and those of its outputs.

    An operation without an instruction stands on it as "unknown", with its error, as it may be one
    that no output needs.
    """
    walk = _Walk(module)
    starts = [Value(tensor, is_live=True) for tensor in inputs]
    waiting = iter(starts)
    for node in module.graph.nodes:
        if node.op == "placeholder":
            walk.known[node] = next(waiting)
            walk.tensors[node] = walk.known[node].example
        elif node.op == "get_attr":
            walk.tensors[node] = _attribute(module, str(node.target)).detach()
            walk.known[node] = constant(walk.tensors[node])
        elif node.op == "call_function":
            walk.step(node)
        elif node.op == "output":
            found = map_arg(node.args[0], walk.known.__getitem__)
            return walk.tape, starts, [constant(value) for value in found]
    raise ValueError("the traced function gives nothing")


def _attribute(module: Any, path: str) -> Tensor:
    for name in path.split("."):
        module = getattr(module, name)
    return module


class _Walk:
    """What is known of the nodes of a graph so far: their values, and tensors laid out as torch's.

    Args:
        module: The graph.
    """

    def __init__(self, module: GraphModule) -> None:
        self.module, self.tape = module, Tape()
        self.known: dict[Node, Any] = {}
        self.tensors: dict[Node, Any] = {}

    def step(self, node: Node) -> None:
        """Goes on by an operation: it is computed now if it is a constant, else written down."""
        target: Any = node.target
        if getattr(target, "__name__", "") == "getitem":
            owner, place = node.args
            self.known[node] = self.known[owner][place]  # type: ignore[index]
            self.tensors[node] = self.tensors[owner][place]  # type: ignore[index]
            return
        changed = _changed(node)
        if changed is not None:
            target = _in_a_new_place(target)
        args, kwargs = self._of(node, self.known)
        positional, named = self._of(node, self.tensors)
        example = target(*positional, **named)
        value = self._value(target, example, args, kwargs)
        for each in (node, changed):
            if each is not None:
                self.known[each], self.tensors[each] = value, example

    def _of(self, node: Node, found: Mapping[Node, Any]) -> tuple[Any, Any]:
        """The arguments of an operation, by position and by name."""
        return map_arg(node.args, found.__getitem__), map_arg(node.kwargs, found.__getitem__)

    def _value(self, target: Any, example: Any, args: Any, kwargs: Any) -> Any:
        name = _name(target)
        if example is None:  # of checks, which give nothing
            return None
        if torch.Tag.nondeterministic_seeded in getattr(target, "tags", ()):
            return self._unknown(UnknownOperation(name, "draws random numbers"), example)
        is_live = any(value.is_live for value in _values((args, kwargs)))
        if not is_live or name.partition(".")[0] in _OF_SHAPES:
            return _each(example, constant)
        lowering = LOWERINGS.get(name.removesuffix(".default"))
        try:
            if lowering is not None:
                return lowering(self.tape, example, *args, **kwargs)
            views = _views(self.tape, target, example, args, kwargs)
        except ValueError as error:
            return self._unknown(UnknownOperation(name, str(error)), example)
        return self._unknown(UnknownOperation(name), example) if views is None else views

    def _unknown(self, error: UnknownOperation, example: Any) -> Any:
        return _each(example, lambda tensor: self.tape.emit("unknown", [], tensor, error=error))


def _changed(node: Node) -> Node | None:
    """The tensor that an operation changes in its place, as few do that were taken apart."""
    name = str(node.target).removeprefix("aten.").partition(".")[0]
    is_so = name.endswith("_") and not name.startswith("_") and isinstance(node.args[0], Node)
    return node.args[0] if is_so else None  # type: ignore[return-value]


def _in_a_new_place(target: Any) -> Any:
    """The operation that gives what another puts in the place of its first argument."""
    name, _, kind = str(target).removeprefix("aten.").partition(".")
    packet = getattr(torch.ops.aten, name.removesuffix("_"))
    return getattr(packet, kind) if kind in packet.overloads() else packet  # it finds the kind


def _views(tape: Tape, target: Any, example: Any, args: Any, kwargs: Any) -> Any:
    """What a view of one value gives: numbers at strides of it; None if it is no such view."""
    value = args[0] if args else None
    if not isinstance(value, Value) or len(_values((args, kwargs))) != 1:
        return None
    flat = value.example.clone(memory_format=torch.contiguous_format)
    found = target(flat, *args[1:], **kwargs)
    storage = flat.untyped_storage().data_ptr()

    def view(part: Tensor, like: Tensor) -> Value:
        if part.is_contiguous() and part.numel() == flat.numel():
            return tape.view(value, like)
        return tape.strided(value, like, part.stride(), int(part.storage_offset()))

    parts = [found] if isinstance(found, Tensor) else list(found)
    if any(part.untyped_storage().data_ptr() != storage for part in parts):
        return None
    if isinstance(found, Tensor):
        return view(found, example)
    return [view(part, like) for part, like in zip(parts, example, strict=True)]


def _name(target: Any) -> str:
    """Torch's name of an operation, such as "add.Tensor"; a copy of a view is as good as one."""
    name, _, kind = str(target).removeprefix("aten.").removeprefix("prims.").partition(".")
    if name not in ("_to_copy", "lift_fresh_copy"):
        name = name.removesuffix("_copy")
    return f"{name}.{kind}"


def _values(tree: Any) -> list[Value]:
    found: list[Value] = []
    _each(tree, lambda value: found.append(value) if isinstance(value, Value) else None)
    return found


def _each(tree: Any, function: Callable[[Any], Any]) -> Any:
    """Applies a function to the leaves of lists, tuples and dictionaries."""
    if isinstance(tree, list | tuple):
        return type(tree)(_each(part, function) for part in tree)
    if isinstance(tree, dict):
        return {name: _each(part, function) for name, part in tree.items()}
    return function(tree)
