"""The engine in a real browser gives what torch does."""

import json
from functools import partial

import pytest
import torch

from pyro_vae.app.explorer.functions import Example, decode, encode, log_joint
from pyro_vae.app.explorer.graph import Weights
from pyro_vae.app.explorer.sources import engine_source
from pyro_vae.models import VAE, ConditionalVAE, HierarchicalVAE
from pyro_vae.networks import ConvDecoder, ConvEncoder

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
    return Example(torch.rand(1, *x_shape).round(), y)


def other(function):
    """Other inputs of a function, drawn at random."""
    found = {}
    for name, example in function.inputs.items():
        if name == "y":
            found[name] = torch.randint(10, (1,)).float()
        elif name == "x" or name.startswith("temperature"):
            found[name] = torch.rand_like(example)
        elif name.startswith("keep"):
            found[name] = torch.rand_like(example).round()
        else:
            found[name] = torch.randn_like(example)
    return found


@pytest.mark.parametrize("which", FUNCTIONS)
@pytest.mark.parametrize("name", PROGRAMS)
def test_javascript_gives_what_torch_does(name, which, run_in_browser):
    program = trained(PROGRAMS[name]())
    function = FUNCTIONS[which](program, example_of(program))
    many = [other(function) for _ in range(100)]
    found = run_in_browser(function.traced(), many)
    for inputs, outputs in zip(many, found, strict=True):
        for output, value in function(**inputs).items():
            # log densities of 784 pixels are sums near 1000 in float32
            off = (outputs[output] - value.flatten()).abs() / value.flatten().abs().clamp(min=1)
            assert off.amax() <= 1e-4, output
