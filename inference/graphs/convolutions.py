"""The layout of images in a captured graph, before it is compiled: whichever is faster here."""

import hashlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch.fx import GraphModule, Node

from pyro_vae.fastest import fastest

__all__ = ["choose_layout", "layout_in"]

_aten = torch.ops.aten
_NUM_IMAGES = {_aten.convolution.default: 1, _aten.convolution_backward.default: 2}
_CHANNELS_LAST: dict[str, Any] = {"memory_format": torch.channels_last}
_IMAGES = 8  # of a batch, on which layouts are timed


def choose_layout(graph: GraphModule) -> None:
    """Lets convolutions on a CPU hand on images with the channels last, where that is faster.

    That is how oneDNN computes them. The compiler lays images out so by itself, but not those that
    a gradient needs too: these keep the layout of the run that was captured, and are written out
    three times each, which takes 80 ms a step in place of 62 for a VAE of 64 images of 3x64x64.
    """
    nodes = [node for node in _convolutions(graph) if _images(node)]
    if not nodes or not _are_faster_with_channels_last(nodes):
        return
    turned: set[Node] = set()
    for node in nodes:
        for image in _images(node):
            if image not in turned:
                turned.add(_turn(graph, image))
    _sum_without_flattening(graph)
    for node in graph.graph.find_nodes(op="call_function", target=_aten.view.default):
        # a view of the old layout may be none of the new one, and needs a copy there
        node.target = _aten.reshape.default


def layout_in(graph: GraphModule) -> str:
    """Where the channels of a prepared graph's images are, if it has convolutions of images."""
    if not any(_images(node) for node in _convolutions(graph)):
        return ""
    turns = graph.graph.find_nodes(op="call_function", target=_aten.contiguous.default)
    is_last = any(node.kwargs == _CHANNELS_LAST for node in turns)
    return f"convolutions with the channels {'last' if is_last else 'first'}"


def _convolutions(graph: GraphModule) -> Iterator[Any]:
    """Those of a graph, and then their gradients."""
    for target in _NUM_IMAGES:
        yield from graph.graph.find_nodes(op="call_function", target=target)


def _images(convolution: Any) -> list[Any]:
    """What a convolution or its gradient reads that are images on a CPU."""
    images = convolution.args[: _NUM_IMAGES[convolution.target]]
    values = [image.meta["val"] for image in images]
    are_images = all(v.dim() == 4 and v.device.type == "cpu" for v in values)
    return list(images) if are_images else []


def _are_faster_with_channels_last(nodes: Sequence[Any]) -> bool:
    """Whether all convolutions of a graph together take less time so, on a few images."""
    kinds = [_kind(node) for node in nodes]
    counts, examples = Counter(kinds), dict(zip(kinds, nodes, strict=True))
    digest = hashlib.sha256(repr(sorted(counts.items())).encode()).hexdigest()[:16]

    def calls(memory_format: torch.memory_format) -> Callable[[], None]:
        inputs = {kind: _inputs(node, memory_format) for kind, node in examples.items()}

        def all_of_them() -> None:
            for kind, count in counts.items():
                for _ in range(count):
                    examples[kind].target(*inputs[kind])

        return all_of_them

    def ways() -> dict[str, Callable[[], None]]:
        return {
            "channels last": calls(torch.channels_last),
            "channels first": calls(torch.contiguous_format),
        }

    return fastest(f"{len(nodes)} convolutions {digest}", ways) == "channels last"


def _kind(convolution: Any) -> str:
    """What the time of a convolution depends on."""
    args = torch.fx.map_arg(
        convolution.args, lambda node: (_few(node, convolution), node.meta["val"].dtype)
    )
    return repr((str(convolution.target), args))


def _few(node: Node, convolution: Any) -> list[int]:
    """The shape of what a convolution reads, with only a few of the images."""
    first, *others = node.meta["val"].shape
    return [min(_IMAGES, first) if node in _images(convolution) else first, *others]


def _inputs(convolution: Any, memory_format: torch.memory_format) -> list[Any]:
    """The inputs of a convolution of a few images in a layout, with ones for all numbers."""

    def ones(node: Node) -> Any:
        made = torch.ones(_few(node, convolution), dtype=node.meta["val"].dtype)
        is_image = node in _images(convolution)
        return made.contiguous(memory_format=memory_format) if is_image else made

    return list(torch.fx.map_arg(convolution.args, ones))


def _turn(graph: GraphModule, image: Node) -> Node:
    """The image with the channels last; whatever else reads it reads it so too."""
    with graph.graph.inserting_after(image):
        turned = graph.graph.call_function(_aten.contiguous.default, (image,), _CHANNELS_LAST)
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
