"""Which way is the fastest on this machine: measured once, and kept."""

import time
import warnings

import pytest
import torch
import torch.nn.functional as F
from torch.fx.experimental.proxy_tensor import make_fx

from pyro_vae import fastest as module
from pyro_vae import precision
from pyro_vae.cache import cache_folder
from pyro_vae.fastest import fastest
from pyro_vae.inference.graphs import passes, products
from pyro_vae.precision import layers_in_bfloat16


@pytest.fixture(autouse=True)
def new_machine(monkeypatch, tmp_path):
    monkeypatch.setenv("PYRO_VAE_CACHE", str(tmp_path))
    module._known.cache_clear()
    yield
    module._known.cache_clear()


def sleeps(calls, name, seconds):
    return lambda: calls.append(name) or time.sleep(seconds)


def ways(calls, first, second):
    return lambda: {
        "first": sleeps(calls, "first", first),
        "second": sleeps(calls, "second", second),
    }


@pytest.mark.parametrize(
    "first, second, name", [(1e-3, 5e-3, "first"), (5e-3, 1e-3, "second"), (2e-3, 2e-3, "first")]
)
def test_another_way_replaces_the_first_where_it_is_faster(first, second, name):
    assert fastest("sleep", ways([], first, second)) == name


def test_what_was_measured_is_kept_for_the_machine():
    calls = []
    found = fastest("sleep", ways(calls, 2e-3, 1e-4))
    counted = len(calls)
    assert calls and fastest("sleep", ways(calls, 2e-3, 1e-4)) == found
    module._known.cache_clear()  # as another process begins
    assert fastest("sleep", ways(calls, 2e-3, 1e-4)) == found and len(calls) == counted


def test_another_number_of_threads_is_measured_apart(monkeypatch):
    calls = []
    fastest("sleep", ways(calls, 2e-3, 1e-4))
    counted = len(calls)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 77)
    fastest("sleep", ways(calls, 2e-3, 1e-4))
    assert len(calls) == 2 * counted


@pytest.mark.parametrize("content", ["{half a f", "[1, 2]"])
def test_a_file_that_is_broken_is_measured_anew(content):
    fastest("sleep", ways([], 2e-3, 1e-4))
    (path,) = cache_folder("fastest").iterdir()
    path.write_text(content)
    module._known.cache_clear()
    assert fastest("sleep", ways([], 2e-3, 1e-4)) == "second"


def test_measuring_within_a_trace_leaves_nothing_in_the_graph():
    def product(x):
        fastest("product", lambda: {"one": lambda: x.new_ones(3) * 2, "other": lambda: x + 1})
        return x * 3

    graph = make_fx(product)(torch.ones(2))
    assert len(graph.graph.find_nodes(op="call_function", target=torch.ops.aten.mul.Tensor)) == 1


@pytest.mark.parametrize("name, number", [("oneDNN", 1), ("MKL", 0)])
def test_a_product_goes_the_way_that_is_faster(name, number, monkeypatch):
    monkeypatch.setattr(products, "fastest", lambda product, ways: name)
    x, weight = torch.randn(160, 128), torch.randn(128, 64)
    graph = passes.prepare(make_fx(torch.mm)(x, weight))
    nodes = graph.graph.find_nodes(op="call_function", target=products._linear())
    assert len(nodes) == number and products.products_by(graph) == f"1 by {name}"
    torch.testing.assert_close(graph(x, weight), x @ weight, rtol=1e-4, atol=1e-4)


def test_both_ways_of_a_product_run_on_every_layout(monkeypatch):
    asked = {}
    monkeypatch.setattr(products, "fastest", lambda name, ways: asked.update({name: ways()}))
    for x in (torch.ones(128, 160).t(), torch.ones(160, 128)):
        for weight in (torch.ones(128, 64), torch.ones(64, 128).t()):
            products.is_faster_by_onednn(x, weight)
    assert len(asked) == 4
    for found in asked.values():
        for work in found.values():
            torch.testing.assert_close(work(), torch.ones(160, 64))


X, WEIGHT, BIAS = torch.randn(64, 200), torch.randn(100, 200), torch.randn(100)


@pytest.fixture
def choose(monkeypatch):
    def choose(name):
        monkeypatch.setattr(precision, "fastest", lambda layer, ways: name)
        monkeypatch.setattr(precision, "_said", [])

    return choose


def test_a_layer_that_is_slower_in_bfloat16_stays_in_float32_and_says_so_once(choose):
    choose("float32")
    with pytest.warns(UserWarning, match=r"slower .* linear\(\(64, 200\), \(100, 200\)") as said:
        with layers_in_bfloat16():
            found = [F.linear(X, WEIGHT, BIAS), F.linear(X, WEIGHT)]
    assert len(said) == 1
    assert torch.equal(found[0], F.linear(X, WEIGHT, BIAS))
    assert torch.equal(found[1], F.linear(X, WEIGHT))


def test_a_layer_that_is_faster_in_bfloat16_is_rounded_without_a_word(choose):
    choose("bfloat16")
    with warnings.catch_warnings(), layers_in_bfloat16():
        warnings.simplefilter("error")
        found = F.linear(X, WEIGHT, BIAS)
    assert not torch.equal(found, F.linear(X, WEIGHT, BIAS))


@pytest.mark.parametrize(
    "layer, shape",
    [
        (torch.nn.Linear(200, 100), (64, 200)),
        (torch.nn.Conv2d(3, 4, 3, 2, padding=1), (2, 3, 8, 8)),
    ],
)
def test_both_ways_of_a_layer_run_with_their_gradients_and_leave_its_own_alone(
    layer, shape, monkeypatch
):
    run = []

    def both(name, ways):
        run.append(name)
        for work in ways().values():
            work()
        return "bfloat16"

    monkeypatch.setattr(precision, "fastest", both)
    with layers_in_bfloat16():
        layer(torch.ones(shape))
    assert len(run) == 1 and all(p.grad is None for p in layer.parameters())


def test_the_choice_is_made_by_the_clock(monkeypatch):
    monkeypatch.setattr(precision, "fastest", fastest)
    monkeypatch.setattr(precision, "_said", ["said"])
    with layers_in_bfloat16():
        F.linear(X, WEIGHT, BIAS)
    (found,) = module._known().items()
    assert found[0].startswith("linear(") and found[1] in ("float32", "bfloat16")
