"""The autoencoder: its loss is what plain PyTorch trains one with."""

from functools import partial

import pyro
import pytest
import torch
from torch.nn import functional

from pyro_vae import likelihoods, networks
from pyro_vae.inference import SVI, Trace_ELBO, TraceMeanField_ELBO, encode, sample
from pyro_vae.inference.checking import check
from pyro_vae.models import Autoencoder

from .twins import captured_like_eager

X = (torch.rand(16, 1, 4, 4, generator=torch.Generator().manual_seed(0)) < 0.3).double()


def autoencoder(**options):
    return Autoencoder((1, 4, 4), latent_dim=3, hidden=(8,), **options).double()


@pytest.mark.parametrize(
    "loss",
    [Trace_ELBO(), TraceMeanField_ELBO(), pyro.infer.Trace_ELBO()],
    ids=["Trace_ELBO", "TraceMeanField_ELBO", "Pyro's"],
)
def test_the_loss_and_its_gradient_are_those_of_plain_pytorch(loss):
    program = autoencoder()
    value = loss.differentiable_loss(program.model, program.guide, X)
    plain = functional.binary_cross_entropy_with_logits(
        program.decoder(program.encoder(X)), X, reduction="sum"
    )
    parameters = list(program.parameters())
    found = torch.autograd.grad(value, parameters)
    torch.testing.assert_close(value, plain, rtol=1e-12, atol=0)
    torch.testing.assert_close(found, torch.autograd.grad(plain, parameters))


def test_its_latents_are_the_codes():
    program = autoencoder()
    torch.testing.assert_close(encode(program, X)["z"], program.encoder(X))


def test_it_cannot_be_sampled():
    with pytest.raises(ValueError, match="no prior to sample from"):
        sample(autoencoder(), 5, (1, 4, 4))


def test_it_passes_its_preflight_with_other_parts():
    program = Autoencoder(
        (1, 8, 8),
        likelihood=likelihoods.Normal((1, 8, 8)),
        encoder=partial(networks.ResidualEncoder, channels=(4, 8)),
        decoder=partial(networks.ResidualDecoder, channels=(4, 8)),
    )
    check(program, torch.randn(4, 1, 8, 8), Trace_ELBO())


def test_parts_that_do_not_fit_are_refused_with_both_shapes():
    with pytest.raises(ValueError, match=r"encoder's out_shape is \(2, 3\).*needs \(3,\)"):
        autoencoder(encoder=networks.MLP((1, 4, 4), (2, 3)))


def test_a_captured_step_is_the_eager_one_bit_for_bit():
    captured_like_eager(autoencoder(), Trace_ELBO(), batches=[X])


def test_it_trains():
    program = autoencoder()
    svi = SVI(program.model, program.guide, pyro.optim.Adam({"lr": 1e-2}))
    losses = [svi.step(X).item() for _ in range(60)]
    assert losses[-1] < 0.8 * losses[0]
