"""Diffusion of latents, against closed forms of Gaussians, quadrature, and Ho et al.'s formulas."""

import math
from functools import partial

import numpy as np
import pyro
import pytest
import torch
from torch import nn
from torch.distributions import Normal

from pyro_vae.app.results import evaluation
from pyro_vae.datasets import Split
from pyro_vae.distributions import cosine_noise, is_estimated, linear_noise, log_snr_noise
from pyro_vae.extras import import_diffusers
from pyro_vae.inference import (
    IWAE,
    Trace_ELBO,
    TraceMeanField_ELBO,
    evaluate,
    fit,
    log_likelihood,
    sample,
)
from pyro_vae.inference.terms import closed_kl, collect
from pyro_vae.models import VAE, LatentDiffusion, Refit
from pyro_vae.networks import MLP, TimeMLP, UNet
from pyro_vae.priors import DiffusionPrior, Rescaled, StandardNormal
from pyro_vae.sampling import sampling

from .twins import captured_like_eager

NOISES = {
    "cosine": cosine_noise,
    "linear": linear_noise,
    "log_snr": log_snr_noise,
}
NUMBERS = (0.05, 0.2, 0.6, 0.9)
small = partial(TimeMLP, hidden=16, layers=1)


@pytest.fixture(autouse=True)
def double():
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(before)


def awake(prior, std=0.3):
    """The prior with a network that is not 0, and variances that are not those of the noising."""
    nn.init.normal_(prior.chain.network.layers.last.linear.weight, std=std)
    nn.init.normal_(prior.chain.log_ratio, std=0.2)
    return prior


def prior_in_1d(noise=NUMBERS, std=0.3):
    return awake(DiffusionPrior(1, noise=noise, network=small), std)


class Optimal(nn.Module):
    """E[v | z_t] of z ~ N(loc, scale^2 I)."""

    def __init__(self, loc, scale):
        super().__init__()
        self.loc, self.scale = loc, scale

    def forward(self, z_t, log_snr):
        signal, noise = log_snr.sigmoid(), (-log_snr).sigmoid()
        slope = signal.sqrt() * self.scale**2 / (signal * self.scale**2 + noise)
        z = self.loc + slope * (z_t - signal.sqrt() * self.loc)
        e = (z_t - signal.sqrt() * z) / noise.sqrt()
        return signal.sqrt() * e - noise.sqrt() * z


def solved(loc, scale, noise):
    """A prior that is N(loc, scale^2 I) exactly: its reverse steps are those of the noising."""
    prior = DiffusionPrior(len(loc), noise=noise, network=Optimal(loc, scale))
    chain = prior.chain
    before, after = (
        s * scale**2 + n
        for s, n in ((chain.signal_before, chain.noise_before), (chain.signal, chain.noise))
    )
    chain.log_ratio.data = (before / after).log()
    return prior


def bound_in_1d(chain, z):
    """-L_T - ... - L_0 of Ho et al., equation 5, for z (N,), by Gauss-Hermite quadrature over e."""
    e, weights = (torch.as_tensor(a) for a in np.polynomial.hermite_e.hermegauss(200))
    weights = weights / weights.sum()
    abar, variance = chain.signal, chain.beta * chain.log_ratio.exp()
    total = (abar[-1] * z**2 - abar[-1] - (1 - abar[-1]).log()) / 2
    for i in range(len(chain)):
        alpha, beta = chain.alpha[i], chain.beta[i]
        z_t = abar[i].sqrt() * z[:, None] + (1 - abar[i]).sqrt() * e
        v = chain.network(z_t[..., None], chain.log_snr[i].expand(*z_t.shape, 1))[..., 0]
        e_hat = (1 - abar[i]).sqrt() * z_t + abar[i].sqrt() * v
        weight = beta**2 / (2 * variance[i] * alpha * (1 - abar[i]))
        total = total + weight * ((e - e_hat) ** 2 @ weights)
        if i == 0:
            total = total + (2 * math.pi * variance[i]).log() / 2
        else:
            ratio = beta * (1 - abar[i - 1]) / (1 - abar[i]) / variance[i]
            total = total + (ratio - 1 - ratio.log()) / 2
    return -total


@torch.no_grad()
def log_density_in_1d(chain, z):
    """log p(z_0) of the chain on a grid z, which all its densities lie in, by quadrature."""
    p = chain.last().log_prob(z[:, None]).exp()
    for t in range(len(chain), 0, -1):
        step = chain.denoised(z[:, None], t).base_dist
        density = Normal(step.loc[:, 0], step.scale).log_prob(z[:, None]).exp()  # (to, from)
        p = torch.trapezoid(density * p, z)
    return p.log()


GRID = torch.linspace(-9, 9, 1201, dtype=torch.float64)


def mixture(number):
    """Draws (number, 1) of N(-1, 0.3^2) / 2 + N(1, 0.3^2) / 2."""
    return torch.where(torch.rand(number, 1) < 0.5, -1.0, 1.0) + 0.3 * torch.randn(number, 1)


def log_mixture(z):
    return torch.stack([Normal(m, 0.3).log_prob(z) for m in (-1.0, 1.0)]).logsumexp(0) - math.log(2)


def binary(number):
    return (torch.rand(number, 1, 4, 4) < 0.3).to(torch.get_default_dtype())


def mean_and_error(values):
    return values.mean().item(), values.std().item() / math.sqrt(len(values))


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("steps", [1, 2, 10, 300])
@pytest.mark.parametrize("noise", NOISES)
def test_it_starts_as_the_standard_normal_for_every_z(noise, steps, training):
    prior = DiffusionPrior(3, steps=steps, noise=NOISES[noise]).train(training)
    z = 5 * torch.randn(7, 4, 3)
    torch.testing.assert_close(prior().log_prob(z), StandardNormal(3)().log_prob(z))


@pytest.mark.parametrize("program", [VAE, LatentDiffusion])
@pytest.mark.parametrize("steps", [1, 2, 10])
def test_its_elbo_starts_as_that_of_the_standard_normal(steps, program):
    """Of all draws alike: for LatentDiffusion log w is that of the VAE at z_0."""
    x, prior = binary(6), DiffusionPrior(3, steps=steps, noise=log_snr_noise)
    each = program((1, 4, 4), 3, prior=prior)
    one = VAE((1, 4, 4), 3, encoder=each.encoder, decoder=each.decoder)
    log_w = []
    for program_ in (each, one):
        pyro.set_rng_seed(0)
        t = collect(program_.model, program_.guide, (x,), {})
        log_w.append(t.log_w)
    torch.testing.assert_close(*log_w)


@pytest.mark.parametrize("noise", [(0.5, 1 - 1e-13), (*NUMBERS, 1 - 1e-13)])
def test_with_the_optimal_denoiser_every_draw_of_the_chain_weighs_its_density(noise):
    loc, scale = torch.tensor([0.7, -1.2]), 0.4
    program = LatentDiffusion((1, 4, 4), 2, prior=solved(loc, scale, noise))
    t = collect(program.model, program.guide, (binary(50),), {})
    z_0 = t.latents["z_0"]
    chain = t.log_w - t.log_px + z_0.log_q
    density = Normal(loc, scale).log_prob(z_0.z).sum(-1)
    torch.testing.assert_close(chain[0], density, rtol=0, atol=1e-4)


@pytest.mark.parametrize("training", [True, False])
def test_with_the_optimal_denoiser_the_bound_is_the_density(training):
    loc, scale = torch.tensor([0.7, -1.2]), 0.4
    prior = solved(loc, scale, (*NUMBERS, 1 - 1e-13)).train(training)
    z = torch.tensor([0.5, -0.6])
    mean, error = mean_and_error(prior().log_prob(z.expand(50_000, 2)).detach())
    assert abs(mean - Normal(loc, scale).log_prob(z).sum()) < 4 * error


@pytest.mark.parametrize("noise", [NUMBERS, (0.3,), tuple(cosine_noise(30).tolist())])
@pytest.mark.parametrize("drawn_steps", [1, 3, None])
def test_the_estimate_has_the_mean_of_the_papers_sum(drawn_steps, noise):
    prior, z = prior_in_1d(noise).eval(), torch.tensor([0.4, -2.0])
    prior.evaluation_steps = drawn_steps
    exact, number = bound_in_1d(prior.chain, z), 100_000 // (drawn_steps or len(noise))
    with torch.no_grad():
        log_p = prior().log_prob(z.repeat(number)[:, None]).reshape(-1, 2)
    for found, truth in zip(log_p.unbind(1), exact, strict=True):
        mean, error = mean_and_error(found)
        assert abs(mean - truth) < 4 * error


def test_the_bound_is_below_the_density_of_the_chain():
    chain = prior_in_1d().chain
    log_p = log_density_in_1d(chain, GRID)
    assert torch.trapezoid(log_p.exp(), GRID) == pytest.approx(1, abs=1e-6)
    inside = slice(300, 900, 10)  # |z| < 4.5
    gap = log_p[inside] - bound_in_1d(chain, GRID[inside])
    assert gap.min() > 0 and gap.max() < 3


def test_the_chain_and_the_estimate_have_one_elbo():
    prior = awake(DiffusionPrior(3, steps=5, network=small))
    chain = LatentDiffusion((1, 4, 4), 3, prior=prior)
    vae = VAE((1, 4, 4), 3, prior=prior, encoder=chain.encoder, decoder=chain.decoder)
    x = binary(1).expand(4000, 1, 4, 4)
    found = [mean_and_error(evaluate(p, x).bound) for p in (chain, vae)]
    (one, error_1), (other, error_2) = found
    assert abs(one - other) < 4 * math.hypot(error_1, error_2)


def test_closed_kls_of_the_chain_have_the_mean_of_drawn_ones():
    program = LatentDiffusion((1, 4, 4), 3, prior=awake(DiffusionPrior(3, steps=5, network=small)))
    x = binary(1).expand(4000, 1, 4, 4)
    with torch.no_grad():
        t = collect(program.model, program.guide, (x,), {})
    TraceMeanField_ELBO().check(t)
    drawn = t.log_w[0]
    closed = t.log_px[0] - sum(latent.kl()[0] for latent in t.latents.values())
    mean, error = mean_and_error(closed - drawn)
    assert abs(mean) < 4 * error
    is_closed = {name: closed_kl(z.q, z.p) is not None for name, z in t.latents.items()}
    assert is_closed == {f"z_{t}": t > 0 for t in range(6)}


def test_the_weights_of_the_chain_lead_to_the_evidence():
    """log p(x) of x ~ N(z_0, 1), with p(z_0) of the chain, by quadrature."""
    prior = prior_in_1d(std=0.1)

    class Decoded(nn.Module):
        x_shape, param_shape = (1,), (1,)

        def forward(self, h):
            return pyro.distributions.Normal(h, 1.0).to_event(1)

    identity = nn.Identity()
    program = LatentDiffusion((1,), 1, prior=prior, likelihood=Decoded(), decoder=identity)
    x = torch.tensor([[0.3], [-1.5]])
    log_p = log_density_in_1d(prior.chain, GRID)
    joint = log_p + Normal(GRID, 1.0).log_prob(x)
    evidence = torch.trapezoid(joint.exp(), GRID).log()
    with torch.no_grad():
        w = collect(program.model, program.guide, (x,), {}, num_particles=20_000).log_w.exp()
    error = w.std(0) / w.mean(0) / math.sqrt(20_000)
    assert ((w.mean(0).log() - evidence).abs() < 4 * error).all() and error.max() < 0.05
    found = log_likelihood(program, x, 20_000)
    torch.testing.assert_close(found, evidence, rtol=0, atol=0.1)


def test_a_short_training_comes_near_the_entropy_of_a_mixture():
    """The best bound of 50 steps is 0.026 below, by quadrature with the optimal denoiser."""
    torch.set_default_dtype(torch.float32)
    prior = DiffusionPrior(1, steps=50, network=partial(TimeMLP, hidden=32))
    adam = torch.optim.Adam(prior.parameters(), lr=5e-3)
    for _ in range(300):
        adam.zero_grad()
        (-prior().log_prob(mixture(512)).mean()).backward()
        adam.step()
    z = mixture(2000)
    with torch.no_grad():
        bound, error = mean_and_error(prior.eval()().log_prob(z) - log_mixture(z[:, 0]))
    assert -0.1 < bound < 4 * error
    normal = (StandardNormal(1)().log_prob(z) - log_mixture(z[:, 0])).mean()
    assert normal < -0.5


@pytest.mark.parametrize("training", [True, False])
def test_the_gradient_in_z_is_that_of_finite_differences(training):
    prior = awake(DiffusionPrior(2, steps=6, network=small)).train(training)
    prior.requires_grad_(False)

    def log_prob(z):
        torch.manual_seed(3)
        return prior().log_prob(z)

    assert torch.autograd.gradcheck(log_prob, torch.randn(4, 2, requires_grad=True))


@pytest.mark.parametrize("training", [True, False])
def test_draws_of_a_solved_chain_are_those_of_its_density(training):
    loc = torch.tensor([0.7, -1.2])
    prior = solved(loc, 0.4, (*NUMBERS, 1 - 1e-13)).train(training)
    z = prior().sample((20_000,))
    torch.testing.assert_close(z.mean(0), loc, rtol=0, atol=4 * 0.4 / math.sqrt(20_000))
    torch.testing.assert_close(z.std(0), torch.full((2,), 0.4), rtol=0.02, atol=0)


def test_fewer_steps_without_noise_draw_about_the_same():
    prior = solved(torch.tensor([0.7, -1.2]), 0.4, cosine_noise(1000))
    with sampling(ddim_steps=50):
        z = prior().sample((20_000,))
    torch.testing.assert_close(z.mean(0), torch.tensor([0.7, -1.2]), rtol=0, atol=0.05)
    torch.testing.assert_close(z.std(0), torch.full((2,), 0.4), rtol=0.1, atol=0)


def test_a_step_without_noise_is_that_of_diffusers():
    chain, z = awake(DiffusionPrior(3, steps=10, network=small)).chain, torch.randn(5, 3)
    scheduler = import_diffusers().DDIMScheduler(
        10, trained_betas=chain.beta.numpy(), prediction_type="v_prediction", clip_sample=False
    )
    scheduler.set_timesteps(10)
    for t in range(10, 0, -1):
        v = chain.v(z, chain.log_snr[t - 1])
        after = chain.skip(z, t, t - 1)
        torch.testing.assert_close(
            scheduler.step(v, t - 1, z).prev_sample, after, rtol=1e-4, atol=1e-4
        )
        z = after


def test_a_step_of_the_model_is_that_of_diffusers():
    chain, z = DiffusionPrior(3, steps=10, network=small).chain, torch.randn(5, 3)
    nn.init.normal_(chain.network.layers.last.linear.weight, std=0.3)
    scheduler = import_diffusers().DDPMScheduler(
        10,
        trained_betas=chain.beta.numpy(),
        prediction_type="v_prediction",
        clip_sample=False,
        variance_type="fixed_large",
    )
    for t in range(10, 1, -1):
        v = chain.v(z, chain.log_snr[t - 1])
        torch.manual_seed(t)
        theirs = scheduler.step(v, t - 1, z).prev_sample
        torch.manual_seed(t)
        step = chain.denoised(z, t).base_dist
        ours = step.loc + step.scale * torch.randn(5, 3)
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("steps", [10, 1000])
def test_the_schedules_are_those_of_diffusers(steps):
    scheduler = import_diffusers().DDPMScheduler(steps, beta_schedule="squaredcos_cap_v2")
    theirs = 1 - scheduler.alphas_cumprod.double()
    torch.testing.assert_close(cosine_noise(steps), theirs, rtol=0, atol=1e-6)
    if steps == 1000:
        theirs = 1 - import_diffusers().DDPMScheduler(1000).alphas_cumprod.double()
        torch.testing.assert_close(linear_noise(steps), theirs, rtol=0, atol=1e-6)


def test_log_ratios_fall_by_the_same_at_each_step():
    noise = log_snr_noise(8, highest=5.0, lowest=-2.0)
    torch.testing.assert_close(-noise.logit(), torch.linspace(5, -2, 8))


def test_all_steps_are_summed_in_calls_of_bounded_size():
    rows = []

    class Counting(nn.Module):
        def forward(self, z_t, log_snr):
            rows.append(z_t.shape[:-1].numel())
            return torch.zeros_like(z_t)

    prior = DiffusionPrior(64, steps=100, network=Counting()).eval()
    prior().log_prob(torch.randn(500, 64))
    assert sum(rows) == 500 * 100 and max(rows) * 64 <= 2**16 and len(rows) > 1
    rows.clear()
    prior.train()().log_prob(torch.randn(500, 64))
    assert rows == [500]


def test_some_steps_are_drawn_for_each_z_where_that_is_asked_for():
    prior = DiffusionPrior(2, steps=8, network=small, drawn_steps=2, evaluation_steps=4)
    rows = counted(prior)
    for training, number in ((True, 2), (False, 4)):
        prior.train(training)().log_prob(torch.randn(30, 2))
        assert rows == [number * 30]
        rows.clear()


def test_more_drawn_steps_make_the_estimate_less_noisy():
    prior, z = prior_in_1d(cosine_noise(30)), torch.full((20_000, 1), 0.4)
    noise = []
    for prior.drawn_steps in (1, 4):
        noise.append(prior().log_prob(z).detach().std())
    assert noise[1] < 0.6 * noise[0]


def counted(prior):
    """The number of z in each call of the prior's network, as a list that grows."""
    rows, network = [], prior.chain.network
    network.register_forward_pre_hook(lambda _, x: rows.append(x[0].shape[:-1].numel()))
    return rows


def untrained(program, x, **options):
    """The record of an epoch of validation on x, after a step that changes nothing."""
    adam = pyro.optim.Adam({"lr": 1e-30})
    return fit(program, x[:10], optim=adam, steps=1, valid=x, progress=False, **options).records[0]


@pytest.mark.parametrize("number, drawn", [(10_000, 1), (4_000, 3), (600, 10)])
def test_validation_draws_ten_thousand_steps_in_all_and_evaluation_sums_all(number, drawn):
    prior = DiffusionPrior(2, steps=10, network=small)
    program, x = VAE((1, 4, 4), 2, prior=prior, hidden=(8,)), binary(number)
    rows = counted(prior)
    untrained(program, x, compile=False)
    passes = (sum(rows) - 20) / (drawn * number)  # of the loss, rate and distortion, and looks
    assert 3 <= passes <= 4
    rows.clear()
    evaluate(program, x)
    assert sum(rows) >= 10 * number


def test_a_command_evaluates_one_draw_of_each_datum_and_ten_under_other_priors():
    rows = []
    for prior in (DiffusionPrior(2, steps=10, network=small), StandardNormal(2)):
        program, seen = VAE((1, 4, 4), 2, prior=prior, hidden=(8,)), []
        program.decoder.register_forward_pre_hook(lambda _, z, seen=seen: seen.append(len(z[0])))
        evaluation(program, Split(binary(600)))
        rows.append(sum(seen))
    assert rows[0] < 3 * 600 and rows[1] >= 10 * 600


def test_the_loss_of_the_validation_has_the_mean_of_the_evaluation():
    prior = awake(DiffusionPrior(2, steps=10, network=small), std=1.0)
    program, x = VAE((1, 4, 4), 2, prior=prior, hidden=(8,)), binary(20_000)
    record, exact = untrained(program, x, compile=False), evaluate(program, x).bound
    prior.evaluation_steps = 1
    _, error = mean_and_error(evaluate(program, x).bound)
    assert exact.std() / math.sqrt(len(x)) < 0.9 * error < 0.2
    for loss in (record["valid_loss"], record["rate"] + record["distortion"]):
        assert abs(loss + exact.mean()) < 4 * math.sqrt(2) * error


def test_the_chain_is_captured_bit_for_bit():
    torch.set_default_dtype(torch.float32)
    program = LatentDiffusion((1, 4, 4), 3, prior=DiffusionPrior(3, steps=3, network=small))
    captured_like_eager(program, TraceMeanField_ELBO(), steps=5)


def test_a_prior_of_maps_is_captured_bit_for_bit():
    torch.set_default_dtype(torch.float32)
    prior = DiffusionPrior((2, 2, 2), steps=10, network=partial(UNet, channels=(4, 4)))
    program = VAE((1, 4, 4), (2, 2, 2), prior=prior, hidden=(8,))
    captured_like_eager(program, Trace_ELBO(), steps=3)


def test_the_u_net_has_the_parameters_of_its_counterpart():
    prior = DiffusionPrior((4, 8, 8), steps=5)
    assert isinstance(prior.chain.network, UNet)
    assert sum(p.numel() for p in prior.chain.network.parameters()) == 703_076


def test_any_network_of_the_two_inputs_serves():
    prior = DiffusionPrior(3, steps=5, network=partial(MLP, hidden=(8,)))
    assert prior().log_prob(torch.randn(2, 4, 3)).isfinite().all()


def test_a_trained_vae_gets_it_as_a_second_stage():
    torch.set_default_dtype(torch.float32)
    x = binary(200)
    vae = VAE((1, 4, 4), 2, hidden=(8,))
    fit(vae, x, epochs=2, progress=False)
    program = Refit(vae, prior=DiffusionPrior(2, steps=10, network=small))
    pyro.set_rng_seed(0)
    before = evaluate(program, x).bound
    pyro.set_rng_seed(0)
    torch.testing.assert_close(before, evaluate(vae, x).bound)
    fit(program, x, epochs=2, progress=False)
    assert program.program.prior.chain.log_ratio.any()
    assert sample(program, 4, (1, 4, 4), ddim_steps=3).shape == (4, 1, 4, 4)


@pytest.mark.parametrize("second_stage", [True, False])
def test_what_is_not_linear_in_log_p_refuses_it(second_stage):
    prior, x = DiffusionPrior(2, steps=10, network=small), binary(5)
    program = VAE((1, 4, 4), 2, prior=prior)
    if second_stage:
        program = Refit(VAE((1, 4, 4), 2), prior=prior)
    with pytest.raises(ValueError, match="IWAE is not linear in log p.*DiffusionDistribution"):
        IWAE(3).loss(program.model, program.guide, x)
    with pytest.raises(ValueError, match="log_likelihood is not linear in log p"):
        log_likelihood(program, x, 5)


def test_in_other_units_it_starts_as_a_normal_and_is_known_for_an_estimate():
    p = Rescaled(2, prior=DiffusionPrior(2, steps=10, network=small), loc=0.5, scale=3.0)()
    z = torch.randn(5, 2)
    torch.testing.assert_close(p.log_prob(z), Normal(0.5, 3.0).log_prob(z).sum(-1))
    assert is_estimated(p)


def test_the_variances_are_learned():
    """Of N(0, s^2 I) with s = 0.5 each falls towards v_t-1 / v_t, where the chain is exact."""
    prior = solved(torch.zeros(2), 0.5, NUMBERS)
    best = prior.chain.log_ratio.detach().clone()
    nn.init.zeros_(prior.chain.log_ratio)
    adam = torch.optim.Adam([prior.chain.log_ratio], lr=0.02)
    for _ in range(400):
        adam.zero_grad()
        (-prior().log_prob(0.5 * torch.randn(500, 2)).mean()).backward()
        adam.step()
    torch.testing.assert_close(prior.chain.log_ratio.detach(), best, rtol=0, atol=0.05)


@pytest.mark.parametrize(
    "make, sentence",
    [
        (lambda: DiffusionPrior(3, steps=0), "steps must be at least 1, but is 0"),
        (lambda: DiffusionPrior(3, steps=2.5), "steps must be a whole number, but is 2.5"),
        (lambda: DiffusionPrior(3, noise=0.5), "or a function of the steps, such as cosine_noise"),
        (lambda: DiffusionPrior(3, noise=(0.1, 0.1)), "noise must grow at each .* is 0.1, 0.1; it"),
        (lambda: DiffusionPrior(3, noise=(0.0, 0.1)), "from above 0 to below 1, but is 0, 0.1"),
        (lambda: DiffusionPrior(3, noise=(0.1, 1.0)), "must grow at each step"),
        (lambda: DiffusionPrior(3, noise=(0.1, math.nan)), "must grow at each step"),
        (lambda: DiffusionPrior(3, noise=()), "one number for each of some steps"),
        (lambda: DiffusionPrior(3, steps=3, noise=(0.1, 0.2)), r"of 3 steps, but has the .*\(2,\)"),
        (lambda: DiffusionPrior((4, 7, 7)), "halves its maps 1 times, but 2 does not divide 7"),
        (lambda: DiffusionPrior(3, network=MLP((3,), (3,))), "network's in_shape|several"),
        (lambda: UNet(((4, 8, 8), (1,)), (4, 8, 8), groups=3), "3 do not divide all of"),
        (lambda: UNet((4, 8, 8), (4, 8, 8)), "maps and their noise level"),
        (lambda: VAE((1, 4, 4), 3, prior=DiffusionPrior(4)), "prior's latent_dim is"),
        (lambda: DiffusionPrior(3, steps=5, drawn_steps=0), "drawn_steps must be at least 1"),
        (
            lambda: DiffusionPrior(3, steps=5, evaluation_steps=6),
            "^evaluation_steps is 6, but the diffusion has 5 steps; give at most as many$",
        ),
    ],
)
def test_bad_input_is_refused_in_a_sentence(make, sentence):
    with pytest.raises(ValueError, match=sentence):
        make()


def test_a_missing_extra_is_said(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "diffusers", None)
    with pytest.raises(ValueError, match=r"pip install 'pyro-vae\[diffusers\]'"):
        DiffusionPrior((4, 8, 8))
    assert DiffusionPrior((4, 8, 8), network=small)


def test_a_chain_of_another_prior_is_refused():
    with pytest.raises(TypeError, match="is a StandardNormal, but must be a DiffusionPrior"):
        LatentDiffusion((1, 4, 4), 3, prior=StandardNormal(3))


def test_steps_are_refused_where_no_diffusion_draws_or_has_so_many():
    prior = DiffusionPrior(3, steps=5, network=small)
    with pytest.raises(ValueError, match="^ddim_steps is 6, but this diffusion has 5 .* many$"):
        sample(VAE((1, 4, 4), 3, prior=prior), 4, (1, 4, 4), ddim_steps=6)
    with pytest.raises(ValueError, match="ddim_steps must be at least 1"):
        sample(VAE((1, 4, 4), 3, prior=prior), 4, (1, 4, 4), ddim_steps=0)
    with pytest.raises(ValueError, match="ddim_steps must be a whole number, but is 2.5"):
        sample(VAE((1, 4, 4), 3, prior=prior), 4, (1, 4, 4), ddim_steps=2.5)
    with pytest.raises(ValueError, match="for a DiffusionPrior, and this program has none"):
        sample(VAE((1, 4, 4), 3), 4, (1, 4, 4), ddim_steps=3)


def test_a_prior_is_trained_judged_and_sampled_by_commands(run):
    torch.set_default_dtype(torch.float32)
    prior = "DiffusionPrior(2, steps=10, noise=log_snr_noise, network=partial(TimeMLP, hidden=8))"
    assert (
        run(
            "train",
            "VAE(latent_dim=2, hidden=(8,))",
            "--no-compile",
            "--steps",
            1,
            "--out",
            "first",
        )[0]
        == 0
    )
    second = f"Refit(load('first'), prior={prior})"
    assert run("train", second, "--no-compile", "--steps", 1, "--out", "second")[::2] == (0, "")
    code, out, _ = run("evaluate", "second")
    assert code == 0 and "bound" in out and "no log_likelihood" in out
    assert run("sample", "second", "-n", 4, "--ddim-steps", 3)[::2] == (0, "")
    code, _, error = run("sample", "first", "--ddim-steps", 3)
    assert code == 2 and "this program has none" in error
