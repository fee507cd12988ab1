"""Decoders whose data depend on each other through x are drawn number by number, or refused."""

from types import SimpleNamespace

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import nn

from pyro_vae.inference import decode, reconstruct, sample


def guide(x):
    with pyro.plate("data", len(x)):
        pyro.sample("z", dist.Normal(x.new_zeros(len(x)).float(), 1.0))


def chain(order, coefficient=0.8, loc=5.0):
    """Stationary x_i ~ N(loc + a (x_before - loc), 1 - a^2) along an order of the numbers."""

    def model(x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(0.0, 1.0))
            before = torch.zeros_like(x)
            before[:, order[1:]] = x[:, order[:-1]] - loc
            scale = torch.full_like(x, (1 - coefficient**2) ** 0.5)
            scale[:, order[0]] = 1.0
            p = dist.Normal(loc + coefficient * before, scale)
            pyro.sample("x", p.to_event(1), obs=x)

    return SimpleNamespace(model=model, guide=guide)


ORDERS = [[0, 1, 2, 3], [3, 2, 1, 0], [2, 0, 3, 1]]


@pytest.mark.parametrize("order", ORDERS)
def test_an_autoregressive_decoder_has_its_own_samples(order):
    pyro.set_rng_seed(0)
    x = sample(chain(order), 20_000, (4,), mean=False)[:, order]
    torch.testing.assert_close(x.mean(0), torch.full((4,), 5.0), atol=0.04, rtol=0)  # 5 s.e.
    distance = torch.arange(4).view(-1, 1) - torch.arange(4)
    expected = 0.8 ** distance.abs().float()
    torch.testing.assert_close(x.T.cov(), expected, atol=0.06, rtol=0)  # 5 s.e.


def test_the_mean_of_each_number_is_that_given_those_before_it():
    pyro.set_rng_seed(0)
    x = sample(chain([0, 1, 2]), 20_000, (3,))
    assert torch.equal(x[:, 0], torch.full((20_000,), 5.0))
    assert x[:, 1].var().item() == pytest.approx(0.64, abs=0.04)  # of 0.8 x_0


def test_images_are_drawn_by_a_masked_convolution():
    class Masked(nn.Module):
        """Each pixel is like the one above it or, in the first row, like the one before it."""

        def model(self, x):
            with pyro.plate("data", len(x)):
                z = pyro.sample("z", dist.Normal(0.0, 1.0))
                above = torch.cat([torch.zeros_like(x[..., :1, :]), x[..., :-1, :]], -2)
                before = torch.cat([(z > 0).view(-1, 1, 1, 1).float(), x[..., :1, :-1]], -1)
                first = torch.zeros_like(x)
                first[..., :1, :] = before
                p = dist.Bernoulli(0.001 + 0.998 * (above + first))
                pyro.sample("x", p.to_event(3), obs=x)

        guide = staticmethod(guide)

    pyro.set_rng_seed(0)
    z = torch.tensor([1.0, -1.0, 1.0, -1.0])
    found = decode(Masked(), {"z": z}, 4, (1, 5, 4), mean=False)
    assert ((found > 0.5) == (z > 0).view(-1, 1, 1, 1)).float().mean() > 0.9


def test_a_latent_for_each_step_and_the_data_before_it_take_turns():
    """A variational recurrent network: z_t ~ N(x_before, s), x_t ~ N(z_t, s), a random walk."""

    def model(x):
        with pyro.plate("data", len(x)):
            for t in range(3):
                loc = x[:, t - 1] if t else 10.0
                z = pyro.sample(f"z_{t}", dist.Normal(loc, 1.0))
                pyro.sample(f"x_{t}", dist.Normal(z, 1.0), obs=x[:, t])

    pyro.set_rng_seed(0)
    x = sample(SimpleNamespace(model=model, guide=lambda x: None), 20_000, (3,), mean=False)
    torch.testing.assert_close(x.mean(0), torch.full((3,), 10.0), atol=0.1, rtol=0)
    torch.testing.assert_close(x.var(0), torch.tensor([2.0, 4.0, 6.0]), atol=0.3, rtol=0)  # 5 s.e.


def test_what_goes_through_the_returned_draws_is_right_without_it():
    def model(x):
        with pyro.plate("data", len(x)):
            last = torch.zeros(())
            for t in range(3):
                last = pyro.sample(f"x_{t}", dist.Normal(last + 1, 1.0), obs=x[:, t])

    pyro.set_rng_seed(0)
    x = sample(SimpleNamespace(model=model, guide=lambda x: None), 20_000, (3,), mean=False)
    torch.testing.assert_close(x.mean(0), torch.tensor([1.0, 2.0, 3.0]), atol=0.06, rtol=0)
    torch.testing.assert_close(x.var(0), torch.tensor([1.0, 2.0, 3.0]), atol=0.15, rtol=0)


@pytest.mark.parametrize("dtype", [None, torch.int64])
def test_tokens_are_drawn_one_after_the_other(dtype):
    class Counting(nn.Module):
        """Each token is one more than the last, of seven, and the first is z."""

        def __init__(self):
            super().__init__()
            self.embedding = nn.Embedding.from_pretrained(torch.eye(7))

        def model(self, x):
            with pyro.plate("data", len(x)):
                z = pyro.sample("z", dist.Categorical(torch.ones(7) / 7))
                first = torch.eye(7)[z].unsqueeze(-2)
                after = self.embedding(x[:, :-1]).roll(1, -1)
                logits = 100 * torch.cat([first, after], -2)
                pyro.sample("x", dist.Categorical(logits=logits).to_event(1), obs=x)

        guide = staticmethod(guide)

    z = torch.arange(5)
    found = decode(Counting(), {"z": z}, 5, (6,), dtype=dtype)
    assert torch.equal(found, (z.view(-1, 1) + torch.arange(6)) % 7)


def test_a_reconstruction_does_not_see_the_data():
    x = torch.full((2000, 4), 50.0)
    found = reconstruct(chain([0, 1, 2, 3]), x)
    torch.testing.assert_close(found.mean(0), torch.full((4,), 5.0), atol=0.2, rtol=0)


def test_data_that_depend_on_themselves_in_a_circle_are_refused():
    def model(x):
        with pyro.plate("data", len(x)):
            pyro.sample("x", dist.Normal(x.roll(1, -1) / 2, 1.0).to_event(1), obs=x)

    with pytest.raises(ValueError, match=r"\['x'\] change with x itself, and in no order"):
        sample(SimpleNamespace(model=model, guide=guide), 3, (4,))


def test_a_function_of_data_that_depend_on_themselves_is_refused():
    def model(x):
        with pyro.plate("data", len(x)):
            before = torch.cat([torch.zeros_like(x[:, :1]), x[:, :-1]], -1)
            pyro.sample("x", dist.Normal(before, 1.0).to_event(1), obs=x / 2)

    with pytest.raises(ValueError, match=r"observe a function.*let them observe x itself"):
        sample(SimpleNamespace(model=model, guide=guide), 3, (4,))


def test_a_dependence_that_only_drawn_data_show_is_refused():
    """Beyond 3 the numbers before and after see each other; placeholders lie within it."""

    def model(x):
        with pyro.plate("data", len(x)):
            before = torch.cat([torch.zeros_like(x[:, :1]), x[:, :-1]], -1)
            after = torch.cat([x[:, 1:], torch.zeros_like(x[:, :1])], -1).clamp(min=3.0) - 3
            pyro.sample("x", dist.Normal(10 + before + after, 1.0).to_event(1), obs=x)

    with pytest.raises(ValueError, match="in no order"):
        sample(SimpleNamespace(model=model, guide=guide), 3, (4,))


def test_missing_data_stay_missing_for_the_program():
    """A program that reads from x which numbers are missing, and depends on nothing else of it."""
    seen = []

    def model(x):
        seen.append(x.isnan())
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(0.0, 1.0)).unsqueeze(-1)
            p = dist.Normal(z + 7 + torch.zeros(4), 1.0).mask(~x.isnan())
            pyro.sample("x", p.to_event(1), obs=x.nan_to_num())

    x = torch.randn(3, 4)
    x[0, 1] = torch.nan
    found = reconstruct(SimpleNamespace(model=model, guide=guide), x)
    assert found.isfinite().all() and all(torch.equal(mask, x.isnan()) for mask in seen)
