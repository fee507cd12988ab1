"""The deep Markov model, against the Kalman filter where it is linear and Gaussian."""

import math

import pyro
import pytest
import torch
from pyro import poutine
from torch import nn

from pyro_vae import likelihoods, priors
from pyro_vae.datasets import digit_columns
from pyro_vae.inference import (
    IWAE,
    STL,
    SVI,
    DReG,
    Trace_ELBO,
    TraceMeanField_ELBO,
    log_likelihood,
    reconstruct,
    sample,
)
from pyro_vae.inference.checking import check
from pyro_vae.models import DeepMarkovModel

from .twins import captured_like_eager

A, Q, SIGMA = 0.8, 0.5, 0.7  # z_t = A z_t-1 + Q noise;  x_t = B z_t + b + SIGMA noise
B, b = torch.tensor([[1.2, -0.6], [0.3, 0.1]], dtype=torch.float64)
LENGTHS = (4, 2, 3, 1)
X = torch.randn(4, 4, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
for i, length in enumerate(LENGTHS):
    X[i, length:] = torch.nan


def kalman(x):
    """Log p(x_1, ..., x_T) by prediction and update."""
    loc, variance, log_p = torch.zeros(1).double(), torch.eye(1).double(), 0.0
    H = B[:, None]
    for t, x_t in enumerate(x):
        if t:
            loc, variance = A * loc, A**2 * variance + Q**2
        covariance = H @ variance @ H.mT + SIGMA**2 * torch.eye(2).double()
        p = torch.distributions.MultivariateNormal(H @ loc + b, covariance)
        log_p = log_p + p.log_prob(x_t)
        gain = variance @ H.mT @ torch.linalg.inv(covariance)
        loc, variance = loc + gain @ (x_t - p.loc), variance - gain @ H @ variance
    return log_p


EVIDENCE = torch.stack([kalman(x[:n]) for x, n in zip(X, LENGTHS, strict=True)])


class Backward(nn.Module):
    """p(x_t, ..., x_T | z_t) as a function of z_t: precision, information; then z_t's prior."""

    def forward(self, x):
        precision = information = torch.zeros(len(x)).double()
        found = []
        for t in reversed(range(x.shape[1])):
            gone = 1 + Q**2 * precision  # x_t+1:T seen from z_t, through the transition
            precision, information = A**2 * precision / gone, A * information / gone
            lasts = ~x[:, t].isnan().any(-1)
            residual = (x[:, t] - b).nan_to_num()
            precision = precision + lasts * B.square().sum() / SIGMA**2
            information = information + residual @ B / SIGMA**2
            a, variance = (A, Q**2) if t else (0.0, 1.0)
            of_z = torch.tensor([a, variance], dtype=torch.float64).expand(len(x), 2)
            found.append(torch.cat([torch.stack([precision, information], -1), of_z], -1))
        return torch.stack(found[::-1], 1)


class Exact(nn.Module):
    """p(z_t | z_t-1, x_t, ..., x_T), or wider."""

    def __init__(self, widened):
        super().__init__()
        self.widened = widened

    def forward(self, z, h):
        precision, information, a, variance = h[..., None].unbind(-2)
        total = precision + 1 / variance
        loc = (information + a * z / variance) / total
        return torch.stack([loc, (math.log(self.widened) - total.log() / 2).expand_as(loc)], -2)


def linear(widened=1.0):
    likelihood = likelihoods.Normal((2,))
    program = DeepMarkovModel(
        (4, 2),
        1,
        hidden=(),
        rnn_dim=4,
        emission=likelihood,
        transition=nn.Sequential(nn.Linear(1, 2), nn.Unflatten(-1, (2, 1))),
        encoder=Backward(),
        combiner=Exact(widened),
    ).double()
    with torch.no_grad():
        program.transition[0].weight.copy_(torch.tensor([[A], [0.0]], dtype=torch.float64))
        program.transition[0].bias.copy_(torch.tensor([0.0, math.log(Q)], dtype=torch.float64))
        program.decoder.layers[0].weight.copy_(B[:, None])
        program.decoder.layers[0].bias.copy_(b)
        likelihood.log_scale.fill_(math.log(SIGMA))
    return program


def padded(num=6, steps=5):
    """Binary sequences of lengths 1 to `steps`."""
    x = (torch.rand(num, steps, 3) < 0.5).float()
    for i in range(num):
        x[i, 1 + i % steps :] = torch.nan
    return x


def small(steps=5):
    return DeepMarkovModel((steps, 3), 2, hidden=(8,), rnn_dim=7)


@pytest.mark.parametrize("loss", [Trace_ELBO(), STL(), IWAE(3), DReG(3)], ids=repr)
def test_every_bound_at_the_exact_posterior_is_the_kalman_filters_evidence(loss):
    program = linear()
    found = loss.loss(program.model, program.guide, X)
    assert found == pytest.approx(-EVIDENCE.sum().item(), rel=1e-12)


def test_the_log_likelihood_converges_to_the_kalman_filters_evidence():
    found = log_likelihood(linear(widened=1.3), X, 20_000)
    # q is 1.3 times as wide in each latent, and E[w^2] / p(x)^2 a product over the steps.
    each = 1.3**2 / math.sqrt(2 * 1.3**2 - 1)
    errors = torch.tensor([math.sqrt((each**n - 1) / 20_000) for n in LENGTHS])
    assert ((found - EVIDENCE).abs() < 4 * errors).all()


def test_the_analytic_kl_takes_the_guide():
    gap = sum(LENGTHS) * (1.3**2 / 2 - 0.5 - math.log(1.3))
    program = linear(widened=1.3)
    loss = TraceMeanField_ELBO(10_000, vectorize_particles=True)
    found = loss.loss(program.model, program.guide, X)
    # A draw's loss varies by less than 2 for each of the ten steps.
    assert found == pytest.approx(gap - EVIDENCE.sum().item(), abs=4 * 2 * 10**0.5 / 100)


def test_a_padded_batch_gives_each_sequence_what_it_gives_alone():
    x, program = padded(), small()
    guide = poutine.trace(program.guide).get_trace(x)
    model = poutine.trace(poutine.replay(program.model, trace=guide)).get_trace(x)
    z = {f"z_{t}": guide.nodes[f"z_{t}"]["value"] for t in range(1, 6)}
    for trace in (guide, model):
        trace.compute_log_prob()
    for i in range(len(x)):
        length = 1 + i % 5
        alone = small(length)
        alone.load_state_dict(program.state_dict())
        own = {f"z_{t}": z[f"z_{t}"][i : i + 1] for t in range(1, length + 1)}
        for role, trace in (("guide", guide), ("model", model)):
            sites = [s for s in trace.nodes.values() if "log_prob" in s and s["name"] != "data"]
            found = sum(site["log_prob"][i] for site in sites)
            conditioned = poutine.condition(getattr(alone, role), data=own)
            expected = poutine.trace(conditioned).get_trace(x[i : i + 1, :length]).log_prob_sum()
            torch.testing.assert_close(found, expected)


def test_missing_entries_before_the_end_are_left_out_and_their_latents_kept():
    program, x = small(3), torch.ones(1, 3, 3)
    x[0, 1] = x[0, 0, 2] = torch.nan
    guide = poutine.trace(program.guide).get_trace(x)
    model = poutine.trace(poutine.replay(program.model, trace=guide)).get_trace(x)
    model.compute_log_prob()
    assert all(model.nodes[f"z_{t}"]["log_prob"].abs() > 0 for t in (1, 2, 3))
    z = torch.stack([guide.nodes[f"z_{t}"]["value"] for t in (1, 2, 3)], 1)
    log_p = torch.nn.functional.logsigmoid(program.decoder(z))[0]
    expected = log_p[0, :2].sum() + log_p[2].sum()
    torch.testing.assert_close(model.nodes["x"]["log_prob"][0], expected)


def test_padding_makes_no_gradient_nan_and_passes_the_preflight():
    x, program = padded(), small()
    report = check(program, x)
    assert [site.name for site in report.sites] == [*(f"z_{t}" for t in range(1, 6)), "x"]
    Trace_ELBO().differentiable_loss(program.model, program.guide, x).backward()
    assert all(p.grad.isfinite().all() and p.grad.abs().sum() > 0 for p in program.parameters())


def test_samples_and_reconstructions_have_all_steps():
    program = small()
    assert sample(program, 4, (5, 3)).shape == (4, 5, 3)
    found = reconstruct(program, padded())
    assert found.shape == (6, 5, 3) and found.isfinite().all()


def test_the_transition_starts_between_a_random_walk_and_its_proposal():
    transition = small().transition
    z = torch.randn(4, 2)
    gate, proposal = transition.gate(z).sigmoid(), transition.proposal(z)
    torch.testing.assert_close(transition(z)[:, 0], (1 - gate) * z + gate * proposal)


@pytest.mark.parametrize(
    "loss",
    [Trace_ELBO(), TraceMeanField_ELBO(), STL(), DReG(3)],
    ids=lambda loss: type(loss).__name__,
)
def test_a_captured_step_is_the_eager_one_bit_for_bit(loss):
    captured_like_eager(small(3), loss, steps=5, batches=[padded(steps=3)])


def test_it_learns_more_of_the_columns_of_digits_than_how_often_each_pixel_is_on():
    x = digit_columns(binarize="static", ragged=True).train.x[:1280]
    program = DeepMarkovModel((8, 8), 4, hidden=(32,), rnn_dim=32)
    svi = SVI(program.model, program.guide, pyro.optim.Adam({"lr": 1e-2}))
    losses = [svi.step(batch).item() / 128 for _ in range(6) for batch in x.split(128)]
    p = torch.distributions.Bernoulli(x.nanmean((0, 1)).clamp(0.01, 0.99), validate_args=False)
    entropy = -p.log_prob(x).nansum() / len(x)  # 36.2, at its best without latents
    assert sum(losses[-10:]) / 10 < entropy - 2


@pytest.mark.parametrize(
    "x_shape, parts, sentence",
    [
        ((), {}, r"x_shape is \(\), but a sequence needs a first dimension"),
        ((5, 3), {"prior": priors.StandardNormal(4)}, r"latent_dim is \(4,\).*needs \(2,\)"),
        ((5, 3), {"emission": likelihoods.Normal((5, 3))}, r"is \(5, 3\).*needs \(3,\)"),
        ((5, 3), {"emission": likelihoods.OptimalNormal((3,))}, "no density for each entry"),
    ],
)
def test_parts_that_do_not_fit_are_refused(x_shape, parts, sentence):
    with pytest.raises(ValueError, match=sentence):
        DeepMarkovModel(x_shape, 2, **parts)
