"""On programs made from a seed our ELBOs are Pyro's: the loss and every gradient."""

import pyro
import pyro.infer
import pytest
import torch

import pyro_vae.inference
from pyro_vae.inference import SVI, Compile

from .random_programs import RandomProgram, loss_and_gradients

ALL, FEW = 500, 100
BLOCK = 10
CAPTURED = 5  # as tracing takes a second each
slow = pytest.mark.slow


def blocks(quick, size=BLOCK):
    """Where ranges of seeds start, of which those after `quick` run with the slow tests."""
    starts = range(0, ALL, size)
    return [pytest.param(s, marks=() if s < quick else slow, id=f"{s} on") for s in starts]


@pytest.fixture(autouse=True)
def _double():
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def made(seed):
    pyro.clear_param_store()
    pyro.set_rng_seed(seed)
    program = RandomProgram(seed)
    program.guide()  # automatic guides make their parameters
    return program


def options(program):
    """With the nesting given, as Pyro draws random numbers to find it."""
    return {
        "num_particles": program.num_particles,
        "vectorize_particles": program.vectorized,
        "max_plate_nesting": 2,
    }


def assert_same(seed, ours, theirs):
    assert ours[0] == pytest.approx(theirs[0], rel=1e-6, abs=1e-6), seed
    for name in ours[1].keys() | theirs[1].keys():  # a gradient of zero may be none
        pair = [gradients.get(name, torch.zeros(())) for gradients in (ours[1], theirs[1])]
        torch.testing.assert_close(*torch.broadcast_tensors(*pair), rtol=1e-6, atol=1e-6)


@pytest.mark.filterwarnings("ignore:.*:UserWarning")  # Pyro's, of what it takes for mistakes
@pytest.mark.parametrize("start", blocks(FEW))
def test_trace_elbo_is_pyros(start):
    for seed in range(start, start + BLOCK):
        program = made(seed)
        theirs = loss_and_gradients(pyro.infer.Trace_ELBO(**options(program)), program)
        ours = loss_and_gradients(pyro_vae.inference.Trace_ELBO(**options(program)), program)
        assert_same(seed, ours, theirs)


@pytest.mark.filterwarnings("ignore:.*:UserWarning")
@pytest.mark.parametrize("start", blocks(FEW))
def test_trace_mean_field_elbo_is_pyros(start):
    """But for automatic guides: Pyro leaves out the Jacobians of theirs, which have no KL."""
    for seed in range(start, start + BLOCK):
        program = made(seed)
        is_auto = program.kind == "auto"
        if not program.is_real or (is_auto and program.has_handlers):
            continue
        reference = pyro.infer.Trace_ELBO if is_auto else pyro.infer.TraceMeanField_ELBO
        theirs = loss_and_gradients(reference(**options(program)), program)
        elbo = pyro_vae.inference.TraceMeanField_ELBO(**options(program))
        assert_same(seed, loss_and_gradients(elbo, program), theirs)


@pytest.mark.filterwarnings("ignore:.*:UserWarning")
@pytest.mark.parametrize("start", blocks(CAPTURED, CAPTURED))
def test_captured_steps_are_pyros_too(start):
    for seed in range(start, start + CAPTURED):
        program = made(seed)
        theirs = loss_and_gradients(pyro.infer.Trace_ELBO(**options(program)), program)
        elbo = pyro_vae.inference.Trace_ELBO(**options(program))
        optim = pyro.optim.SGD({"lr": 0.0})
        svi = SVI(program.model, program.guide, optim, elbo, compile=Compile(mode="captured"))
        svi.keeps_gradients = True
        for _ in range(3):
            pyro.set_rng_seed(0)
            loss = svi.step()
        params = pyro.get_param_store().named_parameters()
        gradients = {name: p.grad.clone() for name, p in params if p.grad is not None}
        assert_same(seed, (float(loss), gradients), theirs)
        assert svi.mode == "captured"
