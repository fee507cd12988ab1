"""A recorded run as a graph."""

from collections.abc import Sequence
from operator import getitem
from typing import Any

import torch
from torch import nn
from torch._subclasses import FakeTensor, FakeTensorMode
from torch.fx import Graph, GraphModule, Node

from .recording import Layout, Name, Operation, Recording

__all__ = ["graph_of"]


def graph_of(recording: Recording, outputs: Sequence[Name]) -> GraphModule:
    """A graph from the inputs of a run to some of its tensors.

    Tensors from outside are its attributes. Each node says by `meta["val"]` what its tensor is, as
    the compiler has it.
    """
    return _Builder(recording).built(outputs)


class _Builder:
    def __init__(self, recording: Recording) -> None:
        self._recording = recording
        self._graph, self._root = Graph(), nn.Module()
        self._nodes: dict[Name, Node] = {}
        self._mode = FakeTensorMode(allow_fallback_kernels=True)

    def built(self, outputs: Sequence[Name]) -> GraphModule:
        for number in range(self._recording.num_inputs):
            name = Name(number, is_outside=False)
            self._place(name, self._graph.placeholder(f"input_{number}"))
        for operation in filter(_has_effect, self._recording.operations):
            args, kwargs = self._argument(operation.args), self._argument(operation.kwargs)
            node = self._graph.call_function(operation.function, args, kwargs)
            self._place(operation.results, node)
        self._graph.output(tuple(map(self._node, outputs)))
        return GraphModule(self._root, self._graph)

    def _argument(self, value: Any) -> Any:
        if isinstance(value, Name):
            return self._node(value)
        if isinstance(value, list):
            return list(map(self._argument, value))
        if isinstance(value, tuple):
            return tuple(map(self._argument, value))
        if isinstance(value, dict):
            return {key: self._argument(part) for key, part in value.items()}
        return value

    def _node(self, name: Name) -> Node:
        if name not in self._nodes:  # from outside, and not used before
            tensor, target = self._recording.outside[name.number], f"own_{name.number}"
            setattr(self._root, target, tensor)
            node = self._nodes[name] = self._graph.get_attr(target)
            node.meta["val"] = self._fake(Layout.of(tensor))
        return self._nodes[name]

    def _place(self, results: Any, node: Node) -> None:
        """Has a node, or the parts of its result, stand for names."""
        if isinstance(results, Name):
            self._nodes[results] = node
            node.meta["val"] = self._fake(self._recording.layouts[results.number])
        elif isinstance(results, list):
            for i, part in enumerate(results):
                if part is not None:
                    self._place(part, self._graph.call_function(getitem, (node, i)))

    def _fake(self, layout: Layout) -> Any:
        if layout.stride is None:
            return None
        with torch.no_grad():
            empty = torch.empty_strided(
                layout.shape, layout.stride, dtype=layout.dtype, device="meta"
            )
        return FakeTensor(self._mode, empty, layout.device)


def _has_effect(operation: Operation) -> bool:
    """Whether a graph needs an operation; not what only takes a number out of a tensor."""
    numbers_alone = operation.results is None and operation.function._schema.returns
    return not numbers_alone or operation.function._schema.is_mutable
