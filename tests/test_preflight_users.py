"""The pre-flight of programs as users write them: what trains passes, what does not is told."""

from pathlib import Path

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro import poutine
from torch import nn

from pyro_vae import check
from pyro_vae.app.text import read_program
from pyro_vae.inference import IWAE, Trace_ELBO
from pyro_vae.models import ConditionalVAE

THIS = Path(__file__)
X = torch.randn(16, 6, generator=torch.Generator().manual_seed(0))


class Program(nn.Module):
    """A usual program, with places for what users do otherwise."""

    def __init__(self):
        super().__init__()
        self.encoder, self.decoder = nn.Linear(6, 4), nn.Linear(2, 6)

    def encode(self, x):
        return self.encoder(x)

    def likelihood(self, z):
        return dist.Normal(self.decoder(z), 1.0)

    def observe(self, z, x):
        pyro.sample("x", self.likelihood(z).to_event(1), obs=x)

    def model(self, x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
            self.observe(z, x)

    def guide(self, x):
        loc, scale = self.encode(x).chunk(2, -1)
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(loc, scale.exp()).to_event(1))


def line_of(text):
    lines = THIS.read_text().splitlines()
    return f"{THIS.name}:{next(i for i, line in enumerate(lines, 1) if line.endswith(text))}"


# Missing data and labels.


class Imputed(Program):
    """Puts zeros in the place of missing numbers, and counts the known ones alone."""

    def encode(self, x):
        return self.encoder(x.nan_to_num())

    def observe(self, z, x):
        p = self.likelihood(z).mask(~x.isnan()).to_event(1)
        pyro.sample("x", p, obs=x.nan_to_num())


class ImputedAsAWhole(Imputed):
    """Counts the data of which all numbers are known."""

    def observe(self, z, x):
        with poutine.mask(mask=~x.isnan().any(-1)):
            pyro.sample("x", self.likelihood(z).to_event(1), obs=x.nan_to_num())


class HiddenNaN(Imputed):
    """Observes the missing numbers themselves under a mask, which spoils the gradient."""

    def observe(self, z, x):
        pyro.sample("x", self.likelihood(z).mask(~x.isnan()).to_event(1), obs=x)


MISSING = X.clone()
MISSING[::3, 2] = torch.nan


@pytest.mark.parametrize("program", [Imputed(), ImputedAsAWhole()])
def test_missing_values_that_a_program_takes_pass(program):
    check(program, MISSING, Trace_ELBO())


def test_missing_values_that_a_program_does_not_take_are_counted():
    with pytest.raises(ValueError, match=r"hold 6 NaN or infinite values, which the program does"):
        check(Program(), MISSING)


def test_missing_values_that_only_a_mask_hides_are_refused_by_pyro():
    with pytest.raises(ValueError, match=r"leave out: Trace_ELBO .* at site 'x': Expected"):
        check(HiddenNaN(), MISSING)


def test_missing_values_that_only_a_mask_hides_spoil_the_gradient():
    with pyro.validation_enabled(False), pytest.raises(ValueError, match="r.weight' gets a grad"):
        check(HiddenNaN(), MISSING)


def test_infinite_values_are_refused():
    with pytest.raises(ValueError, match="hold 96 NaN or infinite"):
        check(Program(), torch.full_like(X, torch.inf))


Y = torch.arange(16) % 4 - 1  # -1 where there is no label


class HalfLabelled(Program):
    """Observes the labels that there are, and draws the others."""

    def __init__(self):
        super().__init__()
        self.classifier = nn.Linear(6, 3)

    def model(self, x, y):
        with pyro.plate("data", len(x)):
            p = dist.Categorical(torch.ones(3) / 3)
            y = pyro.sample("y", p, obs=y.clamp(min=0), obs_mask=y >= 0)
            z = pyro.sample("z", dist.Normal(y.unsqueeze(-1) * torch.ones(2), 1.0).to_event(1))
            self.observe(z, x)

    def guide(self, x, y):
        loc, scale = self.encode(x).chunk(2, -1)
        with pyro.plate("data", len(x)):
            with poutine.mask(mask=y < 0):
                pyro.sample("y_unobserved", dist.Categorical(logits=self.classifier(x)))
            pyro.sample("z", dist.Normal(loc, scale.exp()).to_event(1))


class MaskedLabels(HalfLabelled):
    """Counts the labels that there are."""

    def model(self, x, y):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
            logits = self.classifier(self.decoder(z))
            with poutine.mask(mask=y >= 0):
                pyro.sample("y", dist.Categorical(logits=logits), obs=y.clamp(min=0))
            self.observe(z, x)

    def guide(self, x, y):
        Program.guide(self, x)


@pytest.mark.parametrize("program", [HalfLabelled(), MaskedLabels()])
def test_labels_of_minus_one_pass_where_they_are_masked(program):
    check(program, X, pyro.infer.Trace_ELBO(), y=Y)


# Sites beside the data, and plates of other names and dimensions.


class Beside(Program):
    def model(self, x):
        pyro.deterministic("scale", torch.tensor(2.0))
        pyro.factor("penalty", -self.decoder.weight.square().sum())
        with pyro.plate("batch", len(x), dim=-1):
            z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
            pyro.deterministic("loc", self.decoder(z), event_dim=1)
            self.observe(z, x)

    def guide(self, x):
        loc, scale = self.encode(x).chunk(2, -1)
        with pyro.plate("batch", len(x), dim=-1):
            pyro.sample("z", dist.Normal(loc, scale.exp()).to_event(1))


def test_factors_are_told_and_deterministic_sites_are_none():
    report = check(Beside(), X, Trace_ELBO())
    assert [row[:2] for row in report.rows()] == [("z", "latent"), ("x", "observed")]
    assert report.summary().endswith("46 parameters, factors 'penalty'")


def test_a_model_of_deterministic_sites_alone_observes_nothing():
    class Silent(Program):
        def observe(self, z, x):
            pyro.deterministic("x", self.decoder(z), event_dim=1)

    with pytest.raises(ValueError, match="observes nothing; give its data site obs=x"):
        check(Silent(), X)


@pytest.mark.parametrize("dim", [-1, -2])
def test_the_plate_of_the_data_may_have_any_name_and_dimension(dim):
    class Turned(nn.Module):
        """Numbers that are independent, in a plate of their own beside that of the data."""

        def __init__(self):
            super().__init__()
            self.loc = nn.Parameter(torch.zeros(()))

        def plates(self, x):
            return pyro.plate("rows", 16, dim=dim), pyro.plate("numbers", 6, dim=-3 - dim)

        def laid(self, x):
            return x.T if dim == -1 else x

        def model(self, x):
            rows, numbers = self.plates(x)
            with rows, numbers:
                z = pyro.sample("z", dist.Normal(torch.zeros(()), 1.0))
                pyro.sample("x", dist.Normal(z, 1.0), obs=self.laid(x))

        def guide(self, x):
            rows, numbers = self.plates(x)
            with rows, numbers:
                pyro.sample("z", dist.Normal(self.laid(x) / 2 + self.loc, 0.5**0.5))

    for loss in (Trace_ELBO(), IWAE(3)):  # at the posterior both are the evidence
        evidence = dist.Normal(0.0, 2**0.5).log_prob(X).sum(-1).mean()
        assert check(Turned(), X, loss).loss == pytest.approx(-evidence.item(), rel=1e-5)


# Batch normalization.


class Normed(Program):
    def __init__(self):
        super().__init__()
        self.norm = nn.BatchNorm1d(6)

    def encode(self, x):
        return self.encoder(self.norm(x))


def test_data_that_batch_normalization_brings_to_scale_pass():
    check(Normed(), 1000 + 100 * X)


def test_a_batch_of_one_under_batch_normalization_is_refused():
    with pytest.raises(ValueError, match=r"guide fails.*BatchNorm trains on batches of two"):
        check(Normed(), X[:1])


def test_a_batch_of_one_passes_in_evaluation_mode():
    check(Normed().eval(), X[:1])


# Errors in users' own code.


class Broken(Program):
    def encode(self, x):
        return self.encoder(x[:, :5])  # broken guide


class BrokenModel(Program):
    def likelihood(self, z):
        return dist.Normal(self.decoder(z), self.missing)  # broken model


@pytest.mark.parametrize(
    "program, role, text",
    [(Broken(), "guide", "# broken guide"), (BrokenModel(), "model", "# broken model")],
)
def test_an_error_names_the_line_of_the_users_code(program, role, text):
    with pytest.raises(ValueError, match=rf"the {role} fails.*\({line_of(text)}\)$") as caught:
        check(program, X)
    assert "\n" not in str(caught.value)


def test_a_loss_in_text_is_refused():
    with pytest.raises(ValueError, match=r"the loss is the text 'Trace_ELBO'; give the estimator"):
        check(Program(), X, "Trace_ELBO")


def test_a_function_may_be_the_loss():
    program, loss = Program(), pyro.infer.Trace_ELBO()
    assert check(program, X, loss.differentiable_loss).loss == check(program, X, loss).loss


# Networks of one batch dimension.


class Mixing(Program):
    """Its softmax is over dimension 1, the data where particles stand in front of them."""

    def likelihood(self, z):
        return dist.Normal(10 * self.decoder(z).softmax(1), 1.0)


def test_particles_at_once_are_refused_where_pyro_would_be_wrong():
    loss = pyro.infer.Trace_ELBO(num_particles=5, vectorize_particles=True)
    check(Program(), X, loss)
    with pytest.raises(ValueError, match=r"runs 5 particles at once.*vectorize_particles=False"):
        check(Mixing(), X, loss)


@pytest.mark.parametrize("loss", [IWAE(5), Trace_ELBO(5), pyro.infer.Trace_ELBO(num_particles=5)])
def test_particles_pass_where_they_run_rightly(loss):
    check(Mixing(), X, loss)


def test_a_gradient_that_is_not_finite_is_named():
    class Rooted(Program):
        def likelihood(self, z):
            return dist.Normal(self.decoder(z) + (0 * self.decoder.bias).sum().sqrt(), 1.0)

    with pytest.raises(ValueError, match=r"'decoder.bias' gets a gradient that is not finite"):
        check(Rooted(), X)


# Arguments and names as users write them.


def test_labels_may_be_given_by_place_and_so_may_the_loss():
    program = ConditionalVAE((1, 4, 4), 2, num_classes=3, hidden=(8,))
    x, y = torch.zeros(4, 1, 4, 4), torch.arange(4) % 3
    loss = check(program, x, y, IWAE(2)).loss
    assert loss == check(program, x, IWAE(2), y).loss == check(program, x, y=y, loss=IWAE(2)).loss


def test_parameters_of_a_file_of_functions_are_called_as_in_the_file(tmp_path):
    (tmp_path / "mine.py").write_text(FILE)
    program = read_program(str(tmp_path / "mine.py"), {})
    assert set(check(program, torch.zeros(4, 3)).parameters) == {
        "enc.weight",
        "enc.bias",
        "shift",
        "net.scale",
    }


FILE = """
import pyro
import pyro.distributions as dist
import torch
from torch import nn

enc, shift = nn.Linear(3, 3), nn.Parameter(torch.zeros(3))

def model(x):
    with pyro.plate("data", len(x)):
        z = pyro.sample("z", dist.Normal(torch.zeros(3), 1.0).to_event(1))
        pyro.sample("x", dist.Normal(z + shift, 1.0).to_event(1), obs=x)

def guide(x):
    scale = pyro.param("net.scale", torch.ones(3), constraint=dist.constraints.positive)
    with pyro.plate("data", len(x)):
        pyro.sample("z", dist.Normal(enc(x), scale).to_event(1))
"""
