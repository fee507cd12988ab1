"""The ladder VAE, against a linear-Gaussian chain whose posterior the product merge contains."""

import math
from functools import partial

import pyro
import pytest
import torch
from pyro import poutine
from torch import nn

from pyro_vae import likelihoods, networks, priors
from pyro_vae.distributions import product_of_normals
from pyro_vae.inference import (
    IWAE,
    STL,
    DReG,
    Trace_ELBO,
    TraceMeanField_ELBO,
    log_likelihood,
)
from pyro_vae.inference.checking import check
from pyro_vae.models import LadderVAE

from .twins import BATCHES, captured_like_eager

X_SHAPE = (1, 4, 4)
X = torch.randn(7, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
SIZES = (4, 3, 2, 1)  # of x, z_1, z_2, z_3
VARIANCE_X = 0.49


def s_of(variance):
    """The s of which `SoftplusNormal` makes a variance."""
    return (variance - 1e-5).expm1().log() - math.log(math.e - 1)


@torch.no_grad()
def set_normal(network, weight, bias, variance):
    """Makes an MLP without hidden layers the (loc, s) of N(weight v + bias, variance).

    Without a variance it is the map of v to weight v + bias.
    """
    (layer,) = network.layers
    layer.weight[: len(weight)], layer.bias[: len(weight)] = weight, bias
    if variance is not None:
        layer.weight[len(weight) :], layer.bias[len(weight) :] = 0.0, s_of(variance)


def chain(widened=1.0, **options):
    """z_3 -> z_2 -> z_1 -> x, all affine, with the guide at the posterior, or wider; and log p(x).

    z_l has a statistic m_l of x that is sufficient: m_l = z_l + noise. The columns of each matrix
    are orthogonal in the precision of that noise, so that the numbers of m_l are independent.
    """
    generator = torch.Generator().manual_seed(1)

    def draw(*shape):
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    likelihood = likelihoods.Normal((4,))
    program = LadderVAE(
        (4,), SIZES[1:], likelihood=likelihood, hidden=(), batch_norm=False, **options
    ).double()
    nn.init.constant_(likelihood.log_scale, math.log(VARIANCE_X) / 2)

    noise, layers = torch.zeros(4).double(), []  # of m_0 = x, which is its own statistic
    for i, (wide, narrow) in enumerate(zip(SIZES[:-1], SIZES[1:], strict=True)):
        variance = (
            torch.full((4,), VARIANCE_X, dtype=torch.float64)
            if i == 0
            else 0.3 + draw(wide).square()
        )
        noise = noise + variance  # of m_i about A z_i+1 + a
        precision = 0.7 + draw(narrow).square()
        A = noise.sqrt()[:, None] * torch.linalg.qr(draw(wide, narrow))[0] * precision.sqrt()
        a, gain = draw(wide), (A / noise[:, None] / precision).mT
        noise = 1 / precision  # of m_i+1 = gain (m_i - a)
        shrink = 1 / (1 + noise) if narrow == SIZES[-1] else torch.ones(narrow)  # p(z_3) = N(0, 1)
        set_normal(
            program.encoders[i],
            shrink[:, None] * gain,
            -shrink * (gain @ a),
            widened**2 * noise * shrink,
        )
        set_normal(program.decoders[i], A, a, variance if i else None)
        layers.append((A, a, variance))

    loc, cov = torch.zeros(1).double(), torch.eye(1).double()
    for A, a, variance in reversed(layers):
        loc, cov = A @ loc + a, A @ cov @ A.mT + variance.diag()
    return program, torch.distributions.MultivariateNormal(loc, cov).log_prob(X)


@pytest.mark.parametrize("loss", [Trace_ELBO(), STL(), IWAE(3), DReG(3)], ids=repr)
def test_every_bound_at_the_exact_merge_is_the_evidence(loss):
    program, evidence = chain()
    found = loss.loss(program.model, program.guide, X)
    assert found == pytest.approx(-evidence.sum().item(), rel=1e-12)


def test_a_guide_with_networks_of_its_own_starts_at_the_exact_merge_too():
    program, evidence = chain(shared=False)
    for own, model in zip(program.guide_decoders, program.decoders[1:], strict=True):
        own.load_state_dict(model.state_dict())
    found = Trace_ELBO().loss(program.model, program.guide, X)
    assert found == pytest.approx(-evidence.sum().item(), rel=1e-12)


def test_the_gradient_at_the_exact_merge_is_without_noise():
    program, _ = chain()
    STL().differentiable_loss(program.model, program.guide, X).backward()
    assert all(p.grad.abs().max() < 1e-10 for p in program.encoders.parameters())


@pytest.fixture(scope="module")
def wide_bounds():
    """Means over draws of the bound at a wider guide, with their standard errors."""
    program, evidence = chain(widened=1.5)
    pyro.set_rng_seed(0)
    found = {}
    for kind in (Trace_ELBO, TraceMeanField_ELBO, STL):
        loss = kind(500, vectorize_particles=True)
        losses = [float(loss.loss(program.model, program.guide, X)) for _ in range(20)]
        bounds = -torch.tensor(losses, dtype=torch.float64) / len(X)
        found[kind.__name__] = (bounds.mean().item(), bounds.std().item() / math.sqrt(20))
    return found, evidence.mean().item()


def test_a_wider_guide_has_a_bound_below_the_evidence(wide_bounds):
    found, evidence = wide_bounds
    assert all(mean + 4 * error < evidence for mean, error in found.values())


def test_sampled_and_closed_kl_and_stl_have_one_bound(wide_bounds):
    found, _ = wide_bounds
    exact = found.pop("TraceMeanField_ELBO")
    for mean, error in found.values():
        assert abs(mean - exact[0]) < 4 * math.hypot(error, exact[1])


def test_the_log_likelihood_converges_to_the_evidence():
    program, evidence = chain(widened=1.3)
    found = log_likelihood(program, X, 20_000)
    # q is at most 1.3 times as wide in each of 6 latents, and E[w^2] / p(x)^2 a product of six.
    deviation = math.sqrt((1.3**2 / math.sqrt(2 * 1.3**2 - 1)) ** 6 - 1)
    torch.testing.assert_close(found, evidence, atol=4 * deviation / math.sqrt(20_000), rtol=0)


def test_the_merge_is_the_product_of_the_two_densities():
    """In one latent, the evidence N(3, 1/4) and p N(-1, 1) make N((12 - 1) / 5, 1 / 5)."""
    p = torch.distributions.Normal(torch.tensor([-1.0, 2.0]), torch.tensor([1.0, 1e-3]))
    q = torch.distributions.Normal(torch.tensor([3.0, 5.0]), torch.tensor([0.5, 1e3]))
    p, q = (pyro.distributions.Normal(f.loc, f.scale).to_event(1) for f in (p, q))
    merged = product_of_normals(p, q)
    torch.testing.assert_close(merged.mean, torch.tensor([11 / 5, 2.0]))
    torch.testing.assert_close(merged.stddev, torch.tensor([math.sqrt(1 / 5), 1e-3]))
    z = merged.sample((9,))
    rest = p.log_prob(z) + q.log_prob(z) - merged.log_prob(z)
    assert rest.std() < 1e-3 * rest.abs().mean()  # of a constant, in float32


def guide_and_model(program, x):
    guide = poutine.trace(program.guide).get_trace(x)
    return guide, poutine.trace(poutine.replay(program.model, guide)).get_trace(x)


def test_the_guide_multiplies_the_evidence_with_the_models_own_conditional():
    program = LadderVAE(X_SHAPE, (4, 3), hidden=(8,)).eval()
    x = BATCHES[0]
    guide, model = guide_and_model(program, x)
    p = model.nodes["z_1"]["fn"]
    evidence = program.normals[0](program.encoders[0](x))
    q = guide.nodes["z_1"]["fn"]
    precision = 1 / p.variance + 1 / evidence.variance
    torch.testing.assert_close(q.variance, 1 / precision)
    mean = (p.mean / p.variance + evidence.mean / evidence.variance) / precision
    torch.testing.assert_close(q.mean, mean, rtol=1e-4, atol=1e-5)


def test_what_evidence_tells_nothing_leaves_the_conditional():
    program = LadderVAE(X_SHAPE, (4, 3), hidden=(), batch_norm=False)
    nn.init.constant_(program.encoders[0].layers[0].bias[4:].data, 1e12)
    guide, model = guide_and_model(program, BATCHES[0])
    kl = torch.distributions.kl_divergence(guide.nodes["z_1"]["fn"], model.nodes["z_1"]["fn"])
    assert kl.abs().max() < 1e-5


@pytest.mark.parametrize("shared", [True, False])
def test_the_models_conditionals_are_in_the_guide_if_they_are_shared(shared):
    program = LadderVAE(X_SHAPE, (4, 3), hidden=(8,), shared=shared)
    guide = poutine.trace(program.guide).get_trace(BATCHES[0])
    (gradient,) = torch.autograd.grad(
        guide.nodes["z_1"]["value"].sum(),
        [program.decoders[1].layers[0].weight],
        allow_unused=True,
    )
    assert (gradient is not None and gradient.any()) == shared


def test_a_learned_merge_reads_the_evidence_and_the_conditional():
    program = LadderVAE(X_SHAPE, (4, 3), hidden=(8,), merge=partial(networks.MLP, hidden=(5,)))
    (merge,) = program.merges
    assert merge.in_shape == ((2, 4), (2, 4)) and merge.out_shape == (2, 4)
    x = BATCHES[0]
    program.eval()
    guide, _ = guide_and_model(program, x)
    h = program.decoders[1](guide.nodes["z_2"]["value"])
    expected = program.normals[0](merge(program.encoders[0](x), h))
    torch.testing.assert_close(guide.nodes["z_1"]["fn"].mean, expected.mean)
    torch.testing.assert_close(guide.nodes["z_1"]["fn"].stddev, expected.stddev)


@pytest.mark.parametrize("skips", [True, False])
def test_with_skips_the_data_depend_on_the_top_latent_directly(skips):
    program = LadderVAE(X_SHAPE, (4, 3), hidden=(8,), skips=skips).eval()
    z_2 = torch.randn(5, 3, requires_grad=True)
    model = pyro.condition(program.model, {"z_2": z_2, "z_1": torch.zeros(5, 4)})
    logits = poutine.trace(model).get_trace(BATCHES[0][:5]).nodes["x"]["fn"].mean
    if skips:
        (gradient,) = torch.autograd.grad(logits.sum(), z_2)
        assert gradient.abs().max() > 0
    else:
        assert not logits.requires_grad or torch.autograd.grad(
            logits.sum(), z_2, allow_unused=True
        ) == (None,)


def test_a_vamp_prior_is_the_mean_of_the_posteriors_of_the_top_latent():
    u = torch.rand(5, *X_SHAPE)
    prior = priors.VampPrior(3, x_shape=X_SHAPE, pseudo_inputs=u)
    program = LadderVAE(X_SHAPE, (4, 3), prior=prior, hidden=(8,)).eval()
    check(program, BATCHES[0])
    z = torch.randn(2, 3)
    h = program.encoders[1](program.normals[0](program.encoders[0](u)).mean)
    components = program.normals[1](h).log_prob(z[:, None])
    torch.testing.assert_close(prior().log_prob(z), components.logsumexp(1) - math.log(5))


@pytest.mark.parametrize(
    "loss", [TraceMeanField_ELBO(), STL(), IWAE(3)], ids=lambda loss: type(loss).__name__
)
def test_a_captured_step_is_the_eager_one_bit_for_bit(loss):
    """With the running statistics of batch normalization, which a step updates in its graph."""
    captured_like_eager(LadderVAE(X_SHAPE, (4, 3), hidden=(8,)), loss, steps=5)


def test_a_ladder_of_other_parts_is_captured_bit_for_bit():
    options = {"skips": True, "shared": False, "merge": networks.GatedMLP}
    program = LadderVAE(X_SHAPE, (4, 3), hidden=(8,), **options)
    captured_like_eager(program, TraceMeanField_ELBO(), steps=5)


def test_batch_normalization_is_on_each_dense_layer_but_the_output():
    program = LadderVAE((1, 28, 28), merge=networks.MLP, shared=False)
    kinds = [
        [type(part).__name__ for part in net.layers if hasattr(part, "weight")]
        for net in (*program.encoders, *program.decoders[1:], *program.guide_decoders)
    ]
    assert kinds == [["Linear", "BatchNorm1d"] * 3] * (5 + 4 + 4)
    of_x = [type(part).__name__ for part in program.decoders[0].layers if hasattr(part, "weight")]
    assert of_x == ["Linear", "BatchNorm1d"] * 2 + ["Linear"]


def test_the_networks_are_those_of_the_paper():
    """64-32-16-8-4 latents, with two layers of 512, 256, 128, 64 and 32 units, leaky."""
    program = LadderVAE((1, 28, 28))
    sizes = [
        [
            (part.in_features, part.out_features)
            for part in net.layers
            if isinstance(part, nn.Linear)
        ]
        for net in (*program.encoders, *program.decoders)
    ]
    zs, units = (784, 64, 32, 16, 8, 4), (512, 256, 128, 64, 32)
    up = [[(zs[i], n), (n, n), (n, 2 * zs[i + 1])] for i, n in enumerate(units)]
    down = [[(zs[i + 1], n), (n, n), (n, 2 * zs[i] if i else 784)] for i, n in enumerate(units)]
    assert sizes == up + down
    assert isinstance(program.encoders[0].layers[2], nn.LeakyReLU)


GATED = partial(networks.GatedResidual, channels=4)


@pytest.mark.parametrize(
    "x_shape, latent_dims",
    [
        ((1, 28, 28), ((2, 14, 14), (2, 7, 7), 5)),
        ((3, 32, 32), ((2, 16, 16), (2, 4, 4))),
    ],
)
@pytest.mark.parametrize("options", [{}, {"skips": True, "merge": GATED}], ids=lambda o: str([*o]))
def test_gated_residual_blocks_make_a_ladder_of_maps(x_shape, latent_dims, options):
    program = LadderVAE(x_shape, latent_dims, encoders=GATED, decoders=GATED, **options)
    x = (torch.rand(3, *x_shape) < 0.5).float()
    check(program, x)
    trace = poutine.trace(program.guide).get_trace(x)
    assert trace.nodes["z_1"]["value"].shape == (3, *latent_dims[0])
    assert program.model(x).shape == x.shape


def test_one_more_layer_is_one_more_number():
    report = check(LadderVAE(X_SHAPE, (8, 7, 6, 5, 4, 3)), BATCHES[0])
    assert [site.name for site in report.sites] == [f"z_{i}" for i in range(6, 0, -1)] + ["x"]


@pytest.mark.parametrize(
    "latent_dims, parts, sentence",
    [
        ((), {}, "latent_dims is empty, but a LadderVAE needs at least one layer"),
        ((4, 3), {"hidden": ((8,), (8,), (8,))}, "hidden has 3 entries, but there are 2"),
        ((4, 3), {"encoders": [networks.MLP]}, "encoders has 1 entries, but there are 2"),
        ((4, 3, 2), {"merge": [networks.MLP]}, "merges has 1 entries, but there are 2"),
        ((4, 3), {"prior": priors.StandardNormal(4)}, r"prior's latent_dim is \(4,\).*\(3,\)"),
        ((4, 3), {"likelihood": likelihoods.Normal((5,))}, r"x_shape is \(5,\).*\(1, 4, 4\)"),
        (
            (4, 3),
            {"decoders": [networks.MLP((4,), X_SHAPE), networks.MLP((3,), (4,))]},
            r"decoder 2's out_shape is \(4,\).*needs \(2, 4\)",
        ),
        (
            (4, 3),
            {"merge": [networks.MLP(((2, 4), (2, 3)), (2, 4))]},
            r"merge 1's in_shape is .*needs \(\(2, 4\), \(2, 4\)\)",
        ),
    ],
)
def test_parts_that_do_not_fit_are_refused(latent_dims, parts, sentence):
    with pytest.raises(ValueError, match=sentence):
        LadderVAE(X_SHAPE, latent_dims, **parts)
