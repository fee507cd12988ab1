"""The figures of a run say what they show."""

import pyro
import pyro.distributions as dist
import pytest
import torch

from pyro_vae.app import figures
from pyro_vae.datasets import digits
from pyro_vae.models import VAE, ConditionalVAE

DIGITS = digits(None).test
X, Y = DIGITS.x[:12], DIGITS.y[:12]
SIZES = {"latent_dim": 3, "hidden": (8,)}


def texts(axis):
    return [label.get_text() for label in axis.get_ticklabels()]


def title(figure):
    return figure.get_suptitle().replace("\n", " ")


def vae(latent_dim=3):
    pyro.set_rng_seed(0)
    return VAE((1, 8, 8), latent_dim, hidden=(8,))


@pytest.mark.parametrize("mean, word", [(True, "means of"), (False, "draws")])
def test_samples_say_whether_they_are_means_or_draws(mean, word):
    assert title(figures.samples(vae(), 4, (1, 8, 8), mean=mean)).startswith(word)


def test_samples_of_a_conditional_program_have_a_named_row_for_each_label():
    program = ConditionalVAE((1, 8, 8), num_classes=10, **SIZES)
    figure = figures.samples(program, 20, (1, 8, 8), num_classes=10)
    assert texts(figure.axes[0].yaxis) == [f"$y = {label}$" for label in range(10)]


def test_samples_of_a_conditional_program_say_that_the_prior_may_know_the_label():
    program = ConditionalVAE((1, 8, 8), num_classes=10, **SIZES)
    figure = figures.samples(program, 20, (1, 8, 8), num_classes=10)
    assert r"$z \sim p(z \mid y)$" in title(figure)


def test_samples_of_one_label_name_it():
    program = ConditionalVAE((1, 8, 8), num_classes=10, **SIZES)
    figure = figures.samples(program, 4, (1, 8, 8), num_classes=10, label=3)
    assert "$y = 3$" in title(figure)


def test_arithmetic_has_a_heading_for_each_column():
    figure = figures.arithmetic(vae(), X, X, Y == Y[0], weights=[-1, 0, 0.5], name="label 5")
    assert texts(figure.axes[0].xaxis) == ["data", "-1", "0", "+0.5"]
    assert "label 5" in title(figure)


def test_a_plane_that_is_decoded_says_so():
    figure = figures.latent_space(vae(2), X, None, Y, columns=3)
    assert "over the plane of z" in title(figure)


def test_latents_in_a_plane_say_whose_they_are_and_what_the_plane_holds():
    figure = figures.latent_space(vae(5), X, None, Y)
    assert title(figure).startswith("the guide's z of 12 data: of 5 dimensions the plane")
    z = figures.encode(vae(5), X)["z"]
    variances = torch.linalg.eigvalsh(z.T.cov()).flip(0)
    shares = (variances / variances.sum())[:2].tolist()
    assert title(figure).endswith("{:.0%} and {:.0%}".format(*shares))


def test_images_of_counts_are_scaled_and_say_so():
    class Binomial(torch.nn.Module):
        x_shape, param_shape = (1, 8, 8), (1, 8, 8)

        def forward(self, logits):
            return dist.Binomial(16, logits=logits).to_event(3)

    program = VAE((1, 8, 8), 2, hidden=(8,), likelihood=Binomial())
    figure = figures.reconstructions(program, 16 * X)
    assert figure.axes[0].get_xlabel() == "black: 0, white: 16"
    assert not figures.reconstructions(vae(), X).axes[0].get_xlabel()
