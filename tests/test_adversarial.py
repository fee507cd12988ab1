"""VAEGAN and Adversarial: each player's gradient is its own, written out by hand."""

import copy
import math
import os
import signal
from dataclasses import replace
from functools import partial

import pyro
import pyro.infer
import pytest
import torch
from pyro.infer.util import torch_item
from torch import nn
from torch.distributions import kl_divergence
from torch.nn.functional import softplus

from pyro_vae import check
from pyro_vae.frozen import is_frozen
from pyro_vae.inference import (
    SVI,
    VAEGAN,
    Adversarial,
    Compile,
    Hinge,
    Minimax,
    NonSaturating,
    TraceMeanField_ELBO,
    delayed,
    evaluate,
    fit,
    linear,
    log_likelihood,
)
from pyro_vae.likelihoods import Bernoulli, Laplace, Normal
from pyro_vae.models import VAE, BayesianVAE
from pyro_vae.networks import (
    ConvDecoder,
    ConvEncoder,
    Discriminator,
    PatchDiscriminator,
    PerceptualDistance,
)
from pyro_vae.priors import VampPrior

from .test_estimators import TwoLatents

SHAPE = (1, 4, 4)
X = torch.rand(6, *SHAPE, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
BOTH = [VAEGAN, Adversarial]


def program(likelihood=Normal, **options):
    pyro.set_rng_seed(0)
    return VAE(SHAPE, 2, hidden=(5,), likelihood=likelihood(SHAPE), **options).double()


def small():
    """A discriminator written out: 16 -> 7 -> 1."""
    pyro.set_rng_seed(3)
    layers = nn.Sequential(nn.Flatten(), nn.Linear(16, 7), nn.Tanh(), nn.Linear(7, 1))
    return layers.double()


def estimator(kind, discriminator=None, **options):
    if kind is VAEGAN:
        options = {"layer": "2", "feature_scale": 1.0} | options
    return kind(discriminator=discriminator or small(), **options)


def gradients(loss, each, x=X, seed=1):
    """The gradients of encoder, decoder, all of the program, and discriminator, in a row each."""
    for module in (each, loss.discriminator):
        module.zero_grad()
    pyro.set_rng_seed(seed)
    loss.loss_and_grads(each.model, each.guide, x)
    parts = (each.encoder, each.decoder, each, loss.discriminator)
    return [flat(p.grad for p in part.parameters() if p.grad is not None) for part in parts]


def flat(tensors):
    return torch.cat([tensor.flatten() for tensor in tensors])


def gradient_of(value, module):
    found = torch.autograd.grad(value, list(module.parameters()), retain_graph=True)
    return flat(found)


def by_hand(each, discriminator, x=X, seed=1, draws=True):
    """KL, x~ and x_p, for the random numbers of one step."""
    pyro.set_rng_seed(seed)
    q = each.posterior(each.encoder(x))
    z = q.rsample()
    p = each.prior()
    kl = kl_divergence(q.base_dist, torch.distributions.Normal(0.0, 1.0)).sum()
    drawn = p.expand([len(x)]).sample() if draws else None
    return z, kl, (each.likelihood(each.decoder(v)).mean for v in (z, drawn) if v is not None)


def cross_entropies(discriminator, x, *fakes):
    """-log D(x) - sum log(1 - D(fake)), as the paper's L_GAN."""
    return softplus(-discriminator(x)).sum() + sum(softplus(discriminator(f)).sum() for f in fakes)


def l_feat(discriminator, x, x_mean, scale=1.0):
    """-log N(D_l(x); D_l(x~), s^2 I) of all features of all data."""
    features = discriminator[:3]
    normal = torch.distributions.Normal(features(x_mean), scale)
    return -normal.log_prob(features(x)).sum()


# The paper's three gradients.


@pytest.mark.parametrize(("gamma", "scale"), [(0.01, 1.0), (2.0, 1.0), (0.01, 0.1)])
def test_the_three_gradients_are_those_of_the_paper(gamma, scale):
    each, loss = program(), estimator(VAEGAN, gamma=gamma, feature_scale=scale)
    encoder, decoder, _, discriminator = gradients(loss, each)
    d = loss.discriminator
    _, kl, (x_mean, drawn) = by_hand(each, d)
    gan, feat = cross_entropies(d, X, x_mean, drawn), l_feat(d, X, x_mean, scale)
    torch.testing.assert_close(encoder, gradient_of(kl + feat, each.encoder))
    torch.testing.assert_close(decoder, gradient_of(gamma * feat - gan, each.decoder))
    torch.testing.assert_close(discriminator, gradient_of(gan, d))


def test_a_scale_that_no_image_depends_on_learns_from_the_likelihood_of_pixels():
    each, loss = program(), estimator(VAEGAN)
    *_, whole, _ = gradients(loss, each)
    _, _, (x_mean, _) = by_hand(each, loss.discriminator)
    scale = each.likelihood.log_scale
    log_px = torch.distributions.Normal(x_mean.detach(), scale.exp()).log_prob(X).sum()
    (slope,) = torch.autograd.grad(-log_px, scale)
    assert each.likelihood.log_scale.grad.item() == pytest.approx(slope.item())
    assert len(whole) == sum(p.numel() for p in each.parameters())


@pytest.mark.parametrize("shown", ["reconstructions", "prior_draws"])
def test_the_discriminator_may_be_shown_one_kind_of_images_alone(shown):
    each = program()
    loss = estimator(VAEGAN, **{"reconstructions": False, "prior_draws": False, shown: True})
    encoder, decoder, _, discriminator = gradients(loss, each)
    d = loss.discriminator
    draws = shown == "prior_draws"
    _, kl, means = by_hand(each, d, draws=draws)
    means = list(means)
    gan, feat = cross_entropies(d, X, means[-1]), l_feat(d, X, means[0])
    torch.testing.assert_close(encoder, gradient_of(kl + feat, each.encoder))
    torch.testing.assert_close(decoder, gradient_of(0.01 * feat - gan, each.decoder))
    torch.testing.assert_close(discriminator, gradient_of(gan, d))


def test_its_value_is_minus_the_kl_and_the_likelihood_of_features():
    each, loss = program(), estimator(VAEGAN)
    _, kl, (x_mean, _) = by_hand(each, loss.discriminator)
    pyro.set_rng_seed(1)
    value = loss.differentiable_loss(each.model, each.guide, X)
    torch.testing.assert_close(value, kl + l_feat(loss.discriminator, X, x_mean))
    pyro.set_rng_seed(1)
    assert loss.loss(each.model, each.guide, X) == pytest.approx(value.item())


def test_an_encoder_that_the_prior_is_made_of_learns_nothing_from_the_discriminator():
    """Its gradient does not change with the GAN's loss, which it would through x_p."""
    found = []
    for gan_loss in (Minimax(), Hinge()):
        pyro.set_rng_seed(5)
        prior = VampPrior(2, x_shape=SHAPE, components=3)
        each = program(prior=prior)
        found.append(gradients(estimator(VAEGAN, gan_loss=gan_loss), each))
    torch.testing.assert_close(found[0][0], found[1][0])
    assert not torch.allclose(found[0][1], found[1][1])


def test_a_training_factor_reaches_the_encoder_past_the_gate():
    class Stated(VAE):
        def model(self, x):
            from pyro_vae import training_factor

            with pyro.plate("data", len(x)):
                z = pyro.sample("z", self.prior())
                training_factor("size", -z.square().sum(-1))
                return pyro.sample("x", self.likelihood(self.decoder(z)), obs=x)

    pyro.set_rng_seed(0)
    each = Stated(SHAPE, 2, hidden=(5,), likelihood=Normal(SHAPE)).double()
    one, other = (
        gradients(estimator(VAEGAN, factors={"size": weight}), each)[0] for weight in (3.0, 0.0)
    )
    z, *_ = by_hand(each, None)
    torch.testing.assert_close(one - other, gradient_of(3 * z.square().sum(), each.encoder))


def test_particles_are_averaged_over_however_they_are_run():
    each, one = program(), estimator(VAEGAN)
    singles = torch.tensor([one.loss(each.model, each.guide, X) for _ in range(100)])
    error = singles.std().item() * math.sqrt(2 / 100)
    for vectorize in (True, False):
        loss = replace(one, num_particles=100, vectorize_particles=vectorize)
        many = loss.loss(each.model, each.guide, X)
        assert many == pytest.approx(singles.mean().item(), abs=5 * error)
    loss = replace(one, num_particles=3, vectorize_particles=True)
    assert all(part.isfinite().all() for part in gradients(loss, each))


@pytest.mark.parametrize("kind", BOTH)
def test_the_gradient_reaches_every_parameter_of_a_hierarchy(kind):
    each = TwoLatents(top_down=True)
    network = nn.Sequential(nn.Flatten(), nn.Linear(64, 3), nn.Tanh(), nn.Linear(3, 1))
    loss = estimator(kind, network, gan_loss=NonSaturating())
    loss.loss_and_grads(each.model, each.guide, (torch.rand(6, 1, 8, 8) > 0.5).float())
    for parameter in (*each.parameters(), *network.parameters()):
        assert parameter.grad.abs().max() > 0


@pytest.mark.parametrize(
    ("costs", "who"),
    [
        ((0.6, 0.6), (1, 1)),
        ((0.2, 0.6), (0, 1)),  # D knows the data
        ((0.6, 0.2), (0, 1)),
        ((0.6, 1.2), (1, 0)),  # it takes fakes for data: the decoder is ahead
        ((0.2, 1.2), (1, 1)),  # neither, and so both
    ],
)
def test_who_is_too_far_ahead_does_not_learn(costs, who):
    loss = estimator(VAEGAN, balance=0.35)
    real, fake = (torch.full((4,), cost) for cost in costs)
    found = loss._who_learns(type("Costs", (), {"real": real, "fake": fake}))
    assert tuple(float(each) for each in found) == who


def test_by_the_rule_a_discriminator_that_is_ahead_has_no_gradient_and_the_encoder_its_own():
    each, ahead = program(), small()
    with torch.no_grad():  # D = 1/2 - a little for fakes, 1 for data: none of its costs is high
        ahead[3].weight.zero_()
        ahead[3].bias.fill_(-9.0)
    ruled, free = (estimator(VAEGAN, ahead, balance=m) for m in (0.35, None))
    (encoder, decoder, _, d), (encoder_2, decoder_2, _, d_2) = (
        gradients(loss, each) for loss in (ruled, free)
    )
    torch.testing.assert_close(encoder, encoder_2)
    torch.testing.assert_close(decoder, decoder_2)  # real costs 9, fakes 0: neither should, so both
    torch.testing.assert_close(d, d_2)
    with torch.no_grad():
        ahead[3].bias.fill_(-1.0)  # real 1.3, fakes 0.3
    (encoder, decoder, _, d), (encoder_2, *_) = (gradients(loss, each) for loss in (ruled, free))
    torch.testing.assert_close(encoder, encoder_2)
    assert d.any() and not d.isnan().any()


# The ELBO with an adversary.


def test_an_adversary_adds_its_gradient_to_that_of_the_elbo():
    each, loss = program(), estimator(Adversarial, weight=0.7, beta=0.5)
    *_, whole, discriminator = gradients(loss, each)
    d = loss.discriminator
    _, kl, (x_mean,) = by_hand(each, d, draws=False)
    log_px = torch.distributions.Normal(x_mean, each.likelihood.log_scale.exp()).log_prob(X).sum()
    total = 0.5 * kl - log_px - 0.7 * d(x_mean).sum()
    torch.testing.assert_close(whole, gradient_of(total, each))
    own = (1 - d(X)).relu().sum() + (1 + d(x_mean)).relu().sum()
    torch.testing.assert_close(discriminator, gradient_of(own, d))


def test_its_value_is_the_elbo():
    each = program()
    for options in ({}, {"beta": 0.1}):
        losses = []
        for loss in (estimator(Adversarial, **options), TraceMeanField_ELBO(**options)):
            pyro.set_rng_seed(1)
            losses.append(loss.differentiable_loss(each.model, each.guide, X).item())
        assert losses[0] == pytest.approx(losses[1])


@pytest.mark.parametrize("likelihood", [Normal, Laplace, partial(Bernoulli, mean=None)])
def test_the_adaptive_weight_makes_both_gradients_as_long_at_the_parameters(likelihood):
    """Of x~ for Normal and Laplace, of the logits for Bernoulli; half of it by weight."""
    each, x = program(likelihood), (X > 0.5).double()
    loss = estimator(Adversarial, weight=0.5, adaptive=True, gan_loss=NonSaturating())
    *_, whole, _ = gradients(loss, each, x)
    d = loss.discriminator
    pyro.set_rng_seed(1)
    q = each.posterior(each.encoder(x))
    h = each.decoder(q.rsample())
    p = each.likelihood(h)
    kl = kl_divergence(q.base_dist, torch.distributions.Normal(0.0, 1.0)).sum()
    nll, generator = -p.log_prob(x).sum(), softplus(-d(p.mean)).sum()
    norms = [torch.autograd.grad(v, h, retain_graph=True)[0].norm() for v in (nll, generator)]
    weight = 0.5 * norms[0] / (norms[1] + 1e-4)
    torch.testing.assert_close(whole, gradient_of(kl + nll + weight * generator, each))


class Squared(nn.Module):
    """The squared distance of what a layer makes of two images."""

    def __init__(self, layer):
        super().__init__()
        self.layer = layer.double()

    def forward(self, x, y):
        return (self.layer(x) - self.layer(y)).square().flatten(1).sum(1)


def test_a_perceptual_network_adds_its_distance_for_each_number_of_x():
    each, network = program(), Squared(nn.Conv2d(1, 3, 3))
    loss = estimator(Adversarial, weight=0.0, perceptual=network, perceptual_weight=2.0)
    *_, whole, discriminator = gradients(loss, each)
    plain, _ = gradients(estimator(Adversarial, weight=0.0), each)[2:]
    _, _, (x_mean,) = by_hand(each, None, draws=False)
    found = gradient_of(2 * 16 * network(X, x_mean).sum(), each.decoder)
    torch.testing.assert_close((whole - plain)[-len(found) :], found)
    assert not discriminator.any()  # it waits where its weight is 0
    assert not loss.is_bound and estimator(Adversarial).is_bound
    assert is_frozen(network) and not any("perceptual" in name for name in loss.state_dict())


def test_r1_is_half_the_squared_slope_of_the_logit_at_the_data():
    """Of a linear discriminator the slope is its weight, so its gradient is N r1 w."""
    d = nn.Sequential(nn.Flatten(), nn.Linear(16, 1)).double()
    each, found = program(), []
    for r1 in (0.0, 3.0):
        loss = VAEGAN(discriminator=d, layer="1", r1=r1)
        found.append(gradients(loss, each)[3])
    expected = flat([len(X) * 3 * d[1].weight.detach(), torch.zeros(1).double()])
    torch.testing.assert_close(found[1] - found[0], expected)


@pytest.mark.parametrize("loss", [Minimax(), NonSaturating(), Hinge()])
def test_a_discriminator_that_cannot_tell_pays_the_equilibrium(loss):
    assert loss.real(torch.zeros(1)).item() == pytest.approx(loss.equilibrium)
    assert loss.fake(torch.zeros(1)).item() == pytest.approx(loss.equilibrium)


def test_the_costs_are_those_of_cross_entropy_and_hinge():
    logit = torch.tensor([-1.5, 0.3], dtype=torch.float64)
    d = logit.sigmoid()
    torch.testing.assert_close(Minimax().real(logit), -d.log())
    torch.testing.assert_close(Minimax().fake(logit), -(1 - d).log())
    torch.testing.assert_close(Minimax().generator(logit), (1 - d).log())
    torch.testing.assert_close(NonSaturating().generator(logit), -d.log())
    assert Hinge().real(logit).tolist() == pytest.approx([2.5, 0.7])
    assert Hinge().fake(logit).tolist() == pytest.approx([0.0, 1.3])
    assert Hinge().generator(logit).tolist() == pytest.approx([1.5, -0.3])


# In training.


def images(num=48):
    return torch.rand(num, 1, 8, 8, generator=torch.Generator().manual_seed(0))


def convolutional():
    pyro.set_rng_seed(0)
    networks = {"encoder": partial(ConvEncoder, channels=(4, 4))}
    networks |= {"decoder": partial(ConvDecoder, channels=(4, 4))}
    return VAE((1, 8, 8), 2, likelihood=Normal((1, 8, 8)), **networks)


def full(kind):
    """With all that moves from step to step: singular vectors, schedules, R1, both kinds."""
    pyro.set_rng_seed(2)
    if kind is VAEGAN:
        network = Discriminator((1, 8, 8), channels=(4, 8))
        return VAEGAN(
            discriminator=network, gamma=linear(0.1, 0.2, steps=3), balance=0.4, r1=0.5,
        )  # fmt: skip
    network = PatchDiscriminator((1, 8, 8), channels=4, layers=1)
    seen = PerceptualDistance(ConvEncoder((1, 8, 8), (3,), channels=(4,)))
    return Adversarial(
        discriminator=network, weight=delayed(0.5, 3), adaptive=True, prior_draws=True,
        perceptual=seen,
    )  # fmt: skip


def numbers(*modules):
    return flat(t.detach().double() for module in modules for t in module.state_dict().values())


def trained(kind, parts, **options):
    """Program and estimator after trainings of so many epochs in all, each resumed."""
    state, weights = None, {}
    for epochs in parts:
        pyro.clear_param_store()
        loss, each = full(kind), convolutional()
        pyro.set_rng_seed(4 if state is None else 99)
        if state is not None:
            each.load_state_dict(weights)
        run = fit(
            each, images(), loss=loss, epochs=epochs, batch_size=16, progress=False, resume=state,
            compile=False, **options,
        )  # fmt: skip
        state, weights = copy.deepcopy(run.state_dict()), copy.deepcopy(each.state_dict())
    return numbers(each, loss), run


@pytest.mark.parametrize("options", [{}, {"valid": images(16)}], ids=["alone", "validated"])
@pytest.mark.parametrize("kind", BOTH)
def test_a_resumed_training_is_bit_for_bit_the_one_that_went_through(kind, options):
    straight, _ = trained(kind, [3], **options)
    resumed, _ = trained(kind, [1, 2, 3], **options)
    assert torch.equal(straight, resumed)


@pytest.mark.parametrize("kind", BOTH)
def test_a_training_that_is_killed_within_an_epoch_goes_on_bit_for_bit(kind):
    """Three steps are an epoch; Ctrl-C comes in the fifth or thereabouts."""
    options = {"epochs": 3, "batch_size": 16, "progress": False, "compile": False}

    class Killed:
        calls = 0

        def __init__(self, each):
            self.model, self.inner = each.model, each.guide

        def guide(self, x):
            self.calls += 1
            if self.calls == 8:
                os.kill(os.getpid(), signal.SIGINT)
            self.inner(x)

    found = []
    for wrap in (lambda each: each, Killed):
        pyro.clear_param_store()
        loss, each = full(kind), convolutional()
        pyro.set_rng_seed(4)
        run = fit(wrap(each), images(), loss=loss, **options)
        if run.interrupted:
            assert run.progress.steps_in_epoch in (1, 2)
            state, weights = copy.deepcopy(run.state_dict()), copy.deepcopy(each.state_dict())
            pyro.clear_param_store()
            loss, each = full(kind), convolutional()
            pyro.set_rng_seed(99)
            each.load_state_dict(weights)
            fit(each, images(), loss=loss, resume=state, **options)
        found.append(numbers(each, loss))
    assert run.interrupted and torch.equal(*found)


@pytest.mark.parametrize("kind", BOTH)
def test_a_captured_step_is_the_eager_one(kind):
    found = []
    for compile in (False, Compile(mode="captured")):
        pyro.clear_param_store()
        loss, each = full(kind), convolutional()
        svi = SVI(each.model, each.guide, pyro.optim.Adam({"lr": 1e-2}), loss, compile=compile)
        pyro.set_rng_seed(1)
        losses = [svi.step(images(8)).item() for _ in range(9)]
        found.append((losses, numbers(each, loss).tolist()))
    assert svi.mode == "captured" and found[0] == found[1]


@pytest.mark.parametrize("kind", BOTH)
def test_pyros_svi_trains_it_as_ours(kind):
    found = []
    for svi_class in (SVI, pyro.infer.SVI):
        pyro.clear_param_store()
        loss, each = full(kind).at(9), convolutional()
        before = numbers(loss)
        svi = svi_class(each.model, each.guide, pyro.optim.Adam({"lr": 1e-2}), loss)
        pyro.set_rng_seed(1)
        losses = [torch_item(svi.step(images(8))) for _ in range(3)]
        assert not torch.equal(numbers(loss), before)
        found.append(torch.cat([torch.tensor(losses).double(), numbers(each, loss)]))
    torch.testing.assert_close(*found)


@pytest.mark.parametrize("kind", BOTH)
def test_fit_keeps_the_last_epoch_and_reports_the_pixels_bound(kind):
    each, loss, kept = convolutional(), full(kind).at(9), []
    run = fit(
        each, images(), loss=loss, epochs=3, batch_size=16, valid=images(16), progress=False,
        optim=pyro.optim.Adam({"lr": 0.1}), compile=False,
        on_epoch=lambda run, best: kept.append((best, numbers(each, loss))),
    )  # fmt: skip
    assert all(best for best, _ in kept)
    assert torch.equal(numbers(each, loss), kept[-1][1])
    last = run.records[-1]
    pixels = -(last["rate"] + last["distortion"])
    if kind is VAEGAN:
        assert last["valid_bound"] == pytest.approx(pixels) and not loss.is_bound
        assert "loss " in repr(run) and "bound" not in repr(run)
    else:
        assert last["valid_bound"] == pytest.approx(pixels) and not loss.is_bound
        without = replace(loss, perceptual=None)  # whose value is the ELBO
        run = fit(
            each, images(), loss=without, epochs=1, valid=images(16), progress=False, compile=False
        )
        assert "valid_bound" not in run.records[-1] and "bound " in repr(run)


@pytest.mark.parametrize("kind", BOTH)
def test_judging_changes_nothing_and_the_program_does_not_contain_the_discriminator(kind):
    each, loss = convolutional(), full(kind).at(9)
    names = set(each.state_dict())
    pyro.set_rng_seed(1)
    bound = evaluate(each, images(8)).bound
    likelihood = log_likelihood(each, images(8), 3)
    before = numbers(loss)
    loss.loss(each.eval().model, each.guide, images(8))
    assert torch.equal(numbers(loss), before)
    pyro.set_rng_seed(1)
    torch.testing.assert_close(evaluate(each, images(8)).bound, bound)
    torch.testing.assert_close(log_likelihood(each, images(8), 3), likelihood)
    assert set(each.state_dict()) == names


def test_a_learning_rate_of_its_own_leaves_the_discriminator_alone():
    each, loss = convolutional(), full(VAEGAN).at(9)
    before = [p.detach().clone() for p in loss.discriminator.parameters()]
    optim = pyro.optim.Adam(lambda name: {"lr": 0.0 if name.startswith("estimator.") else 1e-3})
    SVI(each.model, each.guide, optim, loss).step(images(8))
    assert all(map(torch.equal, before, loss.discriminator.parameters()))


def test_singular_vectors_move_once_a_step():
    """One power iteration of torch's own, from the vectors as they were."""
    each, loss = convolutional(), full(VAEGAN).at(9)
    twin = copy.deepcopy(loss.discriminator)
    twin(images(8))
    loss.differentiable_loss(each.model, each.guide, images(8))
    torch.testing.assert_close(dict(loss.discriminator.named_buffers()), dict(twin.named_buffers()))


def test_a_run_folder_saves_and_resumes_it(run, tmp_path):
    program = "VAE(latent_dim=2, hidden=(8,))"
    loss = "VAEGAN(discriminator=Discriminator(channels=(4, 8)))"
    options = ("--loss", loss, "--batch-size", 500)
    for command in (
        ("train", program, *options, "--epochs", 2, "--out", "straight"),
        ("train", program, *options, "--epochs", 1, "--out", "resumed"),
        ("train", "--resume", "resumed", "--epochs", 2),
    ):
        code, out, err = run(*command)
        assert code == 0, out + err
    states = [
        torch.load(tmp_path / name / "checkpoint.pt", weights_only=True)
        for name in ("straight", "resumed")
    ]
    for part in ("estimator", "best"):
        one, other = (state["fit"][part] for state in states)
        assert one.keys() == other.keys()
        assert all(torch.equal(one[name], other[name]) for name in one)
    assert any(name.startswith("discriminator.") for name in states[0]["fit"]["estimator"])
    code, out, err = run("evaluate", "straight", "--num-particles", 10)
    assert code == 0 and "lower bound" in out, out + err


# What cannot be.


@pytest.mark.parametrize(
    ("make", "error", "sentence"),
    [
        (lambda: VAEGAN(discriminator=None), TypeError, "discriminator of VAEGAN is None, but mus"),
        (lambda: VAEGAN(discriminator=Discriminator), TypeError, "is <class .*, but must be a mod"),
        (lambda: estimator(VAEGAN, gamma=0.0), ValueError, "gamma of VAEGAN must be positive and"),
        (lambda: estimator(VAEGAN, gamma=-1.0), ValueError, "but is -1.0"),
        (lambda: estimator(VAEGAN, feature_scale=0.0), ValueError, "feature_scale of VAEGAN must"),
        (lambda: estimator(VAEGAN, layer="7"), ValueError, "no layer '7'; its layers are 0, 1, 2"),
        (lambda: VAEGAN(discriminator=small()), ValueError, "names no feature_layer; its layers a"),
        (lambda: estimator(VAEGAN, r1=-1.0), ValueError, "r1 of VAEGAN must be finite and not neg"),
        (lambda: estimator(VAEGAN, balance=-1.0), ValueError, "balance of VAEGAN must be finite"),
        (
            lambda: estimator(VAEGAN, prior_draws=False, reconstructions=False),
            ValueError,
            "needs images of the program to tell from the data",
        ),
        (
            lambda: estimator(Adversarial, adaptive=True, reconstructions=False, prior_draws=True),
            ValueError,
            "compares two gradients at the reconstructions",
        ),
        (lambda: estimator(Adversarial, weight=math.inf), ValueError, "weight of Adversarial must"),
        (
            lambda: estimator(VAEGAN, gan_loss="hinge"),
            TypeError,
            "gan_loss of VAEGAN is 'hinge', but",
        ),
        (
            lambda: estimator(VAEGAN, gan_loss=Hinge),
            TypeError,
            "must be one that is built: Minimax",
        ),
        (lambda: estimator(Adversarial, perceptual=3), TypeError, "is 3, but must be a module"),
        (lambda: Discriminator((16,)), ValueError, "a Discriminator needs images"),
        (lambda: Discriminator((1, 4, 4), channels=(2,) * 4), ValueError, "give at most 2 channe"),
        (lambda: PatchDiscriminator((1, 20, 20)), ValueError, "at least 24 pixels a side, but got"),
        (lambda: PatchDiscriminator((1, 20, 20), layers=0), ValueError, "channels 64 and layers 0"),
    ],
)
def test_what_cannot_be_built_is_refused(make, error, sentence):
    with pytest.raises(error, match=sentence):
        make()


@pytest.mark.parametrize(
    ("loss", "sentence"),
    [
        (
            lambda: VAEGAN(discriminator=Discriminator((1, 8, 8)).double()),
            r"takes images of shape \(1, 8, 8\), but those of site 'x' have shape \(1, 4, 4\)",
        ),
        (
            lambda: estimator(Adversarial, nn.Conv2d(3, 1, 3).double()),
            r"cannot take images of shape \(1, 4, 4\), as site 'x' has: .*3 channels",
        ),
        (
            lambda: estimator(Adversarial, perceptual=Squared(nn.Conv2d(3, 1, 3))),
            "the perceptual network of Adversarial, a Squared, cannot take .*3 channels",
        ),
        (
            lambda: estimator(
                Adversarial,
                perceptual=PerceptualDistance(ConvEncoder((3, 4, 4), (2,), channels=(4,))),
            ),
            r"takes images of shape \(3, 4, 4\), but those of site 'x' have shape \(1, 4, 4\)",
        ),
        (
            lambda: estimator(Adversarial, nn.Flatten(0)),
            r"makes \(32,\) of 2 images, but must make a number",
        ),
        (lambda: estimator(VAEGAN, site="y"), r"of site 'y', but the model .* \['z', 'x'\]"),
    ],
)
def test_what_does_not_fit_the_program_is_refused(loss, sentence):
    with pytest.raises(ValueError, match=sentence):
        check(program(), X, loss())


@pytest.mark.parametrize("kind", BOTH)
def test_masked_data_are_refused(kind):
    each = program()
    masked = [
        pyro.poutine.mask(f, torch.tensor([True] * 5 + [False])) for f in (each.model, each.guide)
    ]
    with pytest.raises(ValueError, match="sees whole images, but those of site 'x' are masked"):
        estimator(kind).loss(*masked, X)


def test_latents_that_all_data_share_are_refused_by_vaegan():
    each = BayesianVAE(SHAPE, 2, num_data=6, likelihood=Normal(SHAPE)).double()
    with pytest.raises(ValueError, match="VAEGAN is a bound for each datum, but .* outside"):
        estimator(VAEGAN).loss(each.model, each.guide, X)


# The networks.


def test_a_patch_discriminator_has_the_parameters_of_the_original():
    """4 x 4 kernels of 64, 128, 256, 512 and 1 channels, batch normalization after three."""
    network = PatchDiscriminator((3, 256, 256), spectral_norm=False, batch_norm=True)
    assert sum(p.numel() for p in network.parameters()) == 2_765_633
    assert network.out_shape == (30, 30)


@pytest.mark.parametrize("network", [Discriminator, partial(PatchDiscriminator, channels=8)])
def test_spectral_normalization_keeps_the_largest_singular_value_at_1(network):
    torch.manual_seed(0)
    made = network((1, 28, 28)).eval()
    for part in made.modules():
        if isinstance(part, nn.Conv2d | nn.Linear):
            largest = torch.linalg.matrix_norm(part.weight.flatten(1), 2).item()
            assert largest == pytest.approx(1.0, rel=0.05)  # 15 power iterations when built
