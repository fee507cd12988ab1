"""The products of a captured graph: by torch's own MKL or by oneDNN, whichever is faster here."""

from collections.abc import Callable
from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch.fx import GraphModule

from pyro_vae.fastest import fastest

__all__ = ["choose_products", "products_by", "register_products"]

_aten = torch.ops.aten
_MANY = 1_000_000  # multiplications; below that oneDNN's own set-up of 10 us shows


def choose_products(graph: GraphModule) -> None:
    """Has oneDNN multiply large float32 matrices where it is faster, and leaves others to torch.

    Both are timed once for each shape and layout, see `fastest`.
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
            if on_cpu and plain and large and _is_faster_by_onednn(*values[-2:]):
                with graph.graph.inserting_before(node):
                    turned = graph.graph.call_function(_aten.t.default, (weight,))
                    args = (x, turned, bias[0] if bias else None)
                    product = graph.graph.call_function(_linear(), args)
                product.meta["val"] = node.meta["val"]
                node.replace_all_uses_with(product)


def products_by(graph: GraphModule) -> str:
    """How many products of a graph that was prepared go which way, such as "7 by oneDNN"."""
    targets = {"oneDNN": (_linear(),), "MKL": (_aten.mm.default, _aten.addmm.default)}
    counts = {
        name: sum(len(graph.graph.find_nodes(op="call_function", target=t)) for t in found)
        for name, found in targets.items()
    }
    return ", ".join(f"{count} by {name}" for name, count in counts.items() if count)


def _is_faster_by_onednn(x: Tensor, weight: Tensor) -> bool:
    """Whether oneDNN multiplies two matrices of these shapes and layouts faster than MKL here."""
    (rows, inner), columns = x.shape, weight.shape[1]
    turned = [matrix.stride(0) < matrix.stride(1) for matrix in (x, weight)]
    layouts = " ".join("columns" if is_turned else "rows" for is_turned in turned)

    def matrix(size: tuple[int, int], is_turned: bool) -> Tensor:
        return torch.ones(size[::-1]).t() if is_turned else torch.ones(size)

    def ways() -> dict[str, Callable[[], Any]]:
        left, right = matrix((rows, inner), turned[0]), matrix((inner, columns), turned[1])
        linear = torch.ops.mkldnn._linear_pointwise.default
        return {
            # compiled code hands oneDNN rows, see `register_products`
            "oneDNN": lambda: linear(left.contiguous(), right.t(), None, "none", [], ""),
            "MKL": lambda: torch.mm(left, right),
        }

    return fastest(f"product {rows}x{inner}x{columns} of {layouts}", ways) == "oneDNN"


@cache
def _linear() -> Any:
    """OneDNN's x @ weight.T + bias as an operator of our own, registered when first used.

    The compiler knows oneDNN's operator, but takes it for frozen weights alone, which it lays out
    anew once and for all. Weights that are trained change at each step.
    """
    schema = "(Tensor x, Tensor weight, Tensor? bias) -> Tensor"
    torch.library.define("pyro_vae::onednn_linear", schema)
    torch.library.impl("pyro_vae::onednn_linear", "CPU", lambda *args: _by_python(*args))
    torch.library.register_fake(
        "pyro_vae::onednn_linear", lambda x, weight, bias: x.new_empty(x.shape[0], weight.shape[0])
    )
    return torch.ops.pyro_vae.onednn_linear.default


def _by_python(x: Tensor, weight: Tensor, bias: Tensor | None) -> Any:
    return torch.ops.mkldnn._linear_pointwise.default(x, weight, bias, "none", [], "")


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
    def lower(x: Any, weight: Any, bias: Any) -> Any:
        x = need.require_contiguous(need.realize_input(x))
        weight = need.realize_input(weight)
        rows, columns = weight.get_size()
        if tuple(weight.get_stride()) not in {(columns, 1), (1, rows)}:
            weight = need.require_contiguous(weight)
        tensors: list[Any] = [x, weight]
        constants: list[Any] = ["none", [-1], ""]  # no activation after the product
        if bias is None:  # then it is a constant, and stands before these
            constants.insert(0, None)
        else:
            tensors.append(need.require_contiguous(need.realize_input(bias)))
        size = [x.get_size()[0], weight.get_size()[0]]
        layout = ir.FixedLayout(device=x.get_device(), dtype=x.get_dtype(), size=size)
        product = mkldnn_ir.LinearUnary(layout, tensors, constants)
        return ir.TensorBox.create(mkldnn_ir._create_output_node(product))
