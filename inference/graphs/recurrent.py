"""LSTM layers in a graph: operators of ours around oneDNN's."""

from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch.fx import GraphModule

__all__ = ["keep_workspaces"]

_aten = torch.ops.aten


def keep_workspaces(graph: GraphModule) -> None:
    """Has the LSTM layers of a graph keep what their gradient needs, in place.

    On a CPU torch computes a layer by one call of oneDNN. It keeps the workspace that the gradient
    needs only where torch records gradients. In a graph the gradient is a call like any other, and
    nothing is recorded. And both calls read their tensors as if these were contiguous, which the
    compiler does not know: the gradient by the input weights was wrong then, without a word.
    """
    layer, gradient = _aten.mkldnn_rnn_layer.default, _aten.mkldnn_rnn_layer_backward.default
    if not graph.graph.find_nodes(op="call_function", target=gradient):
        return
    for target in (layer, gradient):
        for node in graph.graph.find_nodes(op="call_function", target=target):
            node.target = _by_onednn(target)
    graph.recompile()


@cache
def _by_onednn(target: Any) -> Any:
    """One of torch's two operators as one of our own, registered when first used."""
    _, _, own = target._schema.name.partition("::")
    name = f"pyro_vae::{own}"

    def run(*args: Any) -> tuple[Tensor, ...]:
        with torch.enable_grad():
            found = target(*(_plain(arg) for arg in args))
        return tuple(part.detach() for part in found)

    torch.library.define(name, str(target._schema).removeprefix(target._schema.name))
    torch.library.impl(name, "CPU", run)
    torch.library.register_fake(name, lambda *args: target(*args))
    return getattr(torch.ops.pyro_vae, own).default


def _plain(arg: Any) -> Any:
    return arg.detach().contiguous() if isinstance(arg, Tensor) else arg
