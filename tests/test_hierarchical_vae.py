"""The hierarchical VAE, against a linear-Gaussian chain whose evidence is a Normal density."""

import math

import pytest
import torch
from torch import nn

from pyro_vae import likelihoods, networks, posteriors, priors
from pyro_vae.inference import IWAE, STL, DReG, Trace_ELBO, TraceMeanField_ELBO, log_likelihood
from pyro_vae.inference.checking import check
from pyro_vae.models import HierarchicalVAE

from .twins import captured_like_eager

X_SHAPE = (1, 4, 4)
X = torch.randn(7, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


@torch.no_grad()
def set_affine(network, weight, bias):
    """Makes an MLP without hidden layers the map of v to weight v + bias, rows of 0 appended."""
    (layer,) = network.layers
    layer.weight.zero_()[: len(weight)] = weight
    layer.bias.copy_(torch.cat([torch.as_tensor(b).reshape(-1) for b in bias]))


def triangle(covariance):
    """What `FullNormal` takes for a covariance: the rows of L, its diagonal as logarithms."""
    tril = torch.linalg.cholesky(covariance)
    rows, columns = torch.tril_indices(len(tril), len(tril))
    return (tril.tril(-1) + tril.diagonal().log().diag())[rows, columns]


def chain(widened=1.0):
    """z_2 -> z_1 -> x, all affine, with the guide at the posterior, or wider; and log p(x)."""
    likelihood, full = likelihoods.Normal((3,)), posteriors.FullNormal
    program = HierarchicalVAE((3,), (2, 1), hidden=(), likelihood=likelihood, posterior=full)
    program = program.double()
    nn.init.constant_(likelihood.log_scale, math.log(0.7))
    generator = torch.Generator().manual_seed(1)
    A, a, B, b = (
        torch.randn(*size, generator=generator, dtype=torch.float64)
        for size in ((2, 1), (2,), (3, 2), (3,))
    )
    log_scale = torch.tensor([-0.4, 0.2], dtype=torch.float64)
    set_affine(program.decoders[1], A, [a, log_scale])
    set_affine(program.decoders[0], B, [b])

    cov_1 = (2 * log_scale).exp().diag() + A @ A.mT  # of z_1
    cov_x = B @ cov_1 @ B.mT + 0.49 * torch.eye(3).double()
    gain_1 = torch.linalg.solve(cov_x, B @ cov_1).mT  # of z_1 from x
    gain_2 = torch.linalg.solve(cov_1, A).mT  # of z_2 from z_1
    tril_1 = triangle(widened**2 * (cov_1 - gain_1 @ B @ cov_1))
    tril_2 = triangle(widened**2 * (torch.eye(1) - gain_2 @ A))
    set_affine(program.encoders[0], gain_1, [a - gain_1 @ (B @ a + b), tril_1])
    set_affine(program.encoders[1], gain_2, [-gain_2 @ a, tril_2])
    evidence = torch.distributions.MultivariateNormal(B @ a + b, cov_x).log_prob(X)
    return program, evidence


@pytest.mark.parametrize("loss", [Trace_ELBO(), STL(), IWAE(3), DReG(3)], ids=repr)
def test_every_bound_at_the_exact_posterior_is_the_evidence(loss):
    program, evidence = chain()
    found = loss.loss(program.model, program.guide, X)
    assert found == pytest.approx(-evidence.sum().item(), rel=1e-12)


def test_the_log_likelihood_converges_to_the_evidence():
    program, evidence = chain(widened=1.5)
    found = log_likelihood(program, X, 20_000)
    # q is 1.5 times as wide in all 3 latents, and E[w^2] / p(x)^2 a product of three.
    deviation = math.sqrt((1.5**2 / math.sqrt(2 * 1.5**2 - 1)) ** 3 - 1)
    torch.testing.assert_close(found, evidence, atol=4 * deviation / math.sqrt(20_000), rtol=0)


def test_a_bottom_up_guide_is_refused_by_the_analytic_kl():
    program, _ = chain()
    with pytest.raises(ValueError, match=r"samples \['z_2', 'z_1'\] and the guide \['z_1', 'z_2'"):
        TraceMeanField_ELBO().loss(program.model, program.guide, X)


@pytest.mark.parametrize(
    "loss", [Trace_ELBO(), STL(), IWAE(3), DReG(3)], ids=lambda loss: type(loss).__name__
)
def test_a_captured_step_is_the_eager_one_bit_for_bit(loss):
    captured_like_eager(HierarchicalVAE(X_SHAPE, (4, 3, 2), hidden=(8,)), loss)


def test_the_networks_are_those_of_the_paper():
    """Burda et al., 2016: x-200-200-100-100-100-50 and back, with tanh."""
    program = HierarchicalVAE((1, 28, 28))
    sizes = [
        [(part.in_features, part.out_features) for part in net.layers if hasattr(part, "weight")]
        for net in (*program.encoders, *program.decoders)
    ]
    assert sizes == [
        [(784, 200), (200, 200), (200, 2 * 100)],
        [(100, 100), (100, 100), (100, 2 * 50)],
        [(100, 200), (200, 200), (200, 784)],
        [(50, 100), (100, 100), (100, 2 * 100)],
    ]
    assert any(isinstance(part, nn.Tanh) for part in program.decoders[1].layers)


def test_layers_may_have_networks_of_their_own():
    program = HierarchicalVAE(
        X_SHAPE,
        (64, 32, 16),
        hidden=((12, 5), (11,), ()),
        prior=priors.GaussianMixture(16, components=3),
    )
    report = check(program, (torch.rand(5, *X_SHAPE) < 0.5).float())
    assert [site.name for site in report.sites] == ["z_3", "z_2", "z_1", "x"]
    widths = [[getattr(part, "out_features", None) for part in n.layers] for n in program.decoders]
    assert widths == [[5, None, 12, None, 16], [11, None, 128], [64]]


@pytest.mark.parametrize(
    "latent_dims, parts, sentence",
    [
        ((), {}, "latent_dims is empty"),
        ((4, 3, 2), {}, "hidden has 2 entries, but there are 3 latent_dims"),
        ((4, 3), {"encoders": [networks.MLP]}, "encoders has 1 entries"),
        ((4, 3), {"prior": priors.StandardNormal(4)}, r"prior's latent_dim is \(4,\).*\(3,\)"),
        ((4, 3), {"likelihood": likelihoods.Normal((5,))}, r"x_shape is \(5,\).*\(1, 4, 4\)"),
        (
            (4, 3),
            {"decoders": [networks.MLP((4,), X_SHAPE), networks.MLP((3,), (4,))]},
            r"decoder 2's out_shape is \(4,\).*needs \(2, 4\)",
        ),
        (
            (4, 3),
            {"posterior": lambda dim: posteriors.DiagonalNormal(3)},
            r"posterior 1's latent_dim is \(3,\).*needs \(4,\)",
        ),
    ],
)
def test_parts_that_do_not_fit_are_refused(latent_dims, parts, sentence):
    with pytest.raises(ValueError, match=sentence):
        HierarchicalVAE(X_SHAPE, latent_dims, **parts)
