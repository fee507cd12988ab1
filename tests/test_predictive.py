"""What programs say of data: always in the data's shape, from latents that they can have."""

from types import SimpleNamespace

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.infer.autoguide import AutoNormalMessenger
from torch import nn

from pyro_vae.app import figures
from pyro_vae.inference import decode, encode, reconstruct, sample
from pyro_vae.models import VAE

X = (torch.rand(12, 1, 4, 4, generator=torch.Generator().manual_seed(0)) < 0.3).float()
Y = torch.arange(12) % 3


def program(q, features=2, observed=(16,)):
    """Decodes one latent q, a function of features (N, features), by a table, or a linear map."""
    encoder, decoder = nn.Linear(16, features), nn.Linear(features, 16)
    table = torch.randn(features, 16)

    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", q(torch.zeros(len(x), features)))
            index = not z.is_floating_point() or z.dim() == 1
            h = table[z.long()] if index else decoder(z)
            likelihood = dist.Bernoulli(logits=h.reshape(len(x), *observed))
            pyro.sample("x", likelihood.to_event(len(observed)), obs=x.reshape(len(x), *observed))

    def guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", q(encoder(x.flatten(1))))

    return SimpleNamespace(model=model, guide=guide)


def normal(h):
    return dist.Normal(h, 1.0).to_event(1)


def scalar(h):
    return dist.Normal(h[:, 0], 1.0)


def category(h):
    return dist.Categorical(logits=h)


def test_a_program_may_observe_its_data_flat_as_in_pyros_tutorial():
    flat = program(normal)
    assert sample(flat, 5, (1, 4, 4)).shape == (5, 1, 4, 4)
    assert sample(flat, 5, (1, 4, 4), mean=False).shape == (5, 1, 4, 4)
    assert reconstruct(flat, X).shape == X.shape
    assert decode(flat, encode(flat, X), 12, (1, 4, 4)).shape == X.shape


def test_flat_data_keep_the_order_of_their_numbers():
    def model(x):
        with pyro.plate("data", len(x)):
            pyro.sample("x", dist.Normal(torch.arange(16.0), 1.0).to_event(1), obs=x.flatten(1))

    images = sample(SimpleNamespace(model=model, guide=model), 3, (1, 4, 4))
    assert torch.equal(images, torch.arange(16.0).view(1, 1, 4, 4).expand(3, 1, 4, 4))


def test_a_plate_to_the_left_of_others_is_still_the_first_dimension():
    def model(x):
        with pyro.plate("data", len(x), dim=-1), pyro.plate("pixels", 2, dim=-2):
            pyro.sample("x", dist.Normal(torch.tensor([[0.0], [1.0]]), 1.0), obs=x.T)

    found = sample(SimpleNamespace(model=model, guide=model), 3, (2,))
    assert torch.equal(found, torch.tensor([0.0, 1.0]).expand(3, 2))


def test_data_of_another_size_are_refused():
    with pytest.raises(ValueError, match=r"'x' of the model has values of shape .*asked for"):
        sample(VAE((1, 4, 4)), 3, (1, 5, 4))


def test_data_in_a_sequential_plate_are_refused():
    def model(x):
        for i in pyro.plate("data", len(x)):
            pyro.sample(f"x_{i}", dist.Normal(torch.zeros(16), 1.0).to_event(1), obs=x[i].flatten())

    with pytest.raises(ValueError, match=r"sequential plate.*pyro.plate"):
        sample(SimpleNamespace(model=model, guide=lambda x: None), 3, (1, 4, 4))


def test_a_latent_that_the_model_does_not_have_is_refused():
    with pytest.raises(ValueError, match=r"no latents \['w'\]; its latents are \['z'\]"):
        decode(VAE((1, 4, 4)), {"w": torch.zeros(3, 10)}, 3, (1, 4, 4))


def test_categories_are_encoded_by_a_draw_and_decoded():
    discrete = program(category, features=3)
    latents = encode(discrete, X)
    assert set(latents["z"].tolist()) <= {0, 1, 2}
    assert decode(discrete, latents, 12, (1, 4, 4)).isfinite().all()


def test_one_hot_draws_stay_one_hot_and_boolean_ones_have_means():
    one_hot = encode(program(lambda h: dist.OneHotCategorical(logits=h)), X)["z"]
    assert torch.equal(one_hot.sum(-1), torch.ones(12)) and one_hot.unique().tolist() == [0, 1]
    boolean = encode(program(lambda h: dist.Bernoulli(logits=h).to_event(1)), X)["z"]
    assert ((0 < boolean) & (boolean < 1)).all()


def test_a_reconstruction_of_categories_is_a_draw_and_not_the_datum():
    def model(x):
        with pyro.plate("data", len(x)):
            probs = torch.tensor([1.0, 0.0]).expand(1, 4, 4, 2)
            pyro.sample("x", dist.Categorical(probs).to_event(3), obs=x)

    found = reconstruct(SimpleNamespace(model=model, guide=lambda x: None), torch.ones(3, 1, 4, 4))
    assert torch.equal(found, torch.zeros(3, 1, 4, 4))


# The figures of latents.


@pytest.mark.parametrize(
    "q, features, labels",
    [
        (normal, 1, ("z", "data")),
        (scalar, 2, ("z", "data")),
        (category, 3, ("z", "data")),
        (normal, 2, ("$z_1$", "$z_2$")),
        (lambda h: dist.OneHotCategorical(logits=h), 2, ("$z_1$", "$z_2$")),
        (normal, 3, ("first principal component", "second principal component")),
    ],
    ids=["one number", "scalar", "category", "plane", "one-hot", "space"],
)
@pytest.mark.parametrize("y", [Y, None])
def test_every_latent_space_can_be_drawn(q, features, labels, y, tmp_path):
    figure = figures.latent_space(program(q, features=features), X, None, y, columns=3)
    ax = figure.axes[0]
    assert (ax.get_xlabel(), ax.get_ylabel()) == labels
    assert figures.save(figure, tmp_path / "latent.png").exists()


def test_without_latents_of_each_datum_there_is_no_latent_space():
    silent = SimpleNamespace(model=program(normal).model, guide=lambda x: None)
    with pytest.raises(ValueError, match="no latent with a row for each datum"):
        figures.latent_space(silent, X, None, None)
    with pytest.raises(ValueError, match="draws no latents"):
        figures.interpolation(silent, X[:2], X[2:4], steps=3)


def test_nothing_lies_between_discrete_latents():
    with pytest.raises(ValueError, match=r"\['z'\] are discrete"):
        figures.interpolation(program(category), X[:2], X[2:4], steps=3)


def test_ways_lead_through_a_scalar_latent():
    assert figures.interpolation(program(scalar), X[:2], X[2:4], steps=3).axes


def test_the_latents_of_an_automatic_guide_that_runs_the_model_are_its_own():
    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros(len(x)), 1.0))
            pyro.sample("x", dist.Normal(z, 1.0), obs=x)

    program = SimpleNamespace(model=model, guide=AutoNormalMessenger(model))
    x = torch.arange(3.0)
    program.guide(x)  # which makes its parameters
    assert {name: z.shape for name, z in encode(program, x).items()} == {"z": (3,)}
