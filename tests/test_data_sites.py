"""Which of a model's observed sites are the data, whatever else it observes and however."""

from types import SimpleNamespace

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import nn

from pyro_vae.inference import decode, encode, reconstruct, sample
from pyro_vae.models import VAE

Y = torch.tensor([0, 1, 2, 1])
NUMBERS = torch.arange(100.0, 106.0)  # the means of the six numbers of a datum
X = NUMBERS + torch.randn(4, 6, generator=torch.Generator().manual_seed(0))


def labels(y):
    pyro.sample("y", dist.Categorical(torch.ones(3) / 3), obs=y)


def program(observe):
    """A latent, and what a function of z, x and y observes."""

    def model(x, y=None):
        with pyro.plate("data", len(x), dim=-1):
            observe(pyro.sample("z", dist.Normal(0.0, 1.0)), x, y)

    def guide(x, y=None):
        with pyro.plate("data", len(x), dim=-1):
            pyro.sample("z", dist.Normal(torch.zeros(len(x)), 1.0))

    return SimpleNamespace(model=model, guide=guide)


def normal(numbers=NUMBERS):
    return dist.Normal(numbers, 1.0).to_event(1)


def labels_first(z, x, y):
    labels(y)
    pyro.sample("x", normal(), obs=x)


def labels_of_the_same_width(z, x, y):
    one_hot = torch.eye(6)[y]
    pyro.sample("a", normal(torch.zeros(6)), obs=one_hot)
    pyro.sample("b", normal(), obs=x)


def copies(z, x, y):
    pyro.sample("a", normal(torch.zeros(6)), obs=torch.eye(6)[y] / 2)
    pyro.sample("b", normal(), obs=x / 255)


def beside_what_is_no_data(z, x, y):
    pyro.deterministic("s", torch.zeros(len(x), 6), event_dim=1)
    pyro.factor("penalty", torch.zeros(len(x)))
    pyro.sample("x", normal(), obs=x)


def flattened_in_another_plate(z, x, y):
    with pyro.plate("features", 6, dim=-2):
        pyro.sample("x", dist.Normal(NUMBERS[:, None], 1.0), obs=x.T)


def turned_and_copied(z, x, y):
    with pyro.plate("features", 6, dim=-2):
        pyro.sample("x", dist.Normal(NUMBERS[:, None], 1.0), obs=x.T.contiguous())


def in_two_parts(z, x, y):
    pyro.sample("right", normal(NUMBERS[2:]), obs=x[:, 2:])
    labels(y)
    pyro.sample("left", normal(NUMBERS[:2]), obs=x[:, :2])


def number_by_number(z, x, y):
    for i in pyro.markov(range(6)):
        pyro.sample(f"x_{i}", dist.Normal(NUMBERS[i], 1.0), obs=x[:, i])


def in_a_sequential_plate_of_numbers(z, x, y):
    for i in pyro.plate("numbers", 6):
        pyro.sample(f"x_{i}", dist.Normal(NUMBERS[i], 1.0), obs=x[:, i])


def a_part_and_the_whole(z, x, y):
    pyro.sample("first", dist.Normal(0.0, 1.0), obs=x[:, 0])
    pyro.sample("pixels", normal(), obs=x)


def a_statistic_beside(z, x, y):
    pyro.sample("mean", dist.Normal(0.0, 1.0), obs=x.mean(-1))
    pyro.sample("pixels", normal(), obs=x.clone())


def twice_but_once_by_name(z, x, y):
    pyro.sample("again", normal(torch.zeros(6)), obs=x)
    pyro.sample("x", normal(), obs=x)


def missing_by_obs_mask(z, x, y):
    pyro.sample("x", normal(), obs=x, obs_mask=torch.arange(len(x)) > 1)


OBSERVE = [
    labels_first,
    labels_of_the_same_width,
    copies,
    beside_what_is_no_data,
    flattened_in_another_plate,
    turned_and_copied,
    in_two_parts,
    number_by_number,
    in_a_sequential_plate_of_numbers,
    a_part_and_the_whole,
    a_statistic_beside,
    twice_but_once_by_name,
]


@pytest.mark.parametrize("observe", [*OBSERVE, missing_by_obs_mask])
@pytest.mark.parametrize("mean", [True, False])
def test_a_sample_is_of_the_data(observe, mean):
    found = sample(program(observe), 4, (6,), y=Y, mean=mean)
    torch.testing.assert_close(found, NUMBERS.expand(4, 6), atol=0 if mean else 5, rtol=0)


@pytest.mark.parametrize("observe", OBSERVE)
def test_a_reconstruction_is_of_the_data(observe):
    assert torch.equal(reconstruct(program(observe), X, Y), NUMBERS.expand(4, 6))


@pytest.mark.parametrize("width", [1, 4])
def test_labels_before_data_of_any_width_are_labels(width):
    def observe(z, x, y):
        labels(y)
        loc = (z + 100).unsqueeze(-1).expand(*z.shape, width)
        pyro.sample("x", dist.Normal(loc, 1.0).to_event(1), obs=x)

    found = decode(program(observe), {"z": Y.float()}, 4, (width,), y=Y)
    assert torch.equal(found, 100 + Y.float().unsqueeze(-1).expand(4, width))


def test_images_that_are_observed_flat_come_back_as_images():
    def observe(z, x, y):
        pyro.sample("x", normal(), obs=x.reshape(len(x), -1))

    assert torch.equal(sample(program(observe), 2, (2, 3)), NUMBERS.view(2, 3).expand(2, 2, 3))


def test_data_and_labels_of_one_table_are_told_apart():
    def observe(z, x, y):
        pyro.sample("y", dist.Normal(0.0, 1.0), obs=y)
        pyro.sample("x", normal(), obs=x)

    table = torch.randn(4, 7)
    assert torch.equal(reconstruct(program(observe), table[:, 1:], table[:, 0]).T[0] > 99, Y >= 0)


def test_the_same_data_in_two_sites_are_refused():
    def observe(z, x, y):
        pyro.sample("a", normal(), obs=x)
        pyro.sample("b", normal(), obs=x)

    with pytest.raises(ValueError, match=r"\['a', 'b'\].*observe the same.*call the data site 'x'"):
        sample(program(observe), 4, (6,))


def test_data_that_are_observed_in_part_are_refused():
    def observe(z, x, y):
        pyro.sample("x", normal(NUMBERS[2:] + x[:, :1]), obs=x[:, 2:])

    with pytest.raises(ValueError, match=r"observes 4 of the 6 numbers of each datum.*\['x'\]"):
        sample(program(observe), 4, (6,))


def test_sites_that_hold_other_numbers_are_named():
    def observe(z, x, y):
        pyro.sample("low", normal(NUMBERS[:2]), obs=x[:, :2] / 2)
        pyro.sample("high", normal(NUMBERS[:3]), obs=x[:, 2:5] / 2)

    with pytest.raises(ValueError, match=r"'low' of shape \(4, 2\), 'high' of shape \(4, 3\), but"):
        sample(program(observe), 4, (6,))


def test_a_model_of_factors_alone_has_no_data():
    with pytest.raises(ValueError, match="observes nothing"):
        sample(program(lambda z, x, y: pyro.factor("f", z)), 4, (6,))


def test_finding_the_data_takes_no_random_numbers():
    vae = VAE((1, 4, 4), latent_dim=2)
    pyro.set_rng_seed(0)
    z = torch.distributions.Normal(torch.zeros(3, 2), 1.0).rsample()
    with torch.no_grad():
        expected = vae.likelihood(vae.decoder(z)).mean
    pyro.set_rng_seed(0)
    torch.testing.assert_close(sample(vae, 3, (1, 4, 4)), expected)


# The dtype of the data.


class Normed(nn.Module):
    def __init__(self):
        super().__init__()
        self.decoder = nn.Linear(2, 6)

    def model(self, x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(x.new_zeros(2), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(self.decoder(z), 1.0).to_event(1), obs=x)

    def guide(self, x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(x[:, :2], 1.0).to_event(1))


def test_a_program_of_doubles_has_samples():
    assert sample(Normed().double(), 3, (6,)).dtype == torch.float64


class Tokens(nn.Module):
    """Six tokens, given their sum by a wrong and useless embedding."""

    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(2, 1)

    def model(self, x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(0 * self.embedding(x).sum((-1, -2)), 1.0))
            logits = torch.stack([z, z + 100], -1).unsqueeze(-2).expand(*z.shape, 6, 2)
            pyro.sample("x", dist.Categorical(logits=logits).to_event(1), obs=x)

    def guide(self, x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(torch.zeros(len(x)), 1.0))


@pytest.mark.parametrize("dtype", [None, torch.int64])
def test_a_program_of_tokens_has_samples(dtype):
    found = sample(Tokens(), 3, (6,), dtype=dtype)
    assert found.dtype == torch.int64 and found.eq(1).all()


def test_a_model_that_fails_is_named_with_its_line():
    with pytest.raises(ValueError, match=r"fails on 3 data of shape \(5,\).*test_data_sites.py:"):
        sample(program(lambda z, x, y: (x @ torch.zeros(6), labels_first(z, x, y))), 3, (5,))


# Latents.


def test_what_a_guide_observes_or_draws_beside_is_no_latent():
    def guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample("y", dist.Categorical(torch.ones(3) / 3), obs=Y)
            pyro.deterministic("h", x, event_dim=1)
            pyro.sample("aside", dist.Normal(0.0, 1.0), infer={"is_auxiliary": True})
            pyro.sample("z", dist.Normal(x[:, 0], 1.0))

    assert set(encode(SimpleNamespace(model=guide, guide=guide), X)) == {"z"}


def test_an_autoguides_latents_decode():
    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros(6), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(100 + z, 1.0).to_event(1), obs=x)

    auto = SimpleNamespace(model=model, guide=pyro.infer.autoguide.AutoNormal(model))
    auto.guide(X)
    latents = encode(auto, X)
    assert torch.equal(decode(auto, latents, 4, (6,)), 100 + latents["z"])
