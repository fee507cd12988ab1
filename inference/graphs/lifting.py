"""A graph whose own tensors, such as parameters, are inputs.

A captured graph holds the program's tensors as attributes. Machine code made of it serves another
process, which has other tensors of the same shapes, only if it is given them at each call.
"""

from collections.abc import Sequence
from typing import Any

from torch import Tensor
from torch.fx import Graph, GraphModule, Node

__all__ = ["lifted"]


def lifted(graph: GraphModule, inputs: Sequence[Tensor]) -> tuple[GraphModule, list[Tensor]]:
    """A copy of a graph with its own tensors as first inputs, and these tensors.

    They stay attributes, and the list is empty, where they are not all tensors, or where two of
    them share memory, which the compiler has to see.

    Args:
        graph: The graph.
        inputs: The inputs that it has already.
    """
    nodes = graph.graph.find_nodes(op="get_attr")
    values = {node: getattr(graph, str(node.target), None) for node in nodes}
    tensors = list({id(v): v for v in values.values() if isinstance(v, Tensor)}.values())
    new = Graph()
    if not all(isinstance(v, Tensor) for v in values.values()) or _overlap([*tensors, *inputs]):
        copies: dict[Node, Node] = {}
        new.output(new.graph_copy(graph.graph, copies))
        return GraphModule(graph, new), []
    places = {id(tensor): new.placeholder(f"own_{i}") for i, tensor in enumerate(tensors)}
    env: dict[Node, Node] = {}
    for node in graph.graph.nodes:
        if node.op == "get_attr":
            env[node] = places[id(values[node])]
            env[node].meta.update(node.meta)
        else:
            env[node] = new.node_copy(node, lambda old: env[old])
    return GraphModule({}, new), tensors


def _overlap(tensors: Sequence[Any]) -> bool:
    """Whether two of them lie in the same memory."""
    places = [t.untyped_storage().data_ptr() for t in tensors if t.numel()]
    return len(set(places)) < len(places)
