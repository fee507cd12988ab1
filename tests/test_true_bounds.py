"""What is judged is log p(x) and bounds on it: the true value, or a sentence."""

import math
from types import SimpleNamespace

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro import poutine
from pyro.infer.autoguide import AutoDelta, AutoNormal
from torch import nn

from pyro_vae import training_factor
from pyro_vae.inference import evaluate, log_likelihood

X = torch.randn(50, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * math.sqrt(5)
EVIDENCE = dist.Normal(0.0, math.sqrt(5)).log_prob(X)  # of z ~ N(0, 1), x ~ N(2 z, 1)


def nothing(*_):
    return torch.enable_grad()


def scaled(scale):
    return lambda *_: poutine.scale(scale=scale)


def masked(mask):
    return lambda x: poutine.mask(mask=mask(x) if callable(mask) else mask)


def program(p=nothing, q=nothing, likelihood=nothing, beside=lambda x: None):
    """The solvable program, with its guide at the posterior and handlers around its sites."""

    def model(x):
        with pyro.plate("data", len(x)):
            with p(x):
                z = pyro.sample("z", dist.Normal(torch.zeros_like(x), 1.0))
            with likelihood(x):
                pyro.sample("x", dist.Normal(2 * z, 1.0), obs=x)
            beside(x)

    def guide(x):
        with pyro.plate("data", len(x)), q(x):
            pyro.sample("z", dist.Normal(0.4 * x, math.sqrt(0.2)))

    return SimpleNamespace(model=model, guide=guide)


def judged(program, x=X, **options):
    return evaluate(program, x).bound, log_likelihood(program, x, 3, **options)


def refused(program, sentence, x=X):
    for judge in (evaluate, lambda p, x: log_likelihood(p, x, 3)):
        with pytest.raises(ValueError, match=sentence):
            judge(program, x)


def is_exact(program, x=X, evidence=EVIDENCE):
    for values in judged(program, x):
        torch.testing.assert_close(values, evidence)


# Scales.


@pytest.mark.parametrize(
    "changes",
    [
        {"p": scaled(0.1), "q": scaled(0.1)},
        {"p": scaled(0.1)},
        {"q": scaled(torch.tensor(3.0))},
        {"likelihood": scaled(0.5)},
        {"likelihood": scaled(torch.linspace(0.5, 1, 50))},
    ],
)
def test_sites_that_are_scaled_are_refused(changes):
    refused(program(**changes), r"scales that of site '[zx]' by .*judge it with scale 1")


@pytest.mark.parametrize("one", [1, 1.0, torch.tensor(1.0)])
def test_an_annealing_factor_of_one_changes_nothing(one):
    is_exact(program(scaled(one), scaled(one)))


def test_a_plate_that_knows_of_more_data_than_the_batch_changes_nothing():
    def subsampled(function):
        def run(x):
            with pyro.plate("data", 1000, subsample=torch.arange(len(x))):
                return function(x)

        return run

    def model(x):
        z = pyro.sample("z", dist.Normal(torch.zeros_like(x), 1.0))
        pyro.sample("x", dist.Normal(2 * z, 1.0), obs=x)

    def guide(x):
        pyro.sample("z", dist.Normal(0.4 * x, math.sqrt(0.2)))

    is_exact(SimpleNamespace(model=subsampled(model), guide=subsampled(guide)))


def numbers_of_each_datum(x):
    """Two of the four numbers of each datum, drawn anew in each run."""
    with pyro.plate("data", len(x), dim=-1), pyro.plate("numbers", 4, 2, dim=-2) as i:
        pyro.sample("x", dist.Normal(torch.zeros(()), 1.0), obs=x.T[i])


def test_a_subsample_of_each_datums_numbers_gives_a_bound_that_is_right_on_average():
    x = torch.randn(20, 4)
    some = SimpleNamespace(model=numbers_of_each_datum, guide=lambda x: None)
    pyro.set_rng_seed(0)
    found = evaluate(some, x, num_particles=2000).bound.mean()
    truth = dist.Normal(0.0, 1.0).log_prob(x).sum(-1).mean()
    torch.testing.assert_close(found, truth, atol=0.02, rtol=0)  # 5 s.e.


def test_a_subsample_of_each_datums_numbers_gives_no_likelihood():
    some = SimpleNamespace(model=numbers_of_each_datum, guide=lambda x: None)
    with pytest.raises(ValueError, match="scales that of site 'x' by 2"):
        log_likelihood(some, torch.randn(20, 4), 3)


# Masks.


def test_latents_that_are_masked_out_although_the_data_depend_on_them_are_refused():
    refused(program(masked(False), masked(False)), r"\['z'\] are masked out, and site 'x'")


def test_a_mask_in_the_model_alone_is_refused():
    refused(program(masked(False)), "latent 'z' is masked otherwise in the model than in the guide")


def test_a_mask_on_some_data_of_model_and_guide_leaves_the_others_exact():
    positive = masked(lambda x: x > 0)
    is_exact(program(positive, positive, positive), evidence=EVIDENCE.where(X > 0, 0.0))


def test_numbers_that_are_masked_are_missing():
    x = torch.stack([X, X + 1], -1)
    x[::2, 1] = torch.nan
    known = ~x.isnan()

    def model(x):
        known = ~x.isnan()
        with pyro.plate("data", len(x)):
            loc = torch.zeros(len(x), 2)
            p = dist.Normal(loc, 1.0).mask(known).to_event(1)
            pyro.sample("x", p, obs=x.nan_to_num())

    evidence = dist.Normal(0.0, 1.0).log_prob(x.nan_to_num()).where(known, 0.0).sum(-1)
    is_exact(SimpleNamespace(model=model, guide=lambda x: None), x, evidence)


def test_sequences_of_several_lengths_are_judged_to_their_ends():
    """z_t ~ N(z_before, 1), x_t ~ N(z_t, 1): masked beyond the end, in model and guide."""
    x = torch.randn(6, 3, dtype=torch.float64)
    lengths = [1, 2, 3, 3, 2, 1]
    for row, length in zip(x, lengths, strict=True):
        row[length:] = 0.0

    def steps(x):
        for t in range(3):
            with poutine.mask(mask=x[:, t] != 0):
                yield t

    def model(x):
        with pyro.plate("data", len(x)):
            z = torch.zeros(len(x)).double()
            for t in steps(x):
                z = pyro.sample(f"z_{t}", dist.Normal(z, 1.0))
                pyro.sample(f"x_{t}", dist.Normal(z, 1.0), obs=x[:, t])

    def guide(x):  # the posterior of z given x, by conditioning the joint normal
        with pyro.plate("data", len(x)):
            for t in steps(x):
                loc = x[:, : t + 1].mean(-1)
                pyro.sample(f"z_{t}", dist.Normal(loc, 1.0))

    walk = torch.ones(3, 3).double().tril()
    cov = walk @ walk.T + torch.eye(3).double()
    exact = torch.stack(
        [
            dist.MultivariateNormal(torch.zeros(n).double(), cov[:n, :n]).log_prob(row[:n])
            for row, n in zip(x, lengths, strict=True)
        ]
    )
    sequences = SimpleNamespace(model=model, guide=guide)
    pyro.set_rng_seed(0)
    found = log_likelihood(sequences, x, 20_000)
    torch.testing.assert_close(found, exact, atol=0.1, rtol=0)
    assert (evaluate(sequences, x, num_particles=500).bound < exact + 0.05).all()


# Factors.


def test_a_factor_beside_the_density_of_the_data_is_refused():
    beside = program(beside=lambda x: pyro.factor("bonus", torch.full((len(x),), 5.0)))
    refused(beside, "factor 'bonus' of the model is added to it; leave it out")


def test_a_factor_of_zero_changes_nothing():
    is_exact(program(beside=lambda x: pyro.factor("nothing", torch.zeros(len(x)))))


def test_a_penalty_outside_the_plate_of_the_data_is_left_out():
    def model(x):
        pyro.factor("penalty", torch.tensor(100.0))
        program().model(x)

    is_exact(SimpleNamespace(model=model, guide=program().guide))


def test_what_depends_on_the_latents_of_all_data_outside_their_plate_is_refused():
    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros_like(x), 1.0))
            pyro.sample("x", dist.Normal(2 * z, 1.0), obs=x)
        pyro.factor("together", -z.mean().square())

    together = SimpleNamespace(model=model, guide=program().guide)
    refused(together, "site 'together', outside the data plate, depends on the latents of all data")


@pytest.mark.parametrize("inside", [True, False])
def test_a_training_factor_changes_nothing_wherever_it_stands(inside):
    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros_like(x), 1.0))
            pyro.sample("x", dist.Normal(2 * z, 1.0), obs=x)
            if inside:
                training_factor("together", z)
        if not inside:
            training_factor("together", -z.mean(-1, keepdim=True).square())

    is_exact(SimpleNamespace(model=model, guide=program().guide))


def test_a_likelihood_that_is_written_as_a_factor_counts():
    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros_like(x), 1.0))
            pyro.factor("x", dist.Normal(2 * z, 1.0).log_prob(x))

    is_exact(SimpleNamespace(model=model, guide=program().guide))


# The guide.


@pytest.mark.filterwarnings("ignore:Found non-auxiliary vars in guide")  # Pyro says it, too
def test_a_guide_that_observes_data_is_refused():
    def model(x, y):
        with pyro.plate("data", len(x)):
            pyro.sample("y", dist.Categorical(torch.ones(3) / 3), obs=y)
            z = pyro.sample("z", dist.Normal(torch.zeros_like(x), 1.0))
            pyro.sample("x", dist.Normal(2 * z, 1.0), obs=x)

    def guide(x, y):
        with pyro.plate("data", len(x)):
            pyro.sample("y", dist.Categorical(torch.tensor([0.7, 0.2, 0.1])), obs=y)
            pyro.sample("z", dist.Normal(0.4 * x, math.sqrt(0.2)))

    labelled, y = SimpleNamespace(model=model, guide=guide), torch.zeros(50, dtype=torch.long)
    for judge in (evaluate, log_likelihood):
        with pytest.raises(ValueError, match="the guide observes 'y'"):
            judge(labelled, X, y=y)


def test_a_guide_that_is_a_point_has_no_weights():
    pinned = SimpleNamespace(model=program().model, guide=AutoDelta(program().model))
    with pytest.raises(ValueError, match=r"puts latent 'z' on a point \(Delta\)"):
        log_likelihood(pinned, X, 3)


def test_the_value_of_a_guide_that_is_a_point_says_that_it_is_no_bound():
    pinned = SimpleNamespace(model=program().model, guide=AutoDelta(program().model))
    found = evaluate(pinned, X)
    assert not found.is_bound and "no bound: " in repr(found)
    assert evaluate(program(), X).is_bound


def test_a_point_is_one_beside_a_training_factor_of_the_guide():
    def guide(x):
        with pyro.plate("data", len(x)):
            training_factor("commitment", -x.square(), guide=True)
            pyro.sample("z", dist.Delta(0.4 * x))

    pinned = SimpleNamespace(model=program().model, guide=guide)
    with pytest.raises(ValueError, match=r"puts latent 'z' on a point \(Delta\)"):
        log_likelihood(pinned, X, 3)


def test_points_that_a_guide_computes_from_its_draws_have_a_density():
    def guide(x):
        with pyro.plate("data", len(x)):
            u = pyro.sample(
                "u", dist.Normal(torch.zeros_like(x), 1.0), infer={"is_auxiliary": True}
            )
            scale = math.sqrt(0.2)
            point = dist.Delta(0.4 * x + scale * u, log_density=-math.log(scale))
            pyro.sample("z", point)

    is_exact(SimpleNamespace(model=program().model, guide=guide))


def test_an_automatic_guide_of_all_data_is_judged():
    automatic = SimpleNamespace(model=program().model, guide=AutoNormal(program().model))
    automatic.guide(X)
    automatic.guide.locs.z = 0.4 * X
    automatic.guide.scales.z = torch.full_like(X, math.sqrt(0.2))
    is_exact(automatic)


# Discrete data.


class Unnormalized(dist.Bernoulli):
    def log_prob(self, value):
        return super().log_prob(value) + 1.0


@pytest.mark.parametrize("kind", [dist.Bernoulli, Unnormalized])
def test_a_probability_above_one_is_flagged(kind, recwarn):
    def model(x):
        with pyro.plate("data", len(x)):
            pyro.sample("x", kind(torch.tensor(0.5)), obs=x)

    judged(SimpleNamespace(model=model, guide=lambda x: None), torch.ones(10))
    found = [str(w.message) for w in recwarn]
    assert len(found) == (2 if kind is Unnormalized else 0)
    assert all("finds 0.3069 nats" in text and "no probability exceeds 1" in text for text in found)


def test_densities_of_real_data_may_well_exceed_one(recwarn):
    def model(x):
        with pyro.plate("data", len(x)):
            pyro.sample("x", dist.Normal(torch.zeros(()), 0.01), obs=x)

    judged(SimpleNamespace(model=model, guide=lambda x: None), torch.zeros(10))
    assert not recwarn.list


class Classifier(nn.Module):
    """The factor of its classifier teaches it, and is left out where the program is judged."""

    def model(self, x):
        with pyro.plate("data", len(x)):
            if self.training:
                pyro.factor("label", torch.full((len(x),), -3.0))
            z = pyro.sample("z", dist.Normal(torch.zeros_like(x), 1.0))
            pyro.sample("x", dist.Normal(2 * z, 1.0), obs=x)

    guide = staticmethod(program().guide)


def test_a_factor_of_training_alone_is_no_part_of_what_is_judged():
    is_exact(Classifier())
