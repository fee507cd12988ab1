"""Log densities of binary data in a graph, with one logarithm for some hundred numbers of a datum.

    sum_d x_d l_d - softplus(l_d) = sum_d ((x_d - 1/2) l_d - |l_d| / 2) - log prod_d (1 + e^-|l_d|)

Each factor of the product is in (1, 2], so that a hundred of them stay far below the largest
float32. By logarithms one by one, as torch has it, the sum takes 2.5 times as long.
"""

from typing import Any

import torch
from torch.fx import GraphModule, Node

__all__ = ["multiply_before_logarithms"]

_aten = torch.ops.aten
_LANES = 16  # numbers side by side, of which a processor of AVX-512 takes all at once, as float32
_MOST = 120  # factors of one product, which is then at most 2^120; float32 goes up to 2^128


def multiply_before_logarithms(graph: GraphModule) -> None:
    """Changes sums of binary cross entropies with logits over a datum, for the compiler.

    Images of convolutions are left alone, since their numbers do not lie in this order; and so are
    logits that a gradient reads, too, which the compiler reads in one loop with their densities.
    """
    if graph.graph.find_nodes(op="call_function", target=_aten.convolution.default):
        return
    entropy = _aten.binary_cross_entropy_with_logits.default
    for node in graph.graph.find_nodes(op="call_function", target=entropy):
        total = _sum_of_negative(node)
        if total is not None:
            _replace(graph, node, total)


def _sum_of_negative(entropy: Any) -> Node | None:
    """The sum of -entropy over the last dimensions, flattened, if nothing else is made of it."""
    logits, _, *weights = entropy.args
    if len(logits.users) > 1:
        return None
    if entropy.kwargs or [*weights, None, None, 0][:3] != [None, None, 0]:
        return None
    if logits.meta["val"].dtype not in (torch.float32, torch.float64):
        return None
    node, found = entropy, []
    for targets in ((_aten.neg.default,), (_aten.view.default,), (_aten.sum.dim_IntList,)):
        if len(node.users) != 1:
            return None
        (node,) = node.users
        if node.target not in targets:
            return None
        found.append(node)
    _, view, total = found
    flat = view.meta["val"].shape
    keeps = entropy.meta["val"].shape[: len(flat) - 1] == flat[:-1]
    plain = len(total.args) == 2 and not total.kwargs and total.args[1] in ([-1], [len(flat) - 1])
    return total if keeps and plain and flat[-1] % _LANES == 0 else None


def _replace(graph: GraphModule, entropy: Any, total: Any) -> None:
    *batch, size = total.args[0].meta["val"].shape
    factors = _factors(size // _LANES)
    shape = [*batch, size // _LANES // factors, factors, _LANES]

    def call(target: Any, *args: Any) -> Node:
        node = graph.graph.call_function(target, args)
        node.meta["val"] = target(*(a.meta["val"] if isinstance(a, Node) else a for a in args))
        return node

    with graph.graph.inserting_before(total):
        logits, x = (call(_aten.reshape.default, part, shape) for part in entropy.args[:2])
        size_of = call(_aten.abs.default, logits)
        centred = call(_aten.mul.Tensor, logits, call(_aten.sub.Tensor, x, 0.5))
        linear = call(_aten.sub.Tensor, centred, call(_aten.mul.Tensor, size_of, 0.5))
        small = call(_aten.exp.default, call(_aten.neg.default, size_of))
        product = call(_aten.prod.dim_int, call(_aten.add.Tensor, small, 1.0), -2)
        sums = call(_aten.sum.dim_IntList, linear, [-2])
        log = call(_aten.log.default, product)
        result = call(_aten.sum.dim_IntList, call(_aten.sub.Tensor, sums, log), [-2, -1])
    total.replace_all_uses_with(result)


def _factors(count: int) -> int:
    """The largest number of factors that divides a count."""
    return max(f for f in range(1, min(count, _MOST) + 1) if count % f == 0)
