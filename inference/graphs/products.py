"""The products of a captured graph: by torch's own MKL or by oneDNN, whichever is faster here."""

from collections.abc import Callable
from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch.fx import GraphModule, Node

from pyro_vae.fastest import fastest

__all__ = [
    "BY_MKL",
    "SMALL",
    "choose_products",
    "has_large_products",
    "is_faster_by_onednn",
    "products_by",
    "register_products",
]

BY_MKL = "products by MKL"  # how many an operator of our own makes, in the `meta` of its node
_aten = torch.ops.aten
_MANY = 1_000_000  # multiplications; below that oneDNN's own set-up of 10 us shows
SMALL = 300_000  # below that the loops of `cpp/products.cpp`, in one thread, are the faster ones


def choose_products(graph: GraphModule) -> None:
    """Has oneDNN multiply large float32 matrices where it is faster, and leaves others to MKL.

    Both are timed once for each shape and layout, see `fastest`. OneDNN adds the bias itself, and
    takes the tanh of a layer that has one. After MKL the compiler's next loop does so; MKL would
    write the bias first and read it again.
    """
    for target in (_aten.mm.default, _aten.addmm.default):
        for node in graph.graph.find_nodes(op="call_function", target=target):
            *bias, x, weight = node.args
            values = [part.meta["val"] for part in node.args]
            (rows, inner), columns = values[-2].shape, values[-1].shape[1]
            on_cpu = all(v.device.type == "cpu" and v.dtype is torch.float32 for v in values)
            # addmm takes factors alpha and beta and a bias of any shape, oneDNN does not
            plain = not node.kwargs and (not bias or values[0].shape == (columns,))
            large = rows * inner * columns >= _MANY
            if not (on_cpu and plain and large):
                continue
            tanh = _tanh_after(node)
            if is_faster_by_onednn(*values[-2:], then_tanh=tanh is not None):
                with graph.graph.inserting_before(node):
                    turned = graph.graph.call_function(_aten.t.default, (weight,))
                    activation = "none" if tanh is None else "tanh"
                    args = (x, turned, bias[0] if bias else None, activation)
                    product = graph.graph.call_function(_linear(), args)
                _put_in_place(product, tanh or node)
            elif bias:
                with graph.graph.inserting_before(node):
                    product = graph.graph.call_function(_aten.mm.default, (x, weight))
                    product.meta["val"] = node.meta["val"]
                    # by a third dimension, or the compiler would put both together again
                    page = graph.graph.call_function(_aten.unsqueeze.default, (product, 0))
                    biased = graph.graph.call_function(_aten.add.Tensor, (page, bias[0]))
                    flat = graph.graph.call_function(_aten.squeeze.dim, (biased, 0))
                _put_in_place(flat, node)


def products_by(graph: GraphModule) -> str:
    """How many products of a graph that was prepared go which way, such as "7 by oneDNN"."""
    ways = _ways(graph)
    counts = {name: ways.count(name) for name in ("oneDNN", "MKL", "own loops")}
    return ", ".join(f"{count} by {name}" for name, count in counts.items() if count)


def has_large_products(graph: GraphModule) -> bool:
    """Whether a graph has products that are left to MKL or oneDNN, or convolutions."""
    convolutions = graph.graph.find_nodes(op="call_function", target=_aten.convolution.default)
    return bool(convolutions) or not {*_ways(graph)} <= {"own loops"}


def _ways(graph: GraphModule) -> list[str]:
    """Which way each product goes."""
    large = graph.graph.find_nodes(op="call_function", target=_linear())
    others = [
        node
        for target in (_aten.mm.default, _aten.addmm.default)
        for node in graph.graph.find_nodes(op="call_function", target=target)
    ]
    by_mkl = ["MKL"] * sum(node.meta.get(BY_MKL, 0) for node in graph.graph.nodes)
    by_size = ["own loops" if _is_small(node) else "MKL" for node in others]
    return ["oneDNN" for _ in large] + by_mkl + by_size


def _is_small(node: Any) -> bool:
    """Whether a product is one of `cpp/products.cpp`."""
    x, weight = (part.meta["val"] for part in node.args[-2:])
    small = x.numel() * weight.shape[1] < SMALL and not node.kwargs
    return small and x.dtype is torch.float32 and x.device.type == "cpu"


def _tanh_after(node: Node) -> Node | None:
    """The tanh of a product, if the product is used for that alone."""
    (user, *others) = node.users or [node]
    return user if not others and user.target is _aten.tanh.default else None


def _put_in_place(new: Node, old: Node) -> None:
    new.meta["val"] = old.meta["val"]
    old.replace_all_uses_with(new)


def is_faster_by_onednn(x: Tensor, weight: Tensor, *, then_tanh: bool = False) -> bool:
    """Whether oneDNN multiplies two matrices of these shapes and layouts faster than MKL here.

    Torch's exp stands in for the tanh of compiled code, of which it has about the time.
    """
    if not torch.backends.mkldnn.is_available():
        return False
    (rows, inner), columns = x.shape, weight.shape[1]
    turned = [matrix.stride(0) < matrix.stride(1) for matrix in (x, weight)]
    layouts = " ".join("columns" if is_turned else "rows" for is_turned in turned)

    def matrix(size: tuple[int, int], is_turned: bool) -> Tensor:
        ones = torch.ones(size[::-1]).t() if is_turned else torch.ones(size)
        return ones / inner**0.5  # their products are 1; exp takes ten times as long to overflow

    def ways() -> dict[str, Callable[[], Any]]:
        left, right = matrix((rows, inner), turned[0]), matrix((inner, columns), turned[1])
        linear = torch.ops.mkldnn._linear_pointwise.default
        return {
            "MKL": lambda: torch.mm(left, right).exp_() if then_tanh else torch.mm(left, right),
            # compiled code hands oneDNN rows, see `register_products`
            "oneDNN": lambda: linear(left.contiguous(), right.t(), None, activation, [], ""),
        }

    activation = "tanh" if then_tanh else "none"
    after = ", then tanh" if then_tanh else ""
    return fastest(f"product {rows}x{inner}x{columns} of {layouts}{after}", ways) == "oneDNN"


@cache
def _linear() -> Any:
    """OneDNN's f(x @ weight.T + bias) as an operator of our own, registered when first used.

    The compiler knows oneDNN's operator, but takes it for frozen weights alone, which it lays out
    anew once and for all. Weights that are trained change at each step.
    """
    schema = "(Tensor x, Tensor weight, Tensor? bias, str activation) -> Tensor"
    torch.library.define("pyro_vae::onednn_linear", schema)
    torch.library.impl("pyro_vae::onednn_linear", "CPU", lambda *args: _by_python(*args))
    torch.library.register_fake(
        "pyro_vae::onednn_linear",
        lambda x, weight, bias, _: x.new_empty(x.shape[0], weight.shape[0]),
    )
    return torch.ops.pyro_vae.onednn_linear.default


def _by_python(x: Tensor, weight: Tensor, bias: Tensor | None, activation: str) -> Any:
    return torch.ops.mkldnn._linear_pointwise.default(x, weight, bias, activation, [], "")


@cache
def register_products() -> None:
    """Has compiled code call oneDNN itself, not by way of the operator's Python; for the compiler.

    That way takes 10 us more a product. And x must be contiguous: the compiler's own loops make it
    so in all threads, oneDNN's operator in one. A weight may be transposed, but in rows that do not
    follow each other at once, as of one part of a concatenation, it takes thousands of times as
    long: 160 ms in place of 0.06 for 256 x 200 x 40.
    """
    from torch._inductor import ir, mkldnn_ir
    from torch._inductor.lowering import register_lowering

    need = ir.ExternKernel

    @register_lowering(_linear(), type_promotion_kind=None)
    def lower(x: Any, weight: Any, bias: Any, activation: str) -> Any:
        x = need.require_contiguous(need.realize_input(x))
        weight = need.realize_input(weight)
        rows, columns = weight.get_size()
        if tuple(weight.get_stride()) not in {(columns, 1), (1, rows)}:
            weight = need.require_contiguous(weight)
        tensors: list[Any] = [x, weight]
        constants: list[Any] = [activation, [-1], ""]
        if bias is None:  # then it is a constant, and stands before these
            constants.insert(0, None)
        else:
            tensors.append(need.require_contiguous(need.realize_input(bias)))
        size = [x.get_size()[0], weight.get_size()[0]]
        layout = ir.FixedLayout(device=x.get_device(), dtype=x.get_dtype(), size=size)
        product = mkldnn_ir.LinearUnary(layout, tensors, constants)
        return ir.TensorBox.create(mkldnn_ir._create_output_node(product))
