"""Samples at temperatures, reconstructions from the top layers, and numbers moved one by one."""

import math

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro import poutine
from torch import nn

from pyro_vae import posteriors, priors
from pyro_vae.app.text import read_temperature
from pyro_vae.distributions import tempered
from pyro_vae.inference import reconstruct, reconstruct_layers, sample, traverse
from pyro_vae.models import (
    HVAE,
    NVAE,
    VAE,
    BayesianVAE,
    ConditionalVAE,
    HierarchicalVAE,
    LadderVAE,
)
from pyro_vae.sampling import sampling

from .code_parts import of_codes

A = torch.tensor([[1.0, -0.5], [0.3, 0.8]], dtype=torch.float64)
B = torch.tensor([[0.7, 0.2], [-0.4, 1.1], [0.5, 0.0]], dtype=torch.float64)
S_1 = torch.tensor([0.6, 0.9], dtype=torch.float64)  # the scale of z_1 given z_2
X = torch.randn(6, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


class Linear(nn.Module):
    """z_2 ~ N(0, I); z_1 ~ N(A z_2, diag(S_1)^2); x ~ N(B z_1, I); the guide is a linear one.

    Of each x the guide's z_2 is 2 x_1, x_2, and its z_1 is z_2 + 1, both all but exact.
    """

    def __init__(self):
        super().__init__()
        self.zero = nn.Parameter(torch.zeros(2, dtype=torch.float64))

    def model(self, x):
        with pyro.plate("data", len(x)):
            z_2 = pyro.sample("z_2", dist.Normal(self.zero, 1.0).to_event(1))
            z_1 = pyro.sample("z_1", dist.Normal(z_2 @ A.mT, S_1).to_event(1))
            pyro.sample("x", dist.Normal(z_1 @ B.mT, 1.0).to_event(1), obs=x)

    def guide(self, x):
        with pyro.plate("data", len(x)):
            loc = torch.stack([2 * x[:, 0], x[:, 1]], -1)
            z_2 = pyro.sample("z_2", dist.Normal(loc + self.zero, 1e-9).to_event(1))
            pyro.sample("z_1", dist.Normal(z_2 + 1, 1e-9).to_event(1))


Z_2 = torch.stack([2 * X[:, 0], X[:, 1]], -1)
MANY = 20_000


@pytest.mark.parametrize(
    "temperature, top, low",
    [(1.0, 1, 1), (0.5, 0.5, 0.5), ({"z_1": 0.5}, 1, 0.5), ({"z_2": 0, "z_1": 2}, 0, 2), (0, 0, 0)],
)
def test_a_temperature_scales_the_standard_deviation_of_each_latent(temperature, top, low):
    """B (A top^2 A^T + low^2 diag(S_1^2)) B^T, the covariance of E[x | z]."""
    found = sample(Linear(), MANY, (3,), temperature=temperature).T.cov()
    inner = top**2 * A @ A.mT + low**2 * S_1.square().diag()
    expected = B @ inner @ B.mT
    d = expected.diagonal()
    error = ((expected.square() + d * d[:, None]) / MANY).sqrt()  # of a covariance of Normals
    assert ((found - expected).abs() <= 4.5 * error + 1e-12).all()


def test_a_temperature_of_1_is_the_model_bit_for_bit():
    draws = []
    for options in ({}, {"temperature": 1.0}, {"temperature": {"z_1": 1}}):
        pyro.set_rng_seed(3)
        draws.append(sample(Linear(), 5, (3,), **options))
    assert torch.equal(draws[0], draws[1]) and torch.equal(draws[0], draws[2])


def test_data_are_drawn_as_they_are_at_any_temperature():
    found = sample(Linear(), MANY, (3,), mean=False, temperature=0)
    # N(0, I) alone; a sample variance of Normals is off by sqrt(2 / N)
    assert (found.var(0) - 1).abs().max() < 4.5 * math.sqrt(2 / MANY)


@pytest.mark.parametrize(
    "program",
    [
        VAE((6,), 3),
        VAE((6,), 3, prior=priors.GaussianMixture(3, components=2)),
        VAE((6,), (1, 3), prior=priors.StudentT((1, 3))),
        VAE((6,), 3, prior=priors.Laplace(3)),
        HierarchicalVAE((6,), (4, (2, 2)), hidden=(8,)),
        HVAE((6,), (3, 2), prior=priors.VampPrior(2, x_shape=(6,), components=3), hidden=(8, 8)),
        LadderVAE((6,), (4, 3, 2), hidden=(8,), skips=True),
        BayesianVAE((6,), 2, num_data=10),
    ],
    ids=lambda program: type(program).__name__,
)
@pytest.mark.parametrize("temperature", [0, 0.5, {}])
def test_any_program_with_normal_latents_is_sampled_at_a_temperature(program, temperature):
    found = sample(program, 5, (6,), temperature=temperature)
    assert found.shape == (5, 6) and found.isfinite().all()


def test_groups_of_maps_are_sampled_kept_and_moved():
    program, x = (
        NVAE((1, 4, 4), groups=(1, 2), channels=4, latent_channels=2),
        torch.zeros(3, 1, 4, 4),
    )
    names = ["z_3", "z_2", "z_1"]
    one, other = sample(program, 2, (1, 4, 4), temperature=0)
    torch.testing.assert_close(one, other)
    assert list(reconstruct_layers(program, x)) == names
    for name in names:
        assert traverse(program, x, name, num=2, steps=3).x.shape == (2, 3, 1, 4, 4)


def test_labels_are_no_latents_to_have_a_temperature():
    program = ConditionalVAE((6,), num_classes=3, latent_dim=2)
    found = sample(program, 3, (6,), y=torch.arange(3), temperature=0)
    assert not torch.equal(found[0], found[1])


@pytest.mark.parametrize("temperature", [0.3, 2.0])
@pytest.mark.parametrize("shape", [3, (2, 2)])
@pytest.mark.parametrize("name", ["DiagonalNormal", "FullNormal", "LowRankNormal", "BoundedNormal"])
def test_a_tempered_normal_has_its_covariance_times_the_square(name, shape, temperature):
    q = getattr(posteriors, name)(shape)
    fn = q(torch.randn(5, *q.param_shape) / 3)
    found = tempered(fn, temperature)
    torch.testing.assert_close(found.mean, fn.mean)
    torch.testing.assert_close(found.variance, temperature**2 * fn.variance)
    assert (found.batch_shape, found.event_shape) == (fn.batch_shape, fn.event_shape)


@pytest.mark.parametrize("name", ["DiagonalNormal", "FullNormal", "LowRankNormal"])
def test_a_normal_at_temperature_0_is_its_mean(name):
    q = getattr(posteriors, name)((2, 2))
    fn = q(torch.randn(5, *q.param_shape))
    assert torch.equal(tempered(fn, 0)(), fn.mean)


def test_a_mixture_at_temperature_0_is_drawn_at_the_means_of_its_components():
    p = priors.GaussianMixture(2, components=3)()
    z = tempered(p, 0.0).expand((50,))()
    assert (z[:, None] == p.loc).all(-1).any(-1).all()
    assert len(z.unique(dim=0)) == 3


def test_a_tempered_mixture_has_the_scales_of_its_components_times_the_temperature():
    p = priors.GaussianMixture(2, components=1)()
    z = tempered(p, 0.25).sample((MANY,))
    expected = 0.25 * p.log_scale[0].exp()
    assert ((z.std(0) / expected - 1).abs() < 4.5 / math.sqrt(2 * MANY)).all()


def test_what_is_masked_or_expanded_is_tempered_within():
    fn = dist.Normal(torch.ones(3), 2.0).to_event(1).mask(torch.tensor(True)).expand_by([4])
    found = tempered(fn, 0.5)
    assert found.batch_shape == (4,) and (found.variance == 1).all()
    assert tempered(dist.Gamma(1.0, 1.0), 0.5) is None


@pytest.mark.parametrize(
    "temperature, sentence",
    [
        (-0.1, "temperature is -0.1, but must be at least 0"),
        ({"z_1": -1}, "temperature of latent 'z_1' is -1, but must be at least 0"),
        (math.inf, "and finite"),
        (
            {"z_3": 0.5},
            r"names \['z_3'\], but the latents that the model draws are \['z_2', 'z_1'\]",
        ),
        ({"x": 0.5}, r"names \['x'\]"),
        ("warm", "is 'warm', but must be a number"),
        (True, "is True, but must be a number"),
    ],
)
def test_a_temperature_that_makes_no_sense_is_refused(temperature, sentence):
    with pytest.raises((ValueError, TypeError), match=sentence):
        sample(Linear(), 2, (3,), temperature=temperature)


def test_codes_have_a_temperature_by_the_name_of_their_latent():
    """At 0 each code is the most probable one given those before it, so that all draws are one."""
    program = of_codes(priors.TransformerPrior, (1, 8, 8))
    assert len(sample(program, 20, (1, 8, 8)).unique(dim=0)) > 1
    for temperature in (0, {"z": 0}, 1e-9):
        assert len(sample(program, 20, (1, 8, 8), temperature=temperature).unique(dim=0)) == 1
    prior = program.prior
    indices = torch.zeros(1, *prior.draw(torch.Size((1,))).shape[1:], dtype=torch.int64)
    for i, logits in enumerate(prior.conditionals(indices.clone())):
        if i == 0:
            first = logits.argmax(-1)
    with torch.no_grad(), sampling(temperature=0):
        assert (prior.draw(torch.Size((9,))).flatten(1)[:, 0] == first).all()


def test_a_temperature_of_a_latent_that_has_none_is_refused():
    program = VAE((6,), 3, prior=priors.UniformSphere(3), posterior=posteriors.PowerSpherical(3))
    with pytest.raises(ValueError, match="latent 'z' has no temperature, since its distribution"):
        sample(program, 2, (6,), temperature={"z": 0.5})
    with pytest.raises(ValueError, match="and this program has none"):
        sample(program, 2, (6,), temperature=0.5)


def test_the_text_of_a_temperature_is_a_number_or_one_for_each_latent():
    assert read_temperature("0.7") == 0.7
    assert read_temperature("{'z_1': 0.5, 'z_2': 1}") == {"z_1": 0.5, "z_2": 1}
    for text in ("hot", "{'z_1': 'hot'}", "{1: 0.5}", "__import__('os')", "[1]", "True"):
        with pytest.raises(ValueError, match="must be a number such as 0.7"):
            read_temperature(text)


def test_the_top_layer_alone_gives_the_conditional_mean():
    """E[x | z_2] = B A z_2, as every step is linear."""
    found = reconstruct(Linear(), X, layers=1)
    torch.testing.assert_close(found, Z_2 @ (B @ A).mT, atol=1e-7, rtol=0)


def test_all_layers_give_the_reconstruction():
    expected = (Z_2 + 1) @ B.mT
    for found in (reconstruct(Linear(), X, layers=2), reconstruct(Linear(), X)):
        torch.testing.assert_close(found, expected, atol=1e-7, rtol=0)


def test_the_layers_below_may_be_drawn():
    found = reconstruct(Linear(), X[:1].repeat(MANY, 1), layers=1, temperature=0.5)
    expected = 0.25 * B @ S_1.square().diag() @ B.mT
    d = expected.diagonal()
    error = ((expected.square() + d * d[:, None]) / MANY).sqrt()
    assert ((found.T.cov() - expected).abs() < 4.5 * error).all()


def test_a_guide_that_goes_up_is_conditioned_from_the_top_all_the_same():
    program = HierarchicalVAE((6,), (4, 3, 2), hidden=(8,))
    x = torch.zeros(5, 6)
    rows = reconstruct_layers(program, x)
    assert list(rows) == ["z_3", "z_2", "z_1"] and rows["z_3"].shape == x.shape
    pyro.set_rng_seed(0)
    trace = poutine.trace(program.guide).get_trace(x)
    with torch.no_grad():
        h = program.decoders[2](trace.nodes["z_3"]["value"])
        for conditional, decoder in zip(
            reversed(program.conditionals), reversed(program.decoders[:2]), strict=True
        ):
            h = decoder(conditional(h).mean)
        expected = program.likelihood(h).mean
    pyro.set_rng_seed(0)
    torch.testing.assert_close(reconstruct(program, x, layers=1), expected)


def test_the_layers_of_one_draw_end_in_its_reconstruction():
    program = LadderVAE((6,), (4, 3), hidden=(8,))
    x = torch.zeros(5, 6)
    pyro.set_rng_seed(0)
    rows = reconstruct_layers(program, x)
    pyro.set_rng_seed(0)
    assert torch.equal(rows["z_1"], reconstruct(program, x))


@pytest.mark.parametrize("layers", [0, 3, 1.0])
def test_layers_that_are_not_there_are_refused(layers):
    with pytest.raises(ValueError, match=r"layers must be 1 to 2, as .* are \['z_2', 'z_1'\]"):
        reconstruct(Linear(), X, layers=layers)


def test_a_number_of_the_lowest_latent_moves_alone():
    found = traverse(Linear(), X, "z_1", num=2, steps=3, reach=2.0, datum=1)
    z_2 = Z_2[1]
    for row, number in enumerate(found.numbers):
        for step, offset in enumerate([-2.0, 0.0, 2.0]):
            z_1 = z_2 + 1
            z_1[number] = (A @ z_2)[number] + offset * S_1[number]
            torch.testing.assert_close(found.x[row, step], B @ z_1, atol=1e-7, rtol=0)


def test_the_latents_below_a_number_that_moves_keep_their_noise():
    found = traverse(Linear(), X, "z_2", num=2, steps=2, reach=3.0, datum=2)
    z_2 = Z_2[2]
    noise = z_2 + 1 - A @ z_2
    for row, number in enumerate(found.numbers):
        for step, offset in enumerate([-3.0, 3.0]):
            moved = z_2.clone()
            moved[number] = offset
            torch.testing.assert_close(
                found.x[row, step], B @ (A @ moved + noise), atol=1e-7, rtol=0
            )


def test_the_numbers_of_the_highest_rate_are_moved():
    class Rates(Linear):
        def guide(self, x):
            with pyro.plate("data", len(x)):
                z_2 = pyro.sample(
                    "z_2", dist.Normal(self.zero + torch.tensor([1.0, 2.0]), 1.0).to_event(1)
                )
                pyro.sample("z_1", dist.Normal(z_2 @ A.mT, S_1).to_event(1))

    found = traverse(Rates(), X, "z_2", num=2)
    assert found.numbers.tolist() == [1, 0]
    torch.testing.assert_close(found.rates, torch.tensor([2.0, 0.5], dtype=torch.float64))
    assert traverse(Rates(), X, "z_2", num=1).numbers.tolist() == [1]


@pytest.mark.parametrize(
    "program, site",
    [
        (VAE((6,), 3), "z"),
        (VAE((6,), 3, prior=priors.GaussianMixture(3, components=2)), "z"),
        (VAE((6,), (1, 3), posterior=posteriors.FullNormal((1, 3))), "z"),
        (VAE((6,), 3, posterior=posteriors.InverseAutoregressiveFlow(3)), "z"),
        (HVAE((6,), (3, 3), hidden=(8, 8)), "z_2"),
        (LadderVAE((6,), (4, (2, 2), 3), hidden=(8,), skips=True), "z_2"),
        (BayesianVAE((6,), 3, num_data=10), "z"),
    ],
    ids=lambda value: type(value).__name__,
)
@pytest.mark.parametrize("datum", [0, None])
def test_any_program_with_a_continuous_latent_is_traversed(program, site, datum):
    x = torch.zeros(5, 6)
    found = traverse(program, x, site, num=3, steps=3, datum=datum)
    assert found.x.shape == (3, 3, 6) and found.x.isfinite().all()
    assert not torch.equal(found.x[0, 0], found.x[0, 2])


def test_a_traversal_keeps_the_label_of_its_datum():
    program = ConditionalVAE((6,), num_classes=3, latent_dim=2)
    x, y = torch.zeros(4, 6), torch.tensor([0, 1, 2, 0])
    one, other = (traverse(program, x, "z", y, num=2, datum=i).x for i in (0, 1))
    assert not torch.allclose(one, other)


@pytest.mark.parametrize(
    "site, options, sentence",
    [
        ("z_3", {}, r"no latent 'z_3' of a datum; those are \['z_2', 'z_1'\]"),
        ("z_1", {"num": 0}, "num must be a whole number of at least 1"),
        ("z_1", {"steps": 1}, "steps must be a whole number of at least 2"),
        ("z_1", {"reach": 0}, "reach must be positive"),
        ("z_1", {"datum": 6}, "datum must be 0 to 5"),
    ],
)
def test_a_traversal_that_makes_no_sense_is_refused(site, options, sentence):
    with pytest.raises(ValueError, match=sentence):
        traverse(Linear(), X, site, **options)
