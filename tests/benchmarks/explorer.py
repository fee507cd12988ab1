"""How often a second the engine of the explorer decodes, in a headless Chromium.

python -m tests.benchmarks.explorer
"""

import json
from functools import partial

import pyro
import torch

from pyro_vae.app.explorer.functions import Example, decode, encode, log_joint
from pyro_vae.app.explorer.graph import Weights
from pyro_vae.app.explorer.sources import engine_source
from pyro_vae.likelihoods import Normal
from pyro_vae.models import VAE
from pyro_vae.networks import ConvDecoder, ConvEncoder, ResidualDecoder, ResidualEncoder
from tests.browser import browser_or_skip

__all__ = ["measured"]

SHAPE = (3, 64, 64)
PROGRAMS = {
    "MLP 2-500-784": lambda: VAE((1, 28, 28), 2, hidden=(500,)),
    "convolutions, 64x64x3": lambda: VAE(
        SHAPE, 20, encoder=ConvEncoder, decoder=ConvDecoder, likelihood=Normal(SHAPE)
    ),
    "convolutions of 64 to 512 channels": lambda: VAE(
        SHAPE,
        20,
        encoder=partial(ConvEncoder, channels=(64, 128, 256, 512)),
        decoder=partial(ConvDecoder, channels=(64, 128, 256, 512)),
        likelihood=Normal(SHAPE),
    ),
    "residual blocks, 64x64x3": lambda: VAE(
        SHAPE, 20, encoder=ResidualEncoder, decoder=ResidualDecoder, likelihood=Normal(SHAPE)
    ),
}
_SCRIPT = """async ([text, weights, given]) => {
  const f = Engine.load(JSON.parse(text), await Engine.unpack(weights));
  const run = () => f(given);
  for (const start = performance.now(); performance.now() - start < 500; ) run();
  const times = [];
  for (const start = performance.now(); performance.now() - start < 2000; ) {
    const before = performance.now();
    run();
    times.push(performance.now() - before);
  }
  return times.sort((a, b) => a - b)[Math.floor(times.length / 2)];
}"""


def measured(names=tuple(PROGRAMS)):
    """The median milliseconds of a call, by program and function."""
    found = {}
    with browser_or_skip() as browser:
        page = browser.new_page()
        page.set_content(f"<script>{engine_source()}</script>")
        for name in names:
            pyro.set_rng_seed(0)
            program = PROGRAMS[name]().eval()
            example = Example(torch.rand(1, *program.likelihood.x_shape))
            for make in (decode, encode, log_joint):
                function = make(program, example)
                weights = Weights()
                text = json.dumps(function.traced().description(weights))
                given = {n: t.flatten().tolist() for n, t in function.inputs.items()}
                time = page.evaluate(_SCRIPT, [text, weights.packed, given])
                found[name, make.__name__] = time
                print(f"{name:40} {make.__name__:10} {time:8.2f} ms {1000 / time:8.0f} a second")
    return found


if __name__ == "__main__":
    measured()
