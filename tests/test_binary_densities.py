"""Log densities of binary data, with the layers before them, by C++ of our own in a graph."""

import math

import pytest
import torch
import torch.nn.functional as F

from pyro_vae.inference.graphs import binary, compiler, passes, products

from .compiled_code import compiled, prepared, written_code

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of torch's compiler
ENTROPY = torch.ops.aten.binary_cross_entropy_with_logits.default


def log_px(logits, x):
    entropy = F.binary_cross_entropy_with_logits(logits, x.expand_as(logits), reduction="none")
    return (-entropy).reshape(*logits.shape[:2], -1).sum(-1)


def entropies(graph):
    return graph.graph.find_nodes(op="call_function", target=ENTROPY)


def density_in(graph):
    """The node of our own sum, of which there is one."""
    (node,) = (n for n in graph.graph.nodes if "binary_log_density" in str(n.target))
    return node


@pytest.mark.parametrize("shape", [(1, 28, 28), (5,), (3, 7)])
@pytest.mark.parametrize("batch", [(3,), (1,), ()])
def test_sums_over_a_datum_read_data_of_all_particles_once(shape, batch):
    logits, x = torch.randn(7, 3, *shape), torch.rand(*batch, *shape)
    graph = prepared(log_px, logits, x)
    assert not entropies(graph)
    given, data, layers, _ = density_in(graph).args
    size = torch.Size(shape).numel()
    assert not layers and given.meta["val"].shape == (21, size)
    assert data.meta["val"].shape == (*(batch or (1,)), size)
    torch.testing.assert_close(graph(logits, x), log_px(logits, x))


def test_data_that_differ_between_particles_are_read_for_each():
    logits, x = torch.randn(7, 3, 5), torch.rand(7, 1, 5)
    graph = prepared(log_px, logits, x)
    assert density_in(graph).args[1].meta["val"].shape == (21, 5)
    torch.testing.assert_close(graph(logits, x), log_px(logits, x))


@pytest.mark.parametrize(
    "function",
    [
        lambda logits, x: log_px(logits.double(), x.double()),
        lambda logits, x: F.binary_cross_entropy_with_logits(logits, x.expand_as(logits)),
        lambda logits, x: (  # a mean, which looks like a sum over a datum
            (-F.binary_cross_entropy_with_logits(logits, x.expand_as(logits))).view(1).sum(-1)
        ),
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
    assert len(entropies(graph)) == 1
    torch.testing.assert_close(graph(logits, x), function(logits, x))


LAYERS = [torch.randn(*size) / 8 for size in ((90, 70), (90,), (60, 90), (60,), (50, 60), (50,))]
Z, X = torch.randn(9, 30, 70), (torch.rand(30, 50) < 0.3).float()


@pytest.mark.parametrize(
    ("change", "early", "sums", "taken"),
    [
        (lambda z, h, entropy: entropy.mul_(2.0), False, 0, 0),
        (lambda z, h, entropy: h.relu_(), False, 0, 0),
        (lambda z, h, entropy: h.relu_(), True, 1, 0),
        (lambda z, h, entropy: z.mul_(2.0), True, 1, 0),
        (lambda z, h, entropy: None, True, 1, 2),
    ],
)
def test_what_is_changed_in_place_before_a_sum_is_read_before(
    change, early, sums, taken, monkeypatch
):
    """Between logits and entropy, or between that and its sum."""
    monkeypatch.setattr(products, "fastest", lambda product, ways: "MKL")

    def function(x, z, weight, bias, next_weight, next_bias):
        z = z + 0.0  # its own
        hidden = F.linear(z, weight, bias)
        h = hidden.tanh()
        logits = F.linear(h, next_weight, next_bias)
        if early:
            change(z, h, None)
        entropy = F.binary_cross_entropy_with_logits(logits, x.expand_as(logits), reduction="none")
        if not early:
            change(z, h, entropy)
        return (-entropy).reshape(*logits.shape[:2], -1).sum(-1)

    args = torch.rand(30, 60), Z, *LAYERS[:4]
    graph = prepared(function, *args)
    found = [n for n in graph.graph.nodes if "binary_log_density" in str(n.target)]
    assert len(found) == sums and all(len(n.args[2]) // 2 == taken for n in found)
    torch.testing.assert_close(graph(*args), function(*args), rtol=1e-5, atol=1e-4)


def test_logits_that_a_gradient_reads_stay():
    logits, x = torch.randn(2, 3, 784, requires_grad=True), torch.rand(3, 784)

    def value_and_gradient(logits, x):
        value = log_px(logits, x)
        return value, torch.autograd.grad(value.sum(), logits)[0]

    graph = prepared(value_and_gradient, logits, x)
    assert len(entropies(graph)) == 1


def decoded(x, z, weights, between):
    """The log density of data by the logits of three layers, each of which is a large one."""
    for i in range(0, 6, 2):
        z = F.linear(between(z) if i else z, weights[i], weights[i + 1])
    return log_px(z, x)


def of_layers(between, monkeypatch, by="MKL"):
    """How many layers the sum takes on; the graph's value is that of torch."""
    monkeypatch.setattr(products, "fastest", lambda product, ways: by)

    def function(x, z, *weights):
        return decoded(x, z, weights, between)

    args = X, Z, *LAYERS
    graph = prepared(function, *args)
    torch.testing.assert_close(graph(*args), function(*args), rtol=1e-5, atol=1e-4)
    if by == "MKL":
        assert passes.kernels_in(graph) == "products 3 by MKL"
    taken = len(density_in(graph).args[2]) // 2
    return taken


@pytest.mark.parametrize("between", [torch.tanh, torch.relu, F.softplus])
def test_layers_before_a_sum_are_computed_with_it(between, monkeypatch):
    assert of_layers(between, monkeypatch) == 3


def test_layers_that_a_sum_takes_on_are_timed_in_parts_alone(monkeypatch):
    timed = []
    monkeypatch.setattr(products, "fastest", lambda name, ways: timed.append(name) or "MKL")
    monkeypatch.setattr(binary, "IN_CACHE", 5_000)
    prepared(lambda x, z, *w: decoded(x, z, w, torch.tanh), X, Z, *LAYERS)
    assert len(timed) == 3 and not any("270x" in name for name in timed)


@pytest.mark.parametrize(
    ("between", "taken"),
    [
        (torch.sigmoid, 1),
        (lambda h: F.softplus(h, beta=2), 1),
        (lambda h: torch.tanh(h) + h, 1),  # read twice
        (lambda h: torch.tanh(h) if h.shape[-1] == 60 else torch.relu(h), 2),
        (lambda h: torch.tanh(h.flip(-1)), 1),
    ],
)
def test_layers_that_something_else_lies_between_stay(between, taken, monkeypatch):
    assert of_layers(between, monkeypatch) == taken


def test_layers_whose_rows_are_not_data_stay(monkeypatch):
    """Logits of two data in a row; and rows that are cut in two before the next layer."""
    monkeypatch.setattr(products, "fastest", lambda product, ways: "MKL")
    (weight, bias), h = LAYERS[:2], torch.randn(135, 70)

    def two(x, h, weight, bias):
        return log_px(F.linear(h, weight, bias).reshape(9, 30, 45), x)

    def cut(x, h, weight, bias):
        first = F.linear(h, weight, bias).tanh().reshape(270, 45)
        return log_px(F.linear(first, weight[:45, :45], bias[:45]).reshape(9, 30, 45), x)

    for function, taken in ((two, 0), (cut, 1)):
        args = X[:, :45].contiguous(), h, weight, bias
        graph = prepared(function, *args)
        torch.testing.assert_close(graph(*args), function(*args), rtol=1e-5, atol=1e-4)
        assert len(density_in(graph).args[2]) // 2 == taken


@pytest.mark.skipif(not torch.backends.mkldnn.is_available(), reason="torch has no oneDNN")
def test_layers_that_onednn_multiplies_faster_stay(monkeypatch):
    assert of_layers(torch.tanh, monkeypatch, by="oneDNN") == 0


def summed(function, args):
    """What a function gives after `prepare`, compiled; it has a sum by `binary.cpp`."""
    with written_code() as written:
        (found,) = compiled(lambda *inputs: [function(*inputs)], args, prepares=True)(*args)
    assert "(pyro_vae::binary_log_density(" in written[0]
    return found


WIDTHS = [1, 15, 16, 17, 783, 784, 3 * 32 * 32, 16 * 960 + 3]
SCALES = [0.0, 0.01, 3.0, 200.0]  # at 0 each factor of the product is 2, its largest


@pytest.fixture(scope="module")
def densities():
    """Sums by `binary.cpp` with the logits and data that they are of, for each width."""
    torch.manual_seed(0)
    cases = []
    for width in WIDTHS:
        logits = torch.cat([scale * torch.randn(2, 3, width) for scale in SCALES])
        cases += [logits, torch.rand(3, width).where(torch.rand(3, 1) < 0.5, torch.ones(()))]

    def every(*tensors):
        return torch.stack([log_px(*pair) for pair in zip(*[iter(tensors)] * 2, strict=True)])

    return summed(every, cases), cases


@pytest.mark.parametrize("number", range(len(WIDTHS)))
def test_log_densities_of_binary_data_are_those_of_float64(densities, number):
    """As near as torch's own, but for a unit in the last place of the sum, or of a factor."""
    found, cases = densities
    logits, x = cases[2 * number : 2 * number + 2]
    exact = log_px(logits.double(), x.double())
    error, own = ((f - exact).abs() for f in (found[number], log_px(logits, x)))
    assert (error < 2 * own.amax(-1, keepdim=True) + 2e-7 * exact.abs().clamp(min=0.5)).all()


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("between", [torch.tanh, torch.relu, F.softplus])
def test_log_densities_by_layers_are_those_of_float64(between, threads, monkeypatch):
    """In parts of 7 rows, of which the last is smaller, and others have none."""
    monkeypatch.setattr(products, "fastest", lambda product, ways: "MKL")
    monkeypatch.setattr(compiler, "IN_CACHE", 1_000)
    torch.manual_seed(0)
    sizes = [(150, 70), (150,), (61, 150), (61,), (33, 61), (33,)]
    layers = [(torch.randn(*size) / 8).requires_grad_() for size in sizes]
    layers[2] = torch.randn(61, 300)[:, ::2] / 8  # whose numbers lie apart
    z, x = torch.randn(31, 13, 70), (torch.rand(13, 33) < 0.3).float()

    def function(x, z, *layers):
        return decoded(x, z, layers, between)

    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        found = summed(function, (x, z, *layers))
    finally:
        torch.set_num_threads(before)
    exact = function(*(tensor.detach().double() for tensor in (x, z, *layers)))
    torch.testing.assert_close(found.double(), exact, rtol=2e-6, atol=1e-5)


def test_a_density_near_zero_of_large_terms_loses_nothing():
    """Data that the logits fit but for a few, where x l and softplus(l) are large and one less the
    other is not."""
    torch.manual_seed(0)
    logits, x = 20 * torch.rand(2, 3, 12_288), torch.ones(3, 12_288)
    logits[..., :16], x[..., :16] = 0.6, 0.5
    exact = log_px(logits.double(), x.double())
    torch.testing.assert_close(summed(log_px, (logits, x)).double(), exact, rtol=2e-6, atol=0)


def test_logits_that_are_no_numbers_give_none():
    logits, x = torch.zeros(2, 4, 40), torch.ones(4, 40)
    logits[0, 1, 17] = math.nan
    logits[1, 2, 39] = -math.inf
    found, expected = summed(log_px, (logits, x)), log_px(logits, x)
    assert found[0, 1].isnan() and found[1, 2] == -math.inf
    assert torch.equal(found.isfinite(), expected.isfinite())
