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
from torch.fx import Graph as FxGraph
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

    Raises:
        UnknownOperation: If an operation that depends on an input has no instruction, or draws
            random numbers.
    """
    tape = Tape()
    starts = [Value(tensor, is_live=True) for tensor in inputs]
    known: dict[Node, Any] = {}
    graph: FxGraph = module.graph
    waiting = iter(starts)
    for node in graph.nodes:
        if node.op == "placeholder":
            known[node] = next(waiting)
        elif node.op == "get_attr":
            known[node] = constant(_attribute(module, str(node.target)).detach())
        elif node.op == "call_function":
            known[node] = _stepped(tape, node, known)
        elif node.op == "output":
            found = map_arg(node.args[0], known.__getitem__)
            return tape, starts, [constant(value) for value in found]
    raise ValueError("the traced function gives nothing")


def _attribute(module: Any, path: str) -> Tensor:
    for name in path.split("."):
        module = getattr(module, name)
    return module


def _stepped(tape: Tape, node: Node, known: Mapping[Node, Any]) -> Any:
    """The value of an operation: computed now if it is a constant, else written down."""
    args = map_arg(node.args, known.__getitem__)
    kwargs = map_arg(node.kwargs, known.__getitem__)
    if getattr(node.target, "__name__", "") == "getitem":
        return args[0][args[1]]
    target: Any = node.target
    tags = getattr(target, "tags", ())
    if torch.Tag.nondeterministic_seeded in tags:
        raise UnknownOperation(_name(target), "draws random numbers")
    example = target(*_examples(args), **_examples(kwargs))
    if not any(value.is_live for value in _values((args, kwargs))):
        return _each(example, constant)
    name = _name(target)
    lowering = LOWERINGS.get(name.removesuffix(".default"))
    try:
        if lowering is not None:
            return lowering(tape, example, *args, **kwargs)
        views = _views(tape, target, args, kwargs)
    except ValueError as error:
        raise UnknownOperation(name, str(error)) from error
    if views is None:
        raise UnknownOperation(name)
    return views


def _views(tape: Tape, target: Any, args: Any, kwargs: Any) -> Any:
    """What a view of one value gives: numbers at strides of it; None if it is no such view."""
    value = args[0] if args else None
    if not isinstance(value, Value) or len(_values((args, kwargs))) != 1:
        return None
    flat = value.example.clone(memory_format=torch.contiguous_format)
    found = target(flat, *args[1:], **kwargs)
    parts = found if isinstance(found, list | tuple) else [found]
    storage = flat.untyped_storage().data_ptr()
    if any(part.untyped_storage().data_ptr() != storage for part in parts):
        return None

    def view(part: Tensor) -> Value:
        if part.is_contiguous() and part.numel() == flat.numel():
            return tape.view(value, part)
        return tape.strided(value, part, part.stride(), part.storage_offset())

    return _each(found, view)


def _name(target: Any) -> str:
    """Torch's name of an operation, such as "add.Tensor"; a copy of a view is as good as one."""
    name, _, kind = str(target).removeprefix("aten.").removeprefix("prims.").partition(".")
    if name not in ("_to_copy", "lift_fresh_copy"):
        name = name.removesuffix("_copy")
    return f"{name}.{kind}"


def _examples(tree: Any) -> Any:
    return _each(tree, lambda value: value.example if isinstance(value, Value) else value)


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
