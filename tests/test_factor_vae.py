"""FactorVAE: each player's gradient is its own, and its estimate the total correlation."""

import copy
import math

import pyro
import pyro.infer
import pytest
import torch
from pyro import poutine
from pyro.distributions import Normal
from pyro.infer.util import torch_item
from torch import nn
from torch.distributions import kl_divergence
from torch.nn.functional import softplus

from pyro_vae import check
from pyro_vae.inference import (
    SVI,
    Compile,
    FactorVAE,
    TraceMeanField_ELBO,
    fit,
    linear,
)
from pyro_vae.inference.estimators.factor_vae import _permuted
from pyro_vae.models import VAE, HierarchicalVAE, LinearGaussian
from pyro_vae.networks import MLP

X = (torch.rand(6, 8, generator=torch.Generator().manual_seed(0)) < 0.5).double()


def program():
    pyro.set_rng_seed(0)
    return VAE((8,), 2, hidden=(5,)).double()


def small():
    pyro.set_rng_seed(3)
    return nn.Sequential(nn.Linear(2, 7), nn.Tanh(), nn.Linear(7, 1)).double()


def flat(tensors):
    return torch.cat([tensor.flatten() for tensor in tensors])


def gradient_of(value, module):
    return flat(torch.autograd.grad(value, list(module.parameters()), retain_graph=True))


def by_hand(each, d, gamma, seed=1):
    """What the program and the discriminator descend, for the random numbers of one step."""
    pyro.set_rng_seed(seed)
    q = each.posterior(each.encoder(X))
    z = q.rsample()
    kl = kl_divergence(q.base_dist, Normal(0.0, 1.0)).sum()
    log_px = each.likelihood(each.decoder(z)).log_prob(X).sum()
    ours = kl - log_px + gamma * d(z).sum()
    z = z.detach()
    theirs = (softplus(-d(z)).sum() + softplus(d(_permuted(z))).sum()) / 2
    return ours, theirs


@pytest.mark.parametrize("gamma", [0.0, 1.0, 35.0])
def test_each_player_has_the_gradient_of_its_own_cost(gamma):
    """The decoder's is the ELBO's, the encoder's has gamma's term, and D learns from neither."""
    each, loss = program(), FactorVAE(discriminator=small(), gamma=gamma)
    pyro.set_rng_seed(1)
    value = loss.loss_and_grads(each.model, each.guide, X)
    ours, theirs = by_hand(each, loss.discriminator, gamma)
    assert value == pytest.approx(ours.item())
    for module, cost in ((each.encoder, ours), (each.decoder, ours), (loss.discriminator, theirs)):
        found = flat(p.grad for p in module.parameters())
        torch.testing.assert_close(found, gradient_of(cost, module))


def test_judged_it_is_the_same_value_and_moves_nothing():
    each, loss = program(), FactorVAE(discriminator=small(), gamma=2.0)
    before = copy.deepcopy(loss.state_dict())
    pyro.set_rng_seed(1)
    value = loss.loss(each.model, each.guide, X)
    assert value == pytest.approx(by_hand(each, loss.discriminator, 2.0)[0].item())
    torch.testing.assert_close(loss.state_dict(), before, rtol=0, atol=0)


def test_permuted_draws_keep_each_number_in_its_column():
    z = torch.arange(30.0).reshape(10, 3)
    found = _permuted(z)
    assert torch.equal(found.sort(0).values, z)
    assert not torch.equal(found[:, 0] + 1, found[:, 1])


class Quadratic(nn.Module):
    """A logit that can be the log ratio of two Normals with the same marginals."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(4, dtype=torch.float64))

    def forward(self, z):
        one, other = z.unbind(-1)
        return torch.stack([one**2, other**2, one * other, torch.ones_like(one)], -1) @ self.weight


def test_the_best_discriminator_is_the_log_ratio_and_tells_the_total_correlation():
    """Of q(z) = N(0, C), C = V V' + D^2 for data of N(0, I): TC is -1/2 log(1 - rho^2).

    The cost is convex in the weights of such a D, so that where its gradient is 0 is where D goes.
    """
    pyro.set_rng_seed(0)
    each, num = LinearGaussian((2,), 2).double(), 200_000
    with torch.no_grad():
        each.V.copy_(torch.tensor([[1.0, 0.5], [1.4, -0.4]]))
        each.D.copy_(torch.tensor([-0.5, -1.0]))
        c = each.V @ each.V.mT + (2 * each.D).exp().diag()
        off = -0.5 * (c.inverse() - (1 / c.diagonal()).diag())
        exact = -0.5 * math.log(1 - c[0, 1] ** 2 / (c[0, 0] * c[1, 1]))
        loss = FactorVAE(discriminator=Quadratic(), gamma=1.0)
        ratio = torch.tensor([off[0, 0], off[1, 1], 2 * off[0, 1], exact])
        loss.discriminator.weight.copy_(ratio)
    x = torch.randn(num, 2, dtype=torch.float64)
    pyro.set_rng_seed(1)
    value = loss.loss_and_grads(each.model, each.guide, x)
    pyro.set_rng_seed(1)
    elbo = TraceMeanField_ELBO().loss(each.model, each.guide, x)
    assert exact > 0.2 and (value - elbo) / num == pytest.approx(exact, abs=4 / math.sqrt(num))
    # each feature's deviation is below 6, and D(z) below 1
    assert loss.discriminator.weight.grad.abs().max() / num < 4 * 6 / math.sqrt(num)
    loss.discriminator.weight.data *= 0.5
    loss.loss_and_grads(each.model, each.guide, x)
    assert loss.discriminator.weight.grad.abs().max() / num > 4 * 6 / math.sqrt(num)


def test_particles_are_averaged_over():
    each, x = program(), X[:2]
    losses = []
    for options in ({"num_particles": 2000, "vectorize_particles": True}, {}):
        loss = FactorVAE(discriminator=small(), **options)
        data = x if options else x.repeat(2000, 1)
        losses.append(loss.loss(each.model, each.guide, data) / len(data))
    assert losses[0] == pytest.approx(losses[1], rel=0.02)


def data(num=32):
    return (torch.rand(num, 8, generator=torch.Generator().manual_seed(5)) < 0.4).float()


def scheduled():
    pyro.set_rng_seed(2)
    network = MLP((2,), (1,), hidden=(6, 6), activation=nn.LeakyReLU)
    return FactorVAE(discriminator=network, gamma=linear(0, 5, steps=2))


def numbers(*modules):
    return flat(t.detach().double() for module in modules for t in module.state_dict().values())


def test_a_captured_step_is_the_eager_one():
    found = []
    for compile in (False, Compile(mode="captured")):
        pyro.clear_param_store()
        loss, each = scheduled(), program().float()
        svi = SVI(each.model, each.guide, pyro.optim.Adam({"lr": 1e-2}), loss, compile=compile)
        pyro.set_rng_seed(1)
        losses = [svi.step(data()).item() for _ in range(9)]
        found.append((losses, numbers(each, loss).tolist()))
    assert svi.mode == "captured" and found[0] == found[1]


def test_pyros_svi_trains_it_as_ours():
    found = []
    for svi_class in (SVI, pyro.infer.SVI):
        pyro.clear_param_store()
        loss, each = scheduled().at(9), program().float()
        svi = svi_class(each.model, each.guide, pyro.optim.Adam({"lr": 1e-2}), loss)
        pyro.set_rng_seed(1)
        losses = [torch_item(svi.step(data())) for _ in range(3)]
        found.append(torch.cat([torch.tensor(losses).double(), numbers(each, loss)]))
    torch.testing.assert_close(*found)


def test_a_resumed_training_is_bit_for_bit_the_one_that_went_through():
    found = []
    for parts in ([3], [1, 2, 3]):
        state, weights = None, {}
        for epochs in parts:
            pyro.clear_param_store()
            loss, each = scheduled(), program().float()
            pyro.set_rng_seed(4 if state is None else 99)
            if state is not None:
                each.load_state_dict(weights)
            options = {"epochs": epochs, "batch_size": 16, "progress": False, "compile": False}
            run = fit(each, data(), loss=loss, resume=state, **options)
            state, weights = copy.deepcopy(run.state_dict()), copy.deepcopy(each.state_dict())
        found.append(numbers(each, loss))
    assert torch.equal(*found)


def test_it_is_a_bound_without_gamma_alone_and_never_compares_epochs():
    alone = FactorVAE(discriminator=small(), gamma=0.0)
    assert alone.is_bound and not FactorVAE(discriminator=small()).is_bound
    assert not alone.compares_epochs and alone.is_linear
    each, losses = program(), []
    for loss in (alone, TraceMeanField_ELBO()):
        pyro.set_rng_seed(1)
        losses.append(loss.loss(each.model, each.guide, X))
    assert losses[0] == pytest.approx(losses[1])


def test_a_text_names_it_with_its_discriminator(run):
    program = "VAE(latent_dim=2, hidden=(8,))"
    loss = "FactorVAE(discriminator=MLP((2,), (1,), hidden=(8, 8), activation=LeakyReLU), gamma=5)"
    code, out, err = run("check", program, "--loss", loss)
    assert code == 0 and "nats per datum" in out, out + err


@pytest.mark.parametrize(
    ("make", "error", "sentence"),
    [
        (lambda: FactorVAE(discriminator=MLP), TypeError, "discriminator of FactorVAE is <class"),
        (lambda: FactorVAE(discriminator=small(), gamma=-1.0), ValueError, "gamma of FactorVAE mu"),
    ],
)
def test_what_cannot_be_built_is_refused(make, error, sentence):
    with pytest.raises(error, match=sentence):
        make()


@pytest.mark.parametrize(
    ("discriminator", "sentence"),
    [
        (MLP((3,), (1,)).double(), r"an? MLP, cannot take latents of 2 numbers.* in_shape \(2,\)"),
        (MLP((2,), (2,)).double(), r"makes \(2, 2\) of 2 latents, but must make one logit of each"),
    ],
)
def test_a_discriminator_that_does_not_fit_is_refused(discriminator, sentence):
    with pytest.raises(ValueError, match=sentence):
        check(program(), X, FactorVAE(discriminator=discriminator))


def test_several_latents_are_refused():
    each = HierarchicalVAE((8,), (3, 2), hidden=(5,))
    with pytest.raises(ValueError, match=r"sees one latent, but .* \['z_2', 'z_1'\]; use MMD"):
        FactorVAE(discriminator=small()).loss(each.model, each.guide, X.float())


def test_masked_latents_are_refused():
    each, keep = program(), torch.tensor([True] * 5 + [False])
    masked = [poutine.mask(function, keep) for function in (each.model, each.guide)]
    with pytest.raises(ValueError, match="sees whole latents, but some are masked; use TotalCorr"):
        FactorVAE(discriminator=small()).loss(*masked, X)


def test_latents_that_all_data_share_are_refused():
    def model(x):
        z = pyro.sample("z", Normal(0.0, 1.0))
        with pyro.plate("data", len(x)):
            pyro.sample("x", Normal(z, 1.0), obs=x)

    def guide(x):
        pyro.sample("z", Normal(torch.tensor(0.3, requires_grad=True), 1.0))

    with pytest.raises(
        ValueError, match="FactorVAE is a bound for each datum, but 'z' stand outsi"
    ):
        FactorVAE(discriminator=small()).loss(model, guide, torch.zeros(3))
