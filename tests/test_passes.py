"""What graphs become before they are compiled: the same values, by faster kernels."""

import pytest
import torch
import torch.nn.functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from pyro_vae.inference.graphs import convolutions, passes, products

from .compiled_code import prepared

aten = torch.ops.aten


def nodes(graph, target):
    return graph.graph.find_nodes(op="call_function", target=target)


def layer(x, weight, bias):
    return F.linear(x, weight, bias).tanh()


LAYER = torch.randn(160, 128), torch.randn(64, 128), torch.randn(64)


@pytest.mark.skipif(not torch.backends.mkldnn.is_available(), reason="torch has no oneDNN")
@pytest.mark.parametrize("name", ["oneDNN", "MKL"])
def test_a_layer_with_tanh_is_itself_either_way(name, monkeypatch):
    monkeypatch.setattr(products, "fastest", lambda product, ways: name)
    graph = prepared(layer, *LAYER)
    torch.testing.assert_close(graph(*LAYER), layer(*LAYER))
    assert bool(nodes(graph, aten.tanh.default)) == (name == "MKL")
    assert not nodes(graph, aten.addmm.default)


@pytest.mark.skipif(not torch.backends.mkldnn.is_available(), reason="torch has no oneDNN")
def test_a_product_that_is_read_before_its_tanh_keeps_it(monkeypatch):
    monkeypatch.setattr(products, "fastest", lambda product, ways: "oneDNN")
    graph = prepared(lambda x, w, b: (h := F.linear(x, w, b)) * h.tanh(), *LAYER)
    assert len(nodes(graph, aten.tanh.default)) == 1
    product = F.linear(*LAYER)
    torch.testing.assert_close(graph(*LAYER), product * product.tanh(), rtol=1e-4, atol=1e-4)


def convolved(images, weight, bias):
    """A sum with its gradients, of two convolutions, one of which is transposed."""
    hidden = F.conv2d(images, weight, bias, stride=2, padding=1).relu()
    value = F.conv_transpose2d(hidden, weight, stride=2, padding=1).sin().flatten(1).sum()
    return value, *torch.autograd.grad(value, (weight, bias))


CONVOLVED = [
    torch.randn(12, 3, 16, 16),
    torch.randn(8, 3, 4, 4, requires_grad=True),
    torch.randn(8, requires_grad=True),
]


@pytest.mark.parametrize("place", ["last", "first"])
def test_convolutions_lay_images_out_as_is_faster(place, monkeypatch):
    monkeypatch.setattr(convolutions, "fastest", lambda name, ways: f"channels {place}")
    graph = prepared(convolved, *CONVOLVED)
    assert passes.kernels_in(graph) == f"convolutions with the channels {place}"
    turns = nodes(graph, aten.contiguous.default)
    images = [n.args[0] for n in nodes(graph, aten.convolution.default)]
    assert all((image in turns) == (place == "last") for image in images)
    for found, expected in zip(graph(*CONVOLVED), convolved(*CONVOLVED), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


class Convolutions(TorchDispatchMode):
    """The images of each convolution that runs within, and whether their channels are last."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if "convolution" in func.name():
            last = args[0].is_contiguous(memory_format=torch.channels_last)
            self.seen.append((args[0].shape[0], last))
        return func(*args, **(kwargs or {}))


def test_layouts_are_timed_on_all_convolutions_with_a_few_images(monkeypatch):
    asked = {}
    monkeypatch.setattr(convolutions, "fastest", lambda name, ways: asked.update({name: ways()}))
    for number in (12, 13):  # of which both times 8 are taken
        prepared(convolved, torch.randn(number, 3, 16, 16), *CONVOLVED[1:])
    ((name, ways),) = asked.items()
    assert name.startswith("4 convolutions ")
    for way, is_last in zip(ways.values(), (True, False), strict=True):
        with Convolutions() as ran:
            way()
        assert ran.seen == [(8, is_last)] * 4


def test_a_graph_without_images_has_no_layout():
    graph = prepared(lambda x, w: F.conv1d(x, w), torch.randn(2, 3, 9), torch.randn(4, 3, 2))
    assert passes.kernels_in(graph) == ""
