"""A program and its copy, trained by eager steps and by captured ones: the same numbers."""

import copy

import pyro
import torch

from pyro_vae.inference import SVI, Compile

CAPTURE = Compile(mode="captured")
# Four batches of 16 pictures in black and white.
BATCHES = (torch.rand(4, 16, 1, 4, 4, generator=torch.Generator().manual_seed(0)) < 0.3).float()


def train(program, loss, compile, steps=12, batches=BATCHES):
    """The SVI and its losses, from one seed; a batch of several arguments is a tuple."""
    svi = SVI(program.model, program.guide, pyro.optim.Adam({"lr": 1e-3}), loss, compile=compile)
    pyro.set_rng_seed(1)
    losses = []
    for step in range(steps):
        batch = batches[step % len(batches)]
        losses.append(svi.step(*(batch if isinstance(batch, tuple) else (batch,))).item())
    return svi, losses


def captured_like_eager(program, loss, steps=12, batches=BATCHES):
    """Asserts that losses, parameters and buffers are equal bit for bit, and returns the losses."""
    twin = copy.deepcopy(program)
    _, eager = train(program, loss, False, steps, batches)
    svi, captured = train(twin, loss, CAPTURE, steps, batches)
    assert [kind.mode for kind in svi.graphs.kinds] == ["captured"]
    assert captured == eager
    other = twin.state_dict()
    for name, value in program.state_dict().items():
        assert torch.equal(value, other[name]), name
    return eager
