"""Changes of a captured graph before it is compiled: layouts and kernels that are fast on a CPU.

They change nothing of what the graph computes, up to the order of sums. Each stands in for a choice
that torch's compiler makes for graphs without gradients, or for other processors.
"""

from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch.fx import GraphModule, Node

__all__ = ["prepare"]

_aten = torch.ops.aten
_MANY = 1_000_000  # multiplications; below that oneDNN's own set-up of 10 us shows


def prepare(graph: GraphModule) -> GraphModule:
    """Changes a graph in place, for the compiler, and returns it."""
    _put_channels_last(graph)
    if torch.backends.mkldnn.is_available():
        _multiply_by_onednn(graph)
    graph.graph.eliminate_dead_code()
    graph.recompile()
    return graph


def _multiply_by_onednn(graph: GraphModule) -> None:
    """Has oneDNN multiply large float32 matrices, where torch takes MKL.

    On processors that are not Intel's, MKL takes slower kernels: 0.76 against 0.36 ms for
    128 x 784 x 400 on one core of an AMD EPYC.
    """
    for target in (_aten.mm.default, _aten.addmm.default):
        for node in graph.graph.find_nodes(op="call_function", target=target):
            *bias, x, weight = node.args
            values = [part.meta["val"] for part in node.args]
            (rows, inner), columns = values[-2].shape, values[-1].shape[1]
            on_cpu = all(v.device.type == "cpu" and v.dtype is torch.float32 for v in values)
            # addmm takes factors alpha and beta and a bias of any shape, oneDNN does not
            plain = not node.kwargs and (not bias or values[0].shape == (columns,))
            if on_cpu and plain and rows * inner * columns >= _MANY:
                with graph.graph.inserting_before(node):
                    turned = graph.graph.call_function(_aten.t.default, (weight,))
                    args = (x, turned, bias[0] if bias else None)
                    product = graph.graph.call_function(_linear(), args)
                product.meta["val"] = node.meta["val"]
                node.replace_all_uses_with(product)


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
    operator = torch.ops.pyro_vae.onednn_linear.default
    _call_directly(operator)
    return operator


def _by_python(x: Tensor, weight: Tensor, bias: Tensor | None) -> Any:
    return torch.ops.mkldnn._linear_pointwise.default(x, weight, bias, "none", [], "")


def _call_directly(operator: Any) -> None:
    """Has compiled code call oneDNN itself, not by way of the operator's Python.

    That way takes 10 us more a product. And x must be contiguous: the compiler's own loops make it
    so in all threads, oneDNN's operator in one. A weight may be transposed, but in rows that do not
    follow each other at once, as of one part of a concatenation, it takes thousands of times as
    long: 160 ms in place of 0.06 for 256 x 200 x 40.
    """
    from torch._inductor import ir, mkldnn_ir
    from torch._inductor.lowering import register_lowering

    need = ir.ExternKernel

    @register_lowering(operator, type_promotion_kind=None)
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


def _put_channels_last(graph: GraphModule) -> None:
    """Lets convolutions on a CPU hand each other images with the channels last.

    That is how oneDNN computes them. The compiler lays images out so by itself, but not those that
    a gradient needs too: these keep the layout of the run that was captured, and are written out
    three times each, which takes 80 ms a step in place of 62 for a VAE of 64 images of 3x64x64.
    """
    turned: set[Node] = set()
    for target, places in (
        (_aten.convolution.default, (0,)),
        (_aten.convolution_backward.default, (0, 1)),
    ):
        for node in graph.graph.find_nodes(op="call_function", target=target):
            for place in places:
                image = node.args[place]
                if image not in turned and _is_image_on_a_cpu(image):
                    turned.add(_turn(graph, image))
    if turned:
        _sum_without_flattening(graph)
        for node in graph.graph.find_nodes(op="call_function", target=_aten.view.default):
            # a view of the old layout may be none of the new one, and needs a copy there
            node.target = _aten.reshape.default


def _is_image_on_a_cpu(node: Node) -> bool:
    value = node.meta["val"]
    return value.dim() == 4 and value.device.type == "cpu"


def _turn(graph: GraphModule, image: Node) -> Node:
    """The image with the channels last; whatever else reads it reads it so too."""
    with graph.graph.inserting_after(image):
        options: dict[str, Any] = {"memory_format": torch.channels_last}
        turned = graph.graph.call_function(_aten.contiguous.default, (image,), options)
    turned.meta["val"] = image.meta["val"]
    image.replace_all_uses_with(turned, delete_user_cb=lambda user: user is not turned)
    return turned


def _sum_without_flattening(graph: GraphModule) -> None:
    """Turns `x.flatten(n).sum(-1)`, Pyro's sum over an event, into `x.sum((n, ..., -1))`.

    With the channels last a flattened index costs a division for each number of the image.
    """
    for node in graph.graph.find_nodes(op="call_function", target=_aten.sum.dim_IntList):
        view, dims = node.args[:2]
        if len(node.args) > 2 or view.target is not _aten.view.default:
            continue
        shape, flat = view.args[0].meta["val"].shape, view.meta["val"].shape
        last = len(flat) - 1
        if list(dims) in ([-1], [last]) and shape[:last] == flat[:last]:
            node.args = (view.args[0], list(range(last, len(shape))))
