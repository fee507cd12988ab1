"""What a comparison says of an estimator: what its value is, what its bias is held against."""

import math
from dataclasses import dataclass

import pyro
import pyro.distributions as dist
import pyro.infer
import pytest
import torch
from torch import nn

from pyro_vae.inference import (
    IWAE,
    MMD,
    PIWAE,
    STL,
    VIMCO,
    DReG,
    Estimator,
    Renyi,
    ReweightedWakeSleep,
    ScoreFunction,
    TotalCorrelation,
    Trace_ELBO,
    TraceMeanField_ELBO,
    compare,
    linear,
)
from pyro_vae.inference.comparison import is_bound, reference
from pyro_vae.inference.estimators import with_gradient
from pyro_vae.models import LinearGaussian

from .lone_estimators import lone_estimators


def compared(*estimators, **options):
    torch.manual_seed(1)
    program, x = LinearGaussian((6,), 2).double(), torch.randn(20, 6).double()
    options = {"num_particles": (2,), "repeats": 20, "progress": False} | options
    return compare(program, x, estimators, **options), program, x


def table_of(comparison):
    head, lines = comparison.tables()[0]
    return [dict(zip(head, line, strict=True)) for line in lines]


class Twice(Trace_ELBO):
    """A user's own estimator with twice the gradient of the ELBO."""

    def objective(self, t):
        bound = super().objective(t)
        return with_gradient(bound, 2 * bound)


class Renamed(Trace_ELBO):
    """A user's own estimator with the formula of the ELBO."""

    def check(self, t):
        """Refuses nothing."""


@pytest.mark.parametrize("estimator", [Twice(), pyro.infer.RenyiELBO(num_particles=2)])
def test_an_estimator_that_nothing_is_known_of_has_no_bias(estimator):
    (row,) = compared(estimator)[0].rows
    assert row.guide.bias is None and row.guide.bias_error is None and row.guide.variance > 0


def test_an_unknown_bias_is_a_dash_in_the_table():
    found, *_ = compared(Twice())
    assert [line[3] for _, lines in found.tables()[1:] for line in lines] == ["-", "-"]


def test_a_users_estimator_that_keeps_the_formula_keeps_its_reference():
    assert reference(Renamed(), reparameterized=True) == Trace_ELBO()


def test_a_reference_that_a_user_names_shows_the_bias():
    class Named(Twice):
        reference = Trace_ELBO.reference

    row = compared(Named())[0].rows[0]
    assert row.guide.bias == pytest.approx(row.guide.length, rel=0.3)  # twice the gradient


def test_every_estimator_of_ours_names_its_reference():
    for kind in lone_estimators():
        assert reference(kind(num_particles=4), reparameterized=True) is not None, kind


@pytest.mark.parametrize(
    "estimator, reparameterized, plain",
    [
        (STL(), True, Trace_ELBO()),
        (TraceMeanField_ELBO(beta=4.0), True, Trace_ELBO(beta=4.0)),
        (ScoreFunction(), False, Trace_ELBO()),
        (pyro.infer.TraceGraph_ELBO(), False, Trace_ELBO()),
        (DReG(5), True, IWAE(5)),
        (DReG(1), True, Trace_ELBO()),
        (PIWAE(8), True, IWAE(8)),
        (VIMCO(5), True, IWAE(5)),
        (ReweightedWakeSleep(5), False, VIMCO(5)),
        (ReweightedWakeSleep(1), False, Trace_ELBO()),
    ],
    ids=lambda value: str(value).partition(" object at ")[0],  # workers want the same names
)
def test_the_reference_is_the_plain_estimator_of_the_same_value(estimator, reparameterized, plain):
    assert reference(estimator, reparameterized=reparameterized) == plain


BOUNDS = [Trace_ELBO(), IWAE(), PIWAE(8), Renyi(alpha=0.5), TotalCorrelation(beta=1.0)]
OBJECTIVES = [
    Trace_ELBO(beta=4.0),
    Trace_ELBO(beta=linear(0, 1, 10)),
    TraceMeanField_ELBO(free_bits=0.5),
    TotalCorrelation(),
    MMD(),
    Renyi(alpha=-1.0),
    pyro.infer.RenyiELBO(num_particles=2),
    pyro.infer.EnergyDistance(),
]


@pytest.mark.parametrize("estimator", [*BOUNDS, *OBJECTIVES], ids=lambda e: str(e)[:30])
def test_what_weighs_the_terms_otherwise_is_no_bound(estimator):
    assert is_bound(estimator) == (estimator in BOUNDS)


def test_objectives_stand_in_a_column_of_their_own():
    found, *_ = compared(Trace_ELBO(), Trace_ELBO(beta=4.0), TotalCorrelation(num_data=20))
    elbo, weighed, total = table_of(found)
    assert elbo["objective ± draws"] == "-" and weighed["bound ± draws"] == "-"
    assert float(weighed["objective ± draws"].split(" ± ")[0]) == pytest.approx(
        found.rows[1].bound, abs=0.01
    )
    assert total["bound ± draws"] == "-"


def test_bounds_alone_leave_no_column_for_objectives():
    assert "objective ± draws" not in table_of(compared(IWAE())[0])[0]


@pytest.mark.parametrize(
    "seeds, title, errors",
    [((0,), "log p(x), 2 steps ± data", 1), ((0, 1), "log p(x), 2 steps ± data ± seeds", 2)],
)
def test_a_held_out_likelihood_has_its_error_over_data_and_that_over_seeds(seeds, title, errors):
    x = torch.randn(30, 6).double()
    options = {"data": x, "held_out": x[:10], "train_steps": 2, "seeds": seeds}
    found, *_ = compared(IWAE(), **options)
    cell = table_of(found)[0][title].split(" ± ")
    held_out = found.rows[0].equal_steps
    assert [float(number) for number in cell[1:]] == pytest.approx(
        [held_out.error, held_out.error_of_seeds][:errors], abs=0.005
    )


@dataclass(frozen=True)
class Own(Estimator):
    """A user's own bound."""

    def objective(self, t):
        return t.log_w.mean(0)


def test_a_users_own_formula_is_called_an_objective():
    assert not is_bound(Own()) and reference(Own(), reparameterized=True) is None


class Mixing(nn.Module):
    """Its softmax is over dimension 1, the data where particles stand in front of them."""

    def __init__(self):
        super().__init__()
        self.decoder = nn.Linear(2, 4).double()

    def model(self, x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(x.new_zeros(2), 1.0).to_event(1))
            loc = 10 * self.decoder(z).softmax(1)
            pyro.sample("x", dist.Normal(loc, 1.0).to_event(1), obs=x)

    def guide(self, x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(x[:, :2], 1.0).to_event(1))


def test_networks_of_one_batch_dimension_have_the_bounds_of_single_draws():
    x = torch.randn(40, 4).double()
    pyros = pyro.infer.Trace_ELBO(vectorize_particles=True)
    losses = {"at once": Trace_ELBO(vectorize_particles=True), "Pyro's": pyros}
    losses["single"] = pyro.infer.Trace_ELBO()
    found = compare(Mixing(), x, losses, num_particles=(4,), repeats=200, progress=False)
    at_once, pyros, single = found.rows
    assert "runs 4 particles at once" in pyros.refusal
    error = math.hypot(at_once.bound_error, single.bound_error)
    assert abs(at_once.bound - single.bound) < 4 * error
