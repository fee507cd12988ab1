"""What graphs become before they are compiled: the same values, by faster kernels."""

import pytest
import torch
import torch.nn.functional as F
from torch.fx.experimental.proxy_tensor import make_fx

from pyro_vae.inference.graphs import passes, products

aten = torch.ops.aten
ENTROPY = aten.binary_cross_entropy_with_logits.default


def log_px(logits, x):
    entropy = F.binary_cross_entropy_with_logits(logits, x.expand_as(logits), reduction="none")
    return (-entropy).reshape(*logits.shape[:2], -1).sum(-1)


def prepared(function, *args):
    return passes.prepare(make_fx(function, tracing_mode="fake")(*args))


def nodes(graph, target):
    return graph.graph.find_nodes(op="call_function", target=target)


@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 32, 32), (16,), (3, 16 * 127)])
@pytest.mark.parametrize("scale", [0.01, 3.0, 200.0])
def test_log_densities_of_binary_data_are_those_of_float64(shape, scale):
    """As near as torch's own float32, but for a unit in the last place of the largest sum."""
    torch.manual_seed(0)
    logits, x = scale * torch.randn(7, 3, *shape), (torch.rand(3, *shape) < 0.3).float()
    graph = prepared(log_px, logits, x)
    exact = log_px(logits.double(), x.double())
    error, own = ((f - exact).abs().max() for f in (graph(logits, x), log_px(logits, x)))
    assert not nodes(graph, ENTROPY)
    assert error < 2 * own + 2e-7 * exact.abs().max()


def test_log_densities_of_grey_data_are_those_of_float64():
    logits, x = torch.randn(2, 3, 784).double(), torch.rand(3, 784).double()
    graph = prepared(log_px, logits, x)
    assert not nodes(graph, ENTROPY)
    torch.testing.assert_close(graph(logits, x), log_px(logits, x), rtol=1e-13, atol=0)


def test_no_product_of_factors_overflows():
    """At logits of 0 each factor is 2, its largest."""
    logits, x = torch.zeros(2, 3, 16 * 960), torch.ones(3, 16 * 960)
    found = prepared(log_px, logits, x)(logits, x)
    torch.testing.assert_close(found.double(), log_px(logits.double(), x.double()))


@pytest.mark.parametrize(
    "function",
    [
        lambda logits, x: log_px(logits[..., :783], x[..., :783]),  # not in rows of 16
        lambda logits, x: F.binary_cross_entropy_with_logits(logits, x.expand_as(logits)),
        lambda logits, x: (
            -F.binary_cross_entropy_with_logits(
                logits, x.expand_as(logits), pos_weight=x[0], reduction="none"
            )
            .flatten(2)
            .sum(-1)
        ),
    ],
)
def test_other_cross_entropies_stay(function):
    logits, x = torch.randn(2, 3, 784), torch.rand(3, 784)
    graph = prepared(function, logits, x)
    assert len(nodes(graph, ENTROPY)) == 1
    torch.testing.assert_close(graph(logits, x), function(logits, x))


def test_logits_that_a_gradient_reads_stay():
    logits, x = torch.randn(2, 3, 784, requires_grad=True), torch.rand(3, 784)

    def value_and_gradient(logits, x):
        value = log_px(logits, x)
        return value, torch.autograd.grad(value.sum(), logits)[0]

    graph = prepared(value_and_gradient, logits, x)
    assert len(nodes(graph, ENTROPY)) == 1


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
