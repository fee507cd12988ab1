"""The data plate is found whatever its name and place, and what stands outside it counts once."""

from types import SimpleNamespace

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro import poutine

import pyro_vae
from pyro_vae.inference import (
    CIWAE,
    IWAE,
    MIWAE,
    STL,
    VIMCO,
    DReG,
    ReweightedWakeSleep,
    ScoreFunction,
    Trace_ELBO,
    evaluate,
)
from pyro_vae.inference.terms import check_own_bounds, collect, data_plate

# Of guides that name, observe or call otherwise what the model does not, Pyro warns.
pytestmark = pytest.mark.filterwarnings("ignore:Found (non-auxiliary vars|plate statements)")

BOUNDS = [IWAE(4), CIWAE(3), MIWAE(4, groups=2), DReG(3), VIMCO(3), ScoreFunction(), STL()]
BOUNDS += [ReweightedWakeSleep(3), Trace_ELBO(3, vectorize_particles=True)]


def log_evidence(x):
    """Of x ~ N(z, 1) with z ~ N(0, 1), whose posterior is N(x / 2, 1 / 2)."""
    return dist.Normal(0.0, 2**0.5).log_prob(x)


class Matrix:
    """Rows of data in one plate and their columns in another, each number with a latent."""

    def __init__(self, rows=("batch", -1), columns=("features", -2), guide=None):
        self.rows, self.columns, self.guide_rows = rows, columns, guide or rows[0]

    def _plates(self, x, rows):
        return (
            pyro.plate(rows, len(x), dim=self.rows[1]),
            pyro.plate(self.columns[0], x.shape[1], dim=self.columns[1]),
        )

    def _laid_out(self, x):
        return x if self.rows[1] == -2 else x.T

    def model(self, x):
        rows, columns = self._plates(x, self.rows[0])
        with rows, columns:
            z = pyro.sample("z", dist.Normal(0 * self._laid_out(x), 1.0))
            pyro.sample("x", dist.Normal(z, 1.0), obs=self._laid_out(x))

    def guide(self, x):
        rows, columns = self._plates(x, self.guide_rows)
        with rows, columns:
            pyro.sample("z", dist.Normal(self._laid_out(x) / 2, 0.5**0.5))


@pytest.mark.parametrize(
    "program",
    [
        Matrix(),
        Matrix(rows=("batch", -2), columns=("features", -1)),
        Matrix(rows=("data", -1)),
        Matrix(guide="samples"),
    ],
    ids=["inner", "outer", "by name", "named otherwise in the guide"],
)
def test_each_row_has_the_bound_of_its_own_numbers(program):
    x = torch.randn(4, 2)
    bound = evaluate(program, x).bound
    torch.testing.assert_close(bound, log_evidence(x).sum(1))


def test_a_square_of_data_in_a_plate_named_data_goes_by_the_name():
    x = torch.randn(3, 3)
    bound = evaluate(Matrix(rows=("data", -1)), x).bound
    torch.testing.assert_close(bound, log_evidence(x).sum(1))


class Penalized:
    """x ~ N(z + w, 1) with z ~ N(0, 1), and a penalty of w, written as a factor."""

    def __init__(self, penalty=lambda w: -3.0 * w.square().sum(), w=0.7):
        self.penalty, self.w = penalty, torch.tensor([w], requires_grad=True)

    def model(self, x):
        pyro.factor("penalty", self.penalty(self.w))
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            pyro.sample("x", dist.Normal(z + self.w, 1.0), obs=x)

    def guide(self, x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal((x - self.w) / 2, 0.5**0.5))


@pytest.mark.parametrize("estimator", BOUNDS, ids=repr)
def test_a_penalty_outside_the_data_plate_counts_once(estimator):
    x = torch.linspace(-2, 2, 64)
    program = Penalized()
    loss = estimator.loss(program.model, program.guide, x)
    # The guide is the posterior, so each bound is the evidence; -3 * 0.7^2 is the penalty.
    assert loss == pytest.approx(3 * 0.49 - log_evidence(x - 0.7).sum().item(), rel=1e-5)


@pytest.mark.parametrize("estimator", [b for b in BOUNDS if not b.detaches_draws], ids=repr)
def test_the_gradient_of_a_penalty_is_that_of_one(estimator):
    x = torch.linspace(-2, 2, 64).double()
    gradients = []
    for penalty in (lambda w: -3.0 * w.square().sum(), lambda w: 0.0 * w.sum()):
        program = Penalized(penalty)
        pyro.set_rng_seed(0)
        loss = estimator.differentiable_loss(program.model, program.guide, x)
        gradients.append(torch.autograd.grad(loss, program.w)[0].item())
    assert gradients[0] - gradients[1] == pytest.approx(6 * 0.7, rel=1e-4)


def test_evaluate_finds_the_data_beside_a_penalty():
    x = torch.linspace(-2, 2, 5)
    program = Penalized()
    with torch.no_grad():
        torch.testing.assert_close(evaluate(program, x).bound, log_evidence(x - 0.7))


class Named:
    """A deterministic site before the data plate, one in it, and one after it."""

    def model(self, x):
        scale = pyro.deterministic("scale", torch.tensor(1.0))
        with pyro.plate("batch", len(x)):
            z = pyro.sample("z", dist.Normal(x.new_zeros(len(x)), scale))
            pyro.deterministic("twice", 2 * z)
            pyro.sample("x", dist.Normal(z, 1.0), obs=x)
        pyro.deterministic("mean_z", z.mean())

    def guide(self, x):
        pyro.deterministic("loc", x.mean())
        with pyro.plate("batch", len(x)):
            pyro.sample("z", dist.Normal(x / 2, 0.5**0.5))


@pytest.mark.parametrize("estimator", BOUNDS, ids=repr)
def test_deterministic_sites_are_no_data_and_no_latents(estimator):
    x, program = torch.randn(200), Named()
    loss = estimator.loss(program.model, program.guide, x)
    assert loss == pytest.approx(-log_evidence(x).sum().item(), rel=1e-5)
    torch.testing.assert_close(evaluate(program, x).bound, log_evidence(x))


def test_check_passes_a_program_with_deterministic_sites_around_its_plate():
    loc = torch.nn.Parameter(torch.zeros(()))

    def guide(x):
        with pyro.plate("batch", len(x)):
            pyro.sample("z", dist.Normal(x / 2 + loc, 0.5**0.5))

    pyro_vae.check(SimpleNamespace(model=Named().model, guide=guide), torch.randn(5), IWAE(1))


def test_a_likelihood_written_as_a_factor_is_data():
    def model(x):
        with pyro.plate("batch", len(x)):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            pyro.factor("x", dist.Normal(z, 1.0).log_prob(x))

    x = torch.randn(7)
    bound = evaluate(SimpleNamespace(model=model, guide=Named().guide), x).bound
    torch.testing.assert_close(bound, log_evidence(x))


def test_an_auxiliary_site_that_shares_the_name_of_data_is_no_part_of_them():
    def guide(x):
        with pyro.plate("batch", len(x)):
            pyro.sample("z", dist.Normal(x / 2, 0.5**0.5))
            pyro.sample("x", dist.Normal(0.0, 1.0), infer={"is_auxiliary": True})

    x = torch.randn(5)
    with pyro.validation_enabled(False):
        t = collect(Named().model, guide, (x,), {})
    assert (t.latents["x"].log_p == 0).all()


def test_without_any_plate_that_fits_the_rows_the_outermost_is_the_datas():
    with pyro.plate("outer", 4, dim=-2), pyro.plate("inner", 3, dim=-1):
        trace = poutine.trace(lambda: pyro.sample("x", dist.Normal(0.0, 1.0), obs=torch.ones(4, 3)))
        sites = trace.get_trace().nodes.values()
    sites = [site for site in sites if site["type"] == "sample"]
    assert data_plate(sites).name == "outer"
    assert data_plate(sites, 3).name == "inner"


def test_two_plates_that_fit_no_rows_are_refused_for_a_bound_of_each_datum():
    def model(x):
        with pyro.plate("rows", 4, dim=-2), pyro.plate("columns", 3):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            pyro.sample("x", dist.Normal(z, 1.0), obs=x.reshape(4, 3))

    def guide(x):
        with pyro.plate("rows", 4, dim=-2), pyro.plate("columns", 3):
            pyro.sample("z", dist.Normal(0.0, 1.0))

    with pytest.raises(ValueError, match=r"plates 'rows' \(4\) and 'columns' \(3\), and nothing"):
        IWAE(3).loss(model, guide, torch.zeros(12))
    assert Trace_ELBO().loss(model, guide, torch.zeros(12)) > 0


# What is no bound of each datum.


def test_a_scaled_site_has_no_bound_of_its_own():
    def model(x):
        with pyro.plate("data", len(x)):
            with poutine.scale(scale=0.1):
                z = pyro.sample("z", dist.Normal(0.0, 1.0))
            pyro.sample("x", dist.Normal(z, 1.0), obs=x)

    def guide(x):
        with pyro.plate("data", len(x)), poutine.scale(scale=0.1):
            pyro.sample("z", dist.Normal(0.0, 1.0))

    t = collect(model, guide, (torch.zeros(3),), {})
    with pytest.raises(ValueError, match="evaluate is a bound for each datum, but site 'z' is sca"):
        check_own_bounds(t, "evaluate")


def observing_guide(x, y):
    with pyro.plate("data", len(x)):
        pyro.sample("y", dist.Categorical(torch.tensor([0.7, 0.2, 0.1])), obs=y)
        pyro.sample("z", dist.Normal(x, 1.0))


def labelled_model(x, y):
    with pyro.plate("data", len(x)):
        y = pyro.sample("y", dist.Categorical(torch.ones(3) / 3), obs=y)
        z = pyro.sample("z", dist.Normal(0.0, 1.0))
        pyro.sample("x", dist.Normal(z + y, 1.0), obs=x)


@pytest.mark.parametrize("estimator", [IWAE(1), DReG(3), VIMCO(3)], ids=repr)
def test_a_guide_that_observes_data_has_no_bound_of_each_datum(estimator):
    x, y = torch.zeros(10), torch.zeros(10, dtype=torch.long)
    with pytest.raises(ValueError, match="the guide observes 'y': less its log density there"):
        estimator.loss(labelled_model, observing_guide, x, y)
