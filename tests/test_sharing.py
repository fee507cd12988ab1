"""What a guide and its model both compute from the same draws, computed once."""

from functools import partial

import pyro
import pytest
import torch
from torch import nn

from pyro_vae.inference import (
    CIWAE,
    IWAE,
    MIWAE,
    STL,
    SVI,
    DReG,
    Renyi,
    Trace_ELBO,
    TraceMeanField_ELBO,
    evaluate,
)
from pyro_vae.inference.terms import collect
from pyro_vae.models import NVAE, LadderVAE
from pyro_vae.networks import MLP
from pyro_vae.sharing import once, sharing

X = (torch.rand(6, 1, 4, 4, generator=torch.Generator().manual_seed(0)) < 0.5).double()


@pytest.fixture(autouse=True)
def float64():
    torch.manual_seed(0)
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def ladder(**options):
    return LadderVAE((1, 4, 4), (4, 3, 2), hidden=(5,), **options)


def nvae():
    return NVAE((1, 4, 4), channels=4, groups=(1, 2), latent_channels=2)


class Calls:
    """Counts the calls of networks."""

    def __init__(self, *networks):
        self.number = 0
        for network in networks:
            network.register_forward_pre_hook(self)

    def __call__(self, *_):
        self.number += 1


def test_the_same_tensors_have_the_same_output_within_alone():
    network, x = nn.Dropout(0.5), torch.ones(100)
    with sharing():
        first = once(network, x)
        assert once(network, x) is first and once(network, x.clone()) is not first
        with torch.no_grad():
            assert once(network, x) is not first
    assert once(network, x) is not first
    with sharing(), sharing(False):
        assert once(network, x) is not once(network, x)


LOSSES = [
    Trace_ELBO(),
    Trace_ELBO(2, beta={"z_2": 0.5}, free_bits={"z_3": 0.3}),
    TraceMeanField_ELBO(),
    IWAE(3),
    MIWAE(4, 2),
    CIWAE(3),
    Renyi(alpha=0.5),
    DReG(3),
    STL(),
]


@pytest.mark.parametrize("loss", LOSSES, ids=lambda loss: type(loss).__name__)
@pytest.mark.parametrize("build", [ladder, partial(ladder, skips=True), nvae])
def test_the_gradient_is_that_of_a_path_that_is_computed_twice(build, loss, monkeypatch):
    program, gradients = build(), []
    for shares in (type(loss).shares_path, False):
        monkeypatch.setattr(type(loss), "shares_path", shares)
        program.zero_grad()
        torch.manual_seed(1)
        loss.differentiable_loss(program.model, program.guide, X).backward()
        gradients.append([p.grad.clone() for p in program.parameters() if p.grad is not None])
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("loss, times", [(Trace_ELBO(), 1), (IWAE(3), 1), (STL(), 2), (DReG(3), 2)])
def test_the_path_is_computed_once_where_the_gradient_allows_it(loss, times):
    program = ladder(batch_norm=False)
    svi = SVI(program.model, program.guide, pyro.optim.Adam({"lr": 1e-3}), loss, compile=False)
    svi.step(X)  # which finds out how the particles run
    calls = Calls(program.decoders[2])
    svi.step(X)
    assert calls.number >= times if times > 1 else calls.number == 1


def test_an_evaluation_computes_the_path_once():
    program = nvae().eval()
    calls = Calls(program.groups[1].path)
    with torch.no_grad():
        collect(program.model, program.guide, (X,), {})
    assert calls.number == 1


def test_a_guide_with_a_path_of_its_own_shares_nothing():
    program = ladder(shared=False, batch_norm=False)
    calls = Calls(program.decoders[2], program.guide_decoders[1])
    Trace_ELBO().differentiable_loss(program.model, program.guide, X)
    assert calls.number == 2


def test_dropout_is_the_same_in_the_guide_and_the_model():
    plain, dropping = (partial(MLP, hidden=(5,), dropout=share) for share in (0, 0.5))
    program = ladder(encoders=plain, decoders=dropping, batch_norm=False)
    with torch.no_grad():
        for encoder in program.encoders:  # evidence so weak that q is p
            *_, last = encoder.layers
            last.weight.zero_()
            last.bias.view(2, -1).copy_(torch.tensor([[0.0], [1e12]]))
    t = collect(program.model, program.guide, (X,), {}, share=True)
    for name in ("z_1", "z_2"):
        log_q, log_p = t.latents[name].log_q, t.latents[name].log_p
        torch.testing.assert_close(log_q, log_p, rtol=0, atol=1e-4)


def test_the_statistics_of_a_batch_are_counted_once():
    program = ladder()
    Trace_ELBO().differentiable_loss(program.model, program.guide, X)
    counts = {name: b.item() for name, b in program.named_buffers() if "num_batches" in name}
    assert set(counts.values()) == {1}


def test_an_evaluation_is_that_of_a_path_that_is_computed_twice(monkeypatch):
    program, bounds = nvae(), []
    for shares in (True, False):
        if not shares:
            monkeypatch.setattr("pyro_vae.inference.terms.runs.sharing", lambda _: sharing(False))
        torch.manual_seed(1)
        bounds.append(evaluate(program, X).bound)
    torch.testing.assert_close(*bounds, rtol=1e-12, atol=1e-12)
