"""The two-level VAE, against a linear-Gaussian one whose evidence is a Normal density."""

import math

import pytest
import torch
from torch import nn

from pyro_vae import likelihoods, networks, posteriors, priors
from pyro_vae.inference import IWAE, STL, DReG, Trace_ELBO, TraceMeanField_ELBO, log_likelihood
from pyro_vae.inference.checking import check
from pyro_vae.models import HVAE

from .twins import captured_like_eager

X_SHAPE = (1, 4, 4)
X = torch.randn(7, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


class Affine(nn.Module):
    """(weight v + bias, log_scale) for the inputs v, one after the other."""

    def __init__(self, weight, bias, log_scale=None):
        super().__init__()
        self.weight, self.bias, self.log_scale = weight, bias, log_scale

    def forward(self, *inputs):
        shape = torch.broadcast_shapes(*(v.shape[:-1] for v in inputs))
        v = torch.cat([v.expand(*shape, -1) for v in inputs], -1)
        loc = v @ self.weight.mT + self.bias
        if self.log_scale is None:
            return loc
        return torch.stack([loc, self.log_scale.expand_as(loc)], -2)


def linear(widened=1.0):
    """An HVAE of affine maps, with the guide at the posterior, or wider; and log p(x)."""
    A, a, B, b = (
        torch.tensor(v, dtype=torch.float64)
        for v in ([[0.8]], [0.3], [[1.0, -0.5], [0.4, 0.9], [-0.7, 0.2]], [0.1, -0.2, 0.3])
    )
    scale_1, scale_x = torch.tensor(0.6, dtype=torch.float64), 0.7
    # (z_1, z_2, x) is a linear map of independent N(0, 1), plus a constant.
    to_z = torch.cat([torch.stack([scale_1, A[0, 0]])[None], torch.tensor([[0.0, 1.0]])])
    mixing = torch.cat(
        [
            torch.cat([to_z, torch.zeros(2, 3)], 1),
            torch.cat([B @ to_z, scale_x * torch.eye(3).double()], 1),
        ]
    )
    loc = torch.cat([a, torch.zeros(1), B[:, 0] * a + b])
    joint = mixing @ mixing.mT

    def given(i, others):
        """The affine map and log_scale of entry i of (z_1, z_2, x) given others."""
        gain = torch.linalg.solve(joint[others][:, others], joint[others, i])[None]
        variance = joint[i, i] - gain[0] @ joint[others, i]
        return Affine(gain, loc[i] - gain @ loc[others], variance.sqrt().log() + math.log(widened))

    likelihood = likelihoods.Normal((3,)).double()
    nn.init.constant_(likelihood.log_scale, math.log(scale_x))
    program = HVAE(
        (3,),
        (1, 1),
        likelihood=likelihood,
        posterior_1=posteriors.DiagonalNormal(1),
        posterior_2=posteriors.DiagonalNormal(1),
        encoder_2=given(1, [2, 3, 4]),
        encoder_1=given(0, [2, 3, 4, 1]),
        decoder_2=Affine(A, a, scale_1.log()),
        decoder=Affine(B, b),
    ).double()
    evidence = torch.distributions.MultivariateNormal(loc[2:], joint[2:, 2:]).log_prob(X)
    return program, evidence


@pytest.mark.parametrize("loss", [Trace_ELBO(), STL(), IWAE(3), DReG(3)], ids=repr)
def test_every_bound_at_the_exact_posterior_is_the_evidence(loss):
    program, evidence = linear()
    found = loss.loss(program.model, program.guide, X)
    assert found == pytest.approx(-evidence.sum().item(), rel=1e-12)


def test_the_log_likelihood_converges_to_the_evidence():
    program, evidence = linear(widened=1.5)
    found = log_likelihood(program, X, 20_000)
    # q is 1.5 times as wide in both latents: E[w^2] / p(x)^2 = (1.5^2 / sqrt(2 * 1.5^2 - 1))^2.
    deviation = math.sqrt(1.5**4 / (2 * 1.5**2 - 1) - 1)
    torch.testing.assert_close(found, evidence, atol=4 * deviation / math.sqrt(20_000), rtol=0)


def test_the_analytic_kl_takes_a_top_down_guide():
    program, evidence = linear(widened=1.5)
    loss = TraceMeanField_ELBO(20_000, vectorize_particles=True)
    # KL(q || p(z | x)) of two Normals of one mean, 1.5 times as wide: exact, the same for all x.
    gap = 2 * (1.5**2 / 2 - 0.5 - math.log(1.5))
    found = loss.loss(program.model, program.guide, X) / len(X)
    assert found == pytest.approx(gap - evidence.mean().item(), abs=0.05)  # s.e. below 0.01


@pytest.mark.parametrize(
    "loss",
    [Trace_ELBO(), TraceMeanField_ELBO(), STL(), IWAE(3), DReG(3)],
    ids=lambda loss: type(loss).__name__,
)
def test_a_captured_step_is_the_eager_one_bit_for_bit(loss):
    prior = priors.VampPrior(3, x_shape=X_SHAPE, components=5)
    captured_like_eager(HVAE(X_SHAPE, (4, 3), prior=prior, hidden=(8, 8)), loss)


def test_a_vamp_prior_is_the_mean_of_the_posteriors_of_z_2():
    u = torch.rand(5, *X_SHAPE)
    prior = priors.VampPrior(3, x_shape=X_SHAPE, pseudo_inputs=u)
    program = HVAE(X_SHAPE, (4, 3), prior=prior, hidden=(8, 8))
    z = torch.randn(2, 3)
    components = program.posterior_2(program.encoder_2(u)).log_prob(z[:, None])
    torch.testing.assert_close(prior().log_prob(z), components.logsumexp(1) - math.log(5))


def test_it_starts_within_reach_of_training():
    """He's initial weights make log_scale of 784 pixels as large as 10, were it not bounded."""
    x = (torch.rand(50, 1, 28, 28) < 0.2).float()
    assert check(HVAE((1, 28, 28)), x).loss < 3000


@pytest.mark.parametrize(
    "parts, sentence",
    [
        ({"latent_dims": (4, 3, 2)}, r"latent_dims is \(4, 3, 2\); take HierarchicalVAE"),
        ({"hidden": (8,)}, r"hidden is \(8,\), but.*two hidden layers"),
        ({"prior": priors.StandardNormal(4)}, r"prior's latent_dim is \(4,\).*needs \(3,\)"),
        ({"posterior_1": posteriors.DiagonalNormal(3)}, r"posterior_1's .*\(3,\).*needs \(4,\)"),
        ({"encoder_2": networks.MLP(X_SHAPE, (3,))}, r"out_shape is \(3,\).*needs \(2, 3\)"),
        ({"decoder": networks.MLP((3,), X_SHAPE)}, r"in_shape is \(3,\).*\(\(4,\), \(3,\)\)"),
        ({"likelihood": likelihoods.Normal((5,))}, r"x_shape is \(5,\).*\(1, 4, 4\)"),
    ],
)
def test_parts_that_do_not_fit_are_refused(parts, sentence):
    with pytest.raises(ValueError, match=sentence):
        HVAE(X_SHAPE, **{"latent_dims": (4, 3)} | parts)
