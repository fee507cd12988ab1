"""The engine in a real browser gives what torch does."""

import json
from functools import partial

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from pyro_vae.app.explorer.export import export_js
from pyro_vae.app.explorer.functions import Example, decode, encode, log_joint
from pyro_vae.app.explorer.graph import Weights, off, traced
from pyro_vae.app.explorer.sources import engine_source
from pyro_vae.likelihoods import RecurrentTokens
from pyro_vae.models import VAE, ConditionalVAE, HierarchicalVAE, LadderVAE
from pyro_vae.networks import (
    ConvDecoder,
    ConvEncoder,
    GatedMLP,
    RecurrentEncoder,
    ResidualDecoder,
    ResidualEncoder,
)
from pyro_vae.posteriors import InverseAutoregressiveFlow
from pyro_vae.priors import FlowPrior, GaussianMixture, VampPrior

from .browser import browser_or_skip, page_of

FUNCTIONS = {"decode": decode, "encode": encode, "log_joint": log_joint}
CONVOLUTIONS = {
    "encoder": partial(ConvEncoder, channels=(4, 6)),
    "decoder": partial(ConvDecoder, channels=(4, 6)),
}
PROGRAMS = {
    "an MLP": lambda: VAE((1, 28, 28), 2, hidden=(50,)),
    "convolutions": lambda: VAE((1, 28, 28), 3, **CONVOLUTIONS),
    "labels": lambda: ConditionalVAE((1, 8, 8), 2, hidden=(20,)),
    "a hierarchy": lambda: HierarchicalVAE((1, 8, 8), (4, 2), hidden=(20,)),
}
# Fewer draws of these, for time alone.
OTHERS = {
    "a ladder": lambda: LadderVAE((1, 8, 8), (4, 2), hidden=(20,)),
    "residual blocks": lambda: VAE(
        (1, 8, 8),
        2,
        encoder=partial(ResidualEncoder, channels=(8,)),
        decoder=partial(ResidualDecoder, channels=(8,)),
    ),
    "gates": lambda: VAE((1, 8, 8), 2, encoder=GatedMLP, decoder=GatedMLP),
    "a mixture": lambda: VAE((1, 8, 8), 2, prior=GaussianMixture(2, components=5)),
    "a VampPrior": lambda: VAE((1, 8, 8), 2, prior=VampPrior(2, components=5, x_shape=(1, 8, 8))),
    "a flow": lambda: VAE((1, 8, 8), 3, prior=FlowPrior(3), posterior=InverseAutoregressiveFlow(3)),
    "texts": lambda: VAE(
        (4,),
        3,
        encoder=partial(RecurrentEncoder, num_tokens=5),
        likelihood=RecurrentTokens((4,), num_tokens=5),
    ),
}


@pytest.fixture(scope="module")
def browser():
    with browser_or_skip() as browser:
        yield browser


@pytest.fixture(scope="module")
def run_in_browser(browser, tmp_path_factory):
    """Runs a graph in the browser on many inputs; returns its outputs by name."""
    folder = tmp_path_factory.mktemp("engine")
    html = f"<!doctype html><meta charset=utf-8><script>{engine_source()}</script>"
    with page_of(browser, html, folder) as page:

        def run(graph, many, bits=32):
            weights = Weights(bits=bits)
            text = json.dumps(graph.description(weights))
            given = [{n: t.flatten().tolist() for n, t in each.items()} for each in many]
            found = page.evaluate(
                """async ([text, weights, given]) => {
                  const f = Engine.load(JSON.parse(text), await Engine.unpack(weights));
                  return given.map((each) => Object.fromEntries(
                    Object.entries(f(each)).map(([name, data]) => [name, Array.from(data)])));
                }""",
                [text, weights.packed, given],
            )
            return [{n: torch.tensor(v) for n, v in each.items()} for each in found]

        yield run


def put(x):
    out = torch.zeros(2, 9)
    out[:, 1:6] = x
    out[:, 7] = x.sum(-1)
    return out


def first(module, times=1):
    return lambda x: module(*times * (x,))[0]


def looked_up(embedding):
    return lambda x: embedding((2 * x.abs()).long().clamp(max=4))


# Operations by name: a function of one tensor, and the shape of that.
OPERATIONS = {
    "convolution": (nn.Conv2d(3, 5, 3, padding=1), (2, 3, 7, 6)),
    "of stride 2": (nn.Conv2d(3, 4, 4, stride=2, padding=1), (1, 3, 9, 8)),
    "of stride 3 and 2": (nn.Conv2d(3, 3, (2, 5), stride=(3, 2)), (1, 3, 9, 8)),
    "dilated": (nn.Conv2d(2, 3, 3, padding=2, dilation=2), (1, 2, 8, 7)),
    "dilated of stride 2": (nn.Conv2d(2, 3, 3, 2, 3, dilation=3), (1, 2, 8, 9)),
    "grouped": (nn.Conv2d(6, 9, 3, padding=1, groups=3), (1, 6, 5, 5)),
    "depthwise": (nn.Conv2d(4, 4, 5, padding=2, groups=4), (1, 4, 6, 5)),
    "of one pixel": (nn.Conv2d(7, 3, 1, bias=False), (1, 7, 4, 4)),
    "transposed": (nn.ConvTranspose2d(3, 5, 3), (2, 3, 4, 5)),
    "transposed of stride 2": (
        nn.ConvTranspose2d(3, 4, 3, 2, 1, output_padding=1),
        (1, 3, 4, 5),
    ),
    "transposed of stride 3": (nn.ConvTranspose2d(4, 2, 2, 3), (1, 4, 3, 3)),
    "transposed, grouped and dilated": (
        nn.ConvTranspose2d(4, 6, 3, 2, 2, groups=2, dilation=2),
        (1, 4, 4, 5),
    ),
    "convolution of a sequence": (nn.Conv1d(3, 4, 3, 2, 1), (1, 3, 9)),
    "transposed of a sequence": (nn.ConvTranspose1d(3, 4, 4, 2, 1), (1, 3, 6)),
    "recurrent": (first(nn.GRU(3, 5, batch_first=True)), (1, 4, 3)),
    "long memory": (first(nn.LSTM(3, 5, batch_first=True)), (1, 4, 3)),
    "attention": (
        first(nn.MultiheadAttention(8, 2, batch_first=True), 3),
        (1, 5, 8),
    ),
    "softmax behind a mask": (
        lambda x: (x + torch.full((4, 4), -torch.inf).triu(1)).softmax(-1),
        (4, 4),
    ),
    "layer norm": (nn.LayerNorm(6), (2, 6)),
    "group norm": (nn.GroupNorm(2, 4), (1, 4, 3, 3)),
    "softmax": (lambda x: x.softmax(1), (2, 5, 3)),
    "log softmax": (lambda x: x.log_softmax(-1), (2, 5)),
    "logsumexp": (lambda x: x.logsumexp(-1), (2, 5)),
    "mean and variance": (lambda x: torch.cat([x.mean(1), x.var(1), x.std(1)]), (3, 5, 2)),
    "extremes": (lambda x: torch.cat([x.amax(0), x.amin(0), x.max(0)[0], x.min(0)[0]]), (3, 5)),
    "their places": (lambda x: torch.stack([x.argmax(1), x.argmin(1)]), (3, 5)),
    "product": (lambda x: x.prod(-1), (3, 5)),
    "any and all": (lambda x: torch.cat([(x > 1).any(1), (x > -1).all(1)]), (3, 5)),
    "cumulated": (lambda x: torch.cat([x.cumsum(0), x.cumsum(1), x.cumprod(1)]), (3, 5)),
    "mean pooling": (lambda x: F.avg_pool2d(x, 2), (1, 2, 6, 4)),
    "maximum pooling": (lambda x: F.max_pool2d(x, 3, 2, 1), (1, 2, 7, 5)),
    "pixels doubled": (lambda x: F.interpolate(x, scale_factor=2), (1, 2, 3, 4)),
    "pixels stretched": (lambda x: F.interpolate(x, size=(5, 7)), (1, 2, 3, 4)),
    "pixels interpolated": (lambda x: F.interpolate(x, size=(5, 7), mode="bilinear"), (1, 2, 3, 4)),
    "pixels shuffled": (lambda x: F.pixel_shuffle(x, 2), (1, 8, 3, 2)),
    "padded and cut": (lambda x: F.pad(x, (2, -1, -1, 3), value=0.5), (2, 4, 5)),
    "turned": (lambda x: x.transpose(0, 2).flip(1).roll(1, 0), (2, 3, 4)),
    "sliced": (lambda x: x[:, 1::2, -3:], (2, 5, 4)),
    "put into zeros": (put, (2, 5)),
    "taken": (lambda x: x[:, [2, 0, -1]], (2, 4, 3)),
    "taken by pairs": (lambda x: x[[1, 0], [2, 3]], (2, 4, 3)),
    "gathered": (lambda x: x.gather(1, x.argmax(1, True)), (3, 4)),
    "looked up": (looked_up(nn.Embedding(5, 3)), (2, 4)),
    "one of many": (lambda x: (x.argmax(-1, True) == torch.arange(4)).float(), (3, 4)),
    "diagonal": (lambda x: x.diagonal(1, 0, 1), (4, 4, 2)),
    "products of matrices": (lambda x: x @ x.mT, (3, 4, 5)),
    "broadcast": (lambda x: x[:, None] * x[None] - x.sum(0), (3, 4)),
    "functions": (
        lambda x: torch.stack(
            [x.exp(), x.expm1(), x.tanh(), x.sin(), x.cos(), x.atan(), x.sinh(), x.abs().sqrt()]
        ),
        (3, 5),
    ),
    "special functions": (
        lambda x: torch.stack([x.erf(), x.erfc(), x.lgamma(), (9 * x).exp().lgamma()]),
        (3, 50),
    ),
    "roundings": (lambda x: torch.stack([x.floor(), x.ceil(), x.round(), x.trunc()]), (3, 5)),
    "ratios": (lambda x: torch.stack([x / (x**2 + 1), x % 0.7, x.fmod(0.7), x // 0.7]), (3, 5)),
    "whole ratios": (lambda x: ((9 * x).long() // 4) + (9 * x).long() % 4, (3, 5)),
    "infinite padding": (lambda x: F.pad(x, (1, 1), value=-torch.inf).amax(0), (3, 5)),
    "powers": (lambda x: torch.stack([x**2, x**3, x.abs() ** 0.3, 2**x]), (3, 5)),
    "choices": (lambda x: torch.where(x > 0, x.log1p(), x.clamp(-0.5, 0)), (3, 5)),
    "nonlinearities": (
        lambda x: torch.stack(
            [
                *(F.relu(x), F.elu(x), F.selu(x), F.gelu(x), F.gelu(x, approximate="tanh")),
                *(F.silu(x), F.softplus(30 * x), F.leaky_relu(x, 0.2), F.mish(x), F.logsigmoid(x)),
                *(F.hardtanh(x), F.softsign(x), x.sigmoid()),
            ]
        ),
        (3, 5),
    ),
    "gates": (lambda x: F.glu(x, 1), (2, 6, 3)),
}


@pytest.mark.parametrize("name", OPERATIONS)
def test_an_operation_is_what_it_is_in_torch(name, run_in_browser):
    function, shape = OPERATIONS[name]
    many = [{"x": torch.randn(shape)} for _ in range(3)]
    graph = traced(lambda x: (function(x),), many[0], ("out",))
    for inputs, outputs in zip(many, run_in_browser(graph, many), strict=True):
        with torch.no_grad():
            expected = function(inputs["x"]).float().flatten()
        assert off(outputs["out"], expected) <= 1e-5


def test_an_input_of_another_size_is_refused(browser, tmp_path):
    graph = traced(lambda x: (2 * x,), {"x": torch.rand(1, 3)}, ("out",))
    html = f"<!doctype html><script>{engine_source()}</script>"
    with page_of(browser, html, tmp_path) as page:
        said = page.evaluate(
            """(text) => {
              const f = Engine.load(JSON.parse(text), new ArrayBuffer(0));
              try { f({ x: [1, 2] }); } catch (error) { return error.message; }
            }""",
            json.dumps(graph.description(Weights())),
        )
    assert said == "the input x has 2 numbers, but must have 3"


def test_weights_of_three_bytes_give_the_same_to_1e_4(run_in_browser):
    program = trained(VAE((1, 28, 28), 2, hidden=(50,)))
    function = decode(program, example_of(program))
    many = [other(function) for _ in range(20)]
    for inputs, outputs in zip(many, run_in_browser(function.traced(), many, 24), strict=True):
        assert off(outputs["picture"], function(**inputs)["picture"].flatten()) <= 1e-4


def trained(program):
    """With weights, and statistics of batches, that are not those of the start."""
    for p in program.parameters():
        p.data += 0.1 * torch.randn_like(p)
    for name, b in program.named_buffers():
        if "running" in name:
            b.data = 0.5 + torch.rand_like(b)
    return program.eval()


def example_of(program):
    x_shape = program.likelihood.x_shape
    y = torch.tensor([3]) if isinstance(program, ConditionalVAE) else None
    if len(x_shape) == 1:
        return Example(torch.randint(5, (1, *x_shape)))
    return Example(torch.rand(1, *x_shape).round(), y)


def other(function):
    """Other inputs of a function, drawn at random."""
    found = {}
    for name, example in function.inputs.items():
        if name == "y":
            found[name] = torch.randint(10, (1,)).float()
        elif name == "x" and example.dim() == 2:  # tokens
            found[name] = torch.randint(5, example.shape).float()
        elif name == "x" or name.startswith("temperature"):
            found[name] = torch.rand_like(example)
        elif name.startswith("keep"):
            found[name] = torch.rand_like(example).round()
        else:
            found[name] = torch.randn_like(example)
    return found


def assert_same(program, which, times, run_in_browser):
    """JavaScript's outputs are torch's to 1e-4, of log densities relative to their size."""
    function = FUNCTIONS[which](program, example_of(program))
    many = [other(function) for _ in range(times)]
    found = run_in_browser(function.traced(), many)
    for inputs, outputs in zip(many, found, strict=True):
        for output, value in function(**inputs).items():
            assert off(outputs[output], value.flatten()) <= 1e-4, output


@pytest.mark.parametrize("which", FUNCTIONS)
@pytest.mark.parametrize("name", PROGRAMS)
def test_javascript_gives_what_torch_does(name, which, run_in_browser):
    times = 10 if which == "log_joint" else 100
    assert_same(trained(PROGRAMS[name]()), which, times, run_in_browser)


@pytest.mark.parametrize("which", FUNCTIONS)
@pytest.mark.parametrize("name", OTHERS)
def test_other_programs_run_in_javascript_too(name, which, run_in_browser):
    assert_same(trained(OTHERS[name]()), which, 3, run_in_browser)


def test_an_engine_runs_in_a_worker(browser, tmp_path):
    graph = traced(lambda x: (2 * x,), {"x": torch.rand(1, 3)}, ("out",))
    html = f"<!doctype html><script id=engine type=text/plain>{engine_source()}</script>"
    with page_of(browser, html, tmp_path) as page:
        found = page.evaluate(
            """(text) => {
              const source = document.getElementById("engine").textContent + `
                const f = Engine.load(${text}, new ArrayBuffer(0));
                onmessage = ({ data }) => postMessage(f(data));`;
              const worker = new Worker(URL.createObjectURL(new Blob([source])));
              worker.postMessage({ x: [1, 2, 3] });
              return new Promise((done) => {
                worker.onmessage = ({ data }) => done(Array.from(data.out));
              });
            }""",
            json.dumps(graph.description(Weights())),
        )
    assert found == [2, 4, 6]


def test_the_page_of_an_export_shows_what_zeros_decode_to(browser, tmp_path):
    program = trained(VAE((1, 4, 4), 2, hidden=(5,)))
    export_js(program, Example(torch.rand(1, 1, 4, 4)), tmp_path)
    page = browser.new_page()
    files = "http://export.test/"
    page.route(
        f"{files}**", lambda route: route.fulfill(path=tmp_path / route.request.url[len(files) :])
    )
    page.goto(f"{files}index.html")
    page.wait_for_function("document.getElementById('shown').textContent !== ''")
    found = torch.tensor([float(n) for n in page.text_content("#shown").split()])
    page.close()
    expected = program.decoder(torch.zeros(1, 2)).sigmoid().flatten()
    assert torch.allclose(found, expected, atol=1e-5)
