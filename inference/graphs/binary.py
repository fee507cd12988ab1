"""Log densities of binary data in a graph, with the layers that give their logits.

By torch's operators a logarithm is taken for each number, and what a layer gives for all data is
written to memory and read again. `cpp/binary.cpp` computes layers and densities for a part of the
data at a time, which stays in the cache, and takes one logarithm for a hundred numbers.
"""

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.fx import GraphModule, Node

from .products import BY_MKL, SMALL, is_faster_by_onednn

__all__ = ["IN_CACHE", "register_densities", "sum_binary_densities"]

IN_CACHE = 200_000  # numbers of a layer that a thread computes at a time
_aten = torch.ops.aten
_NAME = "binary_log_density"
_ACTIVATIONS: dict[Any, tuple[str, Callable[[Tensor], Tensor]]] = {
    _aten.tanh.default: ("tanh", torch.tanh),
    _aten.relu.default: ("relu", torch.relu),
    _aten.softplus.default: ("softplus", F.softplus),
}
_SHAPING = (_aten.view.default, _aten.reshape.default, _aten.expand.default)


def sum_binary_densities(graph: GraphModule) -> None:
    """Changes sums of binary cross entropies with logits over a datum, for the compiler.

    Images of convolutions are left alone, since their numbers do not lie in this order; and so are
    logits that a gradient reads, too, which the compiler reads in one loop with their densities.
    """
    values = [node.meta.get("val") for node in graph.graph.nodes]
    on_cpu = all(v.device.type == "cpu" for v in values if isinstance(v, Tensor))
    has_images = graph.graph.find_nodes(op="call_function", target=_aten.convolution.default)
    if has_images or not on_cpu:
        return
    entropy = _aten.binary_cross_entropy_with_logits.default
    for node in graph.graph.find_nodes(op="call_function", target=entropy):
        total = _sum_of_negative(node)
        if total is not None:
            _replace(graph, node, total)


def _sum_of_negative(entropy: Any) -> Node | None:
    """The sum of -entropy over the last dimensions, flattened, if nothing else is made of it."""
    logits, x, *weights = entropy.args
    if len(logits.users) > 1 or entropy.kwargs or [*weights, None, None, 0][:3] != [None, None, 0]:
        return None
    values = [part.meta["val"] for part in (logits, x, entropy)]
    if any(v.dtype is not torch.float32 or v.shape != values[0].shape for v in values):
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
    return total if keeps and plain and flat.numel() else None


def _replace(graph: GraphModule, entropy: Any, total: Any) -> None:
    *batch, size = total.args[0].meta["val"].shape
    logits, x = entropy.args[:2]
    unchanged = _unchanged_before(total)
    if entropy not in unchanged:
        return
    given, layers, activation = _layers_before(logits, size, unchanged)

    def call(target: Any, *args: Any) -> Node:
        node = graph.graph.call_function(target, args)
        values = torch.fx.map_arg(args, lambda part: part.meta["val"])
        node.meta["val"] = target(*values)
        return node

    with graph.graph.inserting_before(total):
        x = call(_aten.reshape.default, _repeated(x, len(batch)), [-1, size])
        if not layers:
            given = call(_aten.reshape.default, given, [-1, size])
        found = call(_density(), given, x, layers, activation)
        found.meta[BY_MKL] = len(layers) // 2
        result = call(_aten.reshape.default, found, batch)
    total.replace_all_uses_with(result)


def _unchanged_before(total: Node) -> set[Node]:
    """The nodes before the sum after which no tensor is changed in place until then.

    The operator reads what they read, but does so where the sum stands.
    """
    found = set[Node]()
    node = total.prev
    while node.op == "call_function":
        schema = getattr(node.target, "_schema", None)
        if schema is not None and schema.is_mutable:
            break
        found.add(node)
        node = node.prev
    return found


def _repeated(x: Any, num_batch_dims: int) -> Node:
    """The data of which `x` is a repetition along its first dimensions, or `x` itself."""
    shape = x.meta["val"].shape
    while x.target is _aten.expand.default:
        before = x.args[0].meta["val"].shape
        batch = before[: len(before) - len(shape) + num_batch_dims]
        ones = next((i for i, size in enumerate(batch) if size != 1), len(batch))
        kept = before[ones:]
        if kept != shape[len(shape) - len(kept) :] or len(kept) < len(shape) - num_batch_dims:
            break
        x = x.args[0]
    return x


def _layers_before(logits: Any, size: int, among: set[Node]) -> tuple[Any, list[Any], str]:
    """What the last large layers make logits of, their weights and biases, and the activation."""
    given, layers, between = logits, list[Any](), None
    layer = _source(logits)
    while layer in among and _is_large(layer) and layer.meta["val"].shape[1] == size:
        bias, given, weight = layer.args
        layers = [weight, bias, *layers]
        size = given.meta["val"].shape[1]
        activation = _source(given)
        # of softplus the usual slope and threshold; others have no more arguments
        usual = activation is not None and [*activation.args[1:], 1, 20][:2] == [1, 20]
        if not usual or activation.target not in ([between] if between else _ACTIVATIONS):
            break
        between, layer = activation.target, _source(activation.args[0])
    return given, layers, _ACTIVATIONS[between or _aten.tanh.default][0]


def _source(node: Any) -> Any:
    """The node whose numbers a node has in the same order, if they are used for it alone."""
    number = node.meta["val"].numel()
    while len(node.users) == 1 and node.meta["val"].numel() == number:
        if node.target not in _SHAPING:
            return node
        node = node.args[0]
    return None


def _is_large(layer: Any) -> bool:
    """Whether a node is a layer that BLAS multiplies, and MKL as fast as oneDNN."""
    if layer.target is not _aten.addmm.default or layer.kwargs:
        return False
    bias, x, weight = (part.meta["val"] for part in layer.args)
    columns = weight.shape[1]
    fits = bias.shape == (columns,) and x.numel() * columns >= SMALL
    rows = 1 + torch.get_num_threads() * IN_CACHE // columns
    is_float32 = bias.dtype is x.dtype is weight.dtype is torch.float32
    return fits and is_float32 and not is_faster_by_onednn(x[:rows], weight)


@cache
def _density() -> Any:
    """The log density of each row of data that begin again after the last, as an operator.

    The logits are what is given, or what layers of weights and biases, in turn, make of it.
    """
    schema = "(Tensor given, Tensor x, Tensor[] layers, str activation) -> Tensor"
    torch.library.define(f"pyro_vae::{_NAME}", schema)
    torch.library.impl(f"pyro_vae::{_NAME}", "CPU", _by_torch)
    torch.library.register_fake(
        f"pyro_vae::{_NAME}", lambda given, x, layers, activation: given.new_empty(len(given))
    )
    return getattr(torch.ops.pyro_vae, _NAME).default


def _by_torch(given: Tensor, x: Tensor, layers: Sequence[Tensor], activation: str) -> Tensor:
    activate = dict(_ACTIVATIONS.values())[activation]
    for i in range(0, len(layers), 2):
        given = torch.addmm(layers[i + 1], activate(given) if i else given, layers[i])
    x = x.repeat(len(given) // len(x), 1)
    return -F.binary_cross_entropy_with_logits(given, x, reduction="none").sum(-1)


@cache
def register_densities() -> None:
    """Has compiled code call `cpp/binary.cpp`; for the compiler."""
    from torch._inductor import ir
    from torch._inductor.lowering import register_lowering

    need = ir.ExternKernel

    class Call(ir.ExternKernelAlloc):
        def codegen_args(self) -> list[str]:
            inputs: Any = self.inputs
            given, x, *layers = (tensor.codegen_reference() for tensor in inputs)
            (activation,) = self.constant_args
            return [given, x, f"{{{', '.join(layers)}}}", f'"{activation}"']

        def codegen_kwargs(self, skip_out: bool = False) -> list[str]:
            return []

    @register_lowering(_density(), type_promotion_kind=None)
    def lower(given: Any, x: Any, layers: Sequence[Any], activation: str) -> Any:
        tensors = [need.require_contiguous(need.realize_input(part)) for part in (given, x)]
        for weight, bias in zip(layers[::2], layers[1::2], strict=True):
            weight = need.realize_input(weight)
            if 1 not in weight.get_stride():  # or it would be copied for each part of the data
                weight = need.require_contiguous(weight)
            tensors += [weight, need.require_contiguous(need.realize_input(bias))]
        rows = tensors[0]
        layout = ir.FixedLayout(rows.get_device_or_error(), rows.get_dtype(), [rows.get_size()[0]])
        call = Call(layout, tensors, [activation], cpp_kernel_name=f"aoti_torch_cpu_{_NAME}")
        return ir.TensorBox.create(call)
