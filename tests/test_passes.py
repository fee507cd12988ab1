"""What graphs become before they are compiled: the same values, by faster kernels."""

import pytest
import torch
import torch.nn.functional as F
from torch.fx.experimental.proxy_tensor import make_fx

from pyro_vae.inference.graphs import passes, products

aten = torch.ops.aten


def prepared(function, *args):
    return passes.prepare(make_fx(function, tracing_mode="fake")(*args))


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
