"""Programs and their parts: what is given, what is built, and what is joined on the way."""

from functools import partial

import pytest
import torch
from torch import nn

from pyro_vae import check, networks, posteriors, priors
from pyro_vae.likelihoods import Normal
from pyro_vae.models import HVAE, ConditionalVAE, DeepMarkovModel
from pyro_vae.networks import MLP, Joined
from pyro_vae.wiring import Parts

X_SHAPE = (1, 4, 4)
X = (torch.rand(6, *X_SHAPE, generator=torch.Generator().manual_seed(0)) < 0.4).float()
Y = torch.arange(6) % 3


@pytest.fixture
def parts():
    return Parts(nn.Identity())


def test_a_part_that_is_given_is_taken_and_one_that_is_not_is_built(parts):
    prior, posterior = priors.Laplace(3), posteriors.FullNormal(3)
    assert parts.prior(prior, priors.StandardNormal, 3) is prior
    assert parts.posterior(posterior, posteriors.DiagonalNormal, 3) is posterior
    assert isinstance(parts.prior(None, priors.StandardNormal, 3), priors.StandardNormal)
    assert parts.likelihood(None, Normal, (2, 2)).x_shape == (2, 2)
    assert parts.network("net", None, MLP, (2, 2), (3,)).out_shape == (3,)
    assert parts.network("net", partial(MLP, hidden=()), nn.Identity(), (2,), (3,)).in_shape == (2,)


def test_a_part_that_does_not_fit_is_named_with_its_owner_and_both_shapes(parts):
    with pytest.raises(ValueError, match=r"q_1's latent_dim is \(4,\), but this Identity needs"):
        parts.posterior(posteriors.Delta(4), posteriors.Delta, 3, name="q_1")
    with pytest.raises(ValueError, match=r"likelihood's x_shape is \(5,\), .* needs \(2,\)"):
        parts.likelihood(Normal((5,)), Normal, (2,))
    with pytest.raises(ValueError, match=r"net's out_shape is \(4,\), .* needs \(3,\)"):
        parts.network("net", MLP((2,), (4,)), MLP, (2,), (3,))


def test_a_part_that_declares_no_shape_is_taken_as_it_is(parts):
    layers, prior = nn.Linear(2, 3), nn.Identity()
    assert parts.network("net", layers, MLP, (2,), (3,)) is layers
    assert parts.prior(prior, priors.StandardNormal, 3) is prior


@pytest.mark.parametrize("declares", [True, False])
def test_a_module_of_one_input_is_given_several_joined(parts, declares):
    net = MLP((5,), (2,)) if declares else nn.Linear(5, 2)
    found = parts.network("net", net, MLP, ((3,), (2,)), (2,))
    assert isinstance(found, Joined) and found.network is net
    x, y = torch.randn(7, 3), torch.randn(7, 2)
    assert torch.equal(found(x, y), net(torch.cat([x, y], -1)))


def test_a_module_of_several_inputs_is_given_them_as_they_are(parts):
    net = nn.Bilinear(3, 2, 4)
    assert parts.network("net", net, MLP, ((3,), (2,)), (4,)) is net
    net = networks.Added(((3,), (2,)), (4,))
    assert parts.network("net", net, MLP, ((3,), (2,)), (4,)) is net


def test_joined_inputs_that_do_not_fit_are_refused_with_what_they_are_joined_of(parts):
    sentence = r"in_shape is \(6,\), .* needs \(5,\), which is \(\(3,\), \(2,\)\) joined"
    with pytest.raises(ValueError, match=sentence):
        parts.network("net", MLP((6,), (2,)), MLP, ((3,), (2,)), (2,))


@pytest.mark.parametrize(
    "network",
    [
        networks.MLP,
        networks.GatedMLP,
        partial(networks.ConvEncoder, channels=(4, 8)),
        partial(networks.ResidualEncoder, channels=(4, 8)),
        networks.ZeroImputed,
        networks.Added,
        networks.JoinedGatedMLP,
        networks.Joined,
        nn.Sequential(nn.Flatten(-3), nn.Linear(64, 6), nn.Unflatten(-1, (2, 3))),
    ],
    ids=lambda network: getattr(network, "__name__", type(network).__name__),
)
def test_a_conditional_program_takes_any_network_of_two_inputs_or_of_them_joined(network):
    check(ConditionalVAE(X_SHAPE, 3, num_classes=3, encoder=network), X, y=Y)


def test_programs_of_several_latents_take_networks_of_one_input():
    channels = partial(networks.ConvEncoder, channels=(4, 8))
    check(HVAE(X_SHAPE, (4, 3), encoder_1=channels, decoder=MLP, hidden=(5, 6)), X)
    check(HVAE(X_SHAPE, (4, 3), decoder=MLP((7,), X_SHAPE), hidden=(5, 6)), X)
    check(DeepMarkovModel((4, 4), 3, rnn_dim=5, combiner=MLP), X[:, 0])
