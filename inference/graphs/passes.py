"""Changes of a captured graph before it is compiled: layouts and kernels that are fast on a CPU.

They change nothing of what the graph computes, up to the order of sums. Each stands in for a choice
that torch's compiler makes for graphs without gradients, or for other processors.
"""

import torch
from torch.fx import GraphModule

from .binary import sum_binary_densities
from .convolutions import choose_layout, layout_in
from .products import choose_products, products_by

__all__ = ["kernels_in", "prepare"]


def prepare(graph: GraphModule) -> GraphModule:
    """Changes a graph in place, for the compiler, and returns it."""
    sum_binary_densities(graph)
    graph.graph.eliminate_dead_code()  # layers that the sums took on
    choose_layout(graph)
    if torch.backends.mkldnn.is_available():
        choose_products(graph)
    graph.graph.eliminate_dead_code()
    graph.recompile()
    return graph


def kernels_in(graph: GraphModule) -> str:
    """What the products and convolutions of a prepared graph go to, in words."""
    products = products_by(graph)
    parts = (f"products {products}" if products else "", layout_in(graph))
    return "; ".join(part for part in parts if part)
