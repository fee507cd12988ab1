"""Programs, losses and data as text: what is understood, filled in, and refused."""

import pyro
import pytest
import torch
from pyro import poutine
from torch import nn

from pyro_vae import load
from pyro_vae.app.catalogue import catalogue
from pyro_vae.app.text import read_data, read_optim, read_program
from pyro_vae.app.text import read_loss as read_loss_of
from pyro_vae.app.text import read_schedule as schedule
from pyro_vae.inference import Trace_ELBO, TraceMeanField_ELBO, linear
from pyro_vae.likelihoods import Normal

KNOWN = {"x_shape": (1, 4, 4), "num_classes": 10}


def read_loss(text):
    return read_loss_of(text, {"num_data": 1297})


def program(text):
    return read_program(text, KNOWN)


@pytest.mark.parametrize(
    "text", ["VAE", "VAE()", " VAE(latent_dim=20) ", "VAE(20)", "VAE((1,4,4))"]
)
def test_what_the_data_know_is_filled_in(text):
    vae = program(text)
    assert vae.encoder.in_shape == (1, 4, 4) and vae.posterior.latent_dim == 20


def test_calls_nest_and_names_are_values():
    vae = program("VAE(5, likelihood=Normal(scale=0.5), hidden=(7, 6), activation=Tanh)")
    assert isinstance(vae.likelihood, Normal) and vae.likelihood.x_shape == (1, 4, 4)
    assert [type(layer) for layer in vae.encoder.layers] == [
        nn.Linear, nn.Tanh, nn.Linear, nn.Tanh, nn.Linear,
    ]  # fmt: skip


def test_a_name_may_say_its_room():
    assert isinstance(program("VAE(likelihood=likelihoods.Normal())").likelihood, Normal)


def test_losses_schedules_and_optimizers_are_what_they_are_in_python():
    assert read_loss("Trace_ELBO") == Trace_ELBO()
    text = "TraceMeanField_ELBO(beta=linear(0, 1, 10_000), free_bits=0.1)"
    assert read_loss(text) == TraceMeanField_ELBO(beta=linear(0, 1, 10_000), free_bits=0.1)
    assert schedule("linear(1, -1.5, steps=2)") == linear(1, -1.5, 2)
    assert read_optim("Adam({'lr': 1e-3, 'betas': (0.9, 0.99)})").pt_optim_args["betas"][1] == 0.99


def test_a_loss_that_asks_for_the_size_of_the_data_gets_it():
    assert read_loss("TotalCorrelation(beta=6)").num_data == 1297


def test_data_take_their_arguments_from_the_text():
    assert read_data("digits(binarize=None)").train.x.unique().numel() == 17


@pytest.mark.parametrize("kind", ["losses", "schedules", "data", "priors", "likelihoods"])
def test_the_catalogue_has_each_kind_with_a_sentence(kind):
    names = catalogue()[kind]
    assert names and all(value.__doc__ for value in names.values())


@pytest.mark.parametrize(
    "text, sentence",
    [
        ("VEA", "there is no 'VEA', did you mean 'VAE'. The programs are .*VAE"),
        ("vae", "did you mean 'VAE'"),
        ("VAE(latent=3)", "no argument 'latent', did you mean 'latent_dim'"),
        ("VAE(latent_dim=1 + 1)", "'1 \\+ 1' is neither a literal nor a call"),
        ("VAE(latent_dim=-1)", "latent_dim must be at least 1, but is -1"),
        ("VAE(posterior=FSQ())", "from these arguments: the posterior of this VAE is a FSQ"),
        ("VAE(latent_dim='many')", "VAE cannot be built from these arguments"),
        ("VAE(1, 2, 3, 4, 5)", "VAE: too many positional arguments"),
        ("VAE(likelihood=3)", "cannot be built"),
        ("VAE(**{'latent_dim': 3})", r"VAE is given \*\* arguments"),
        ("VAE(hidden=[n for n in (1, 2)])", "neither a literal"),
        ("VAE(", "is not a call such as VAE"),
        ("", "is not a call"),
        ("3", "is not a call"),
        ("lambda: VAE", "is not a call"),
        ("Trace_ELBO", "'Trace_ELBO' is not one of the programs, which are"),
        ("__import__('os').system('true')", "there is no"),
        ("VAE(prior=open('/etc/passwd'))", "there is no 'open'"),
        ("(lambda: 1)()", "is not a public name|is neither"),
        ("VAE" + "(" * 300, "is not a call"),
    ],
)
def test_other_texts_are_refused_in_one_sentence(text, sentence):
    with pytest.raises(ValueError, match=sentence) as caught:
        program(text)
    assert "\n" not in str(caught.value)


def test_each_reader_says_what_it_expects():
    with pytest.raises(ValueError, match="'VAE' is not one of the losses"):
        read_loss("VAE")
    with pytest.raises(ValueError, match="did you mean 'mnist'"):
        read_data("minst")


FUNCTIONS = """
import pyro
import pyro.distributions as dist
import torch
from torch import nn

encoder = nn.Sequential(nn.Flatten(), nn.Linear(16, 4))
decoder = nn.Linear(2, 16)


def model(x):
    pyro.module("decoder", decoder)
    sharp = pyro.param("sharp", torch.tensor(2.0), constraint=dist.constraints.positive)
    with pyro.plate("data", len(x)):
        z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
        logits = sharp * decoder(z).reshape(*z.shape[:-1], 1, 4, 4)
        return pyro.sample("x", dist.Bernoulli(logits=logits).to_event(3), obs=x)


def guide(x):
    loc, log_scale = encoder(x).chunk(2, -1)
    with pyro.plate("data", len(x)):
        pyro.sample("z", dist.Normal(loc, log_scale.exp()).to_event(1))
"""

CLASS = """
from pyro_vae.models import VAE


class MyVAE(VAE):
    def __init__(self, x_shape, latent_dim=3):
        super().__init__(x_shape, latent_dim)


class Plain:
    def __init__(self, x_shape):
        self.inner = VAE(x_shape, 2)

    def model(self, x):
        return self.inner.model(x)

    def guide(self, x):
        return self.inner.guide(x)
"""


@pytest.fixture
def write(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def write(text, name="my_vae.py"):
        (tmp_path / name).write_text(text)
        return name

    return write


def test_a_file_of_two_functions_is_a_program_with_its_modules_and_params(write):
    found = read_program(write(FUNCTIONS), KNOWN)
    assert found.model(torch.zeros(5, 1, 4, 4)).shape == (5, 1, 4, 4)
    names = set(found.state_dict())
    assert {"parts.encoder.1.weight", "parts.decoder.bias", "pyro_params.sharp"} <= names
    assert found.pyro_params["sharp"].exp().item() == pytest.approx(2.0)


def test_two_programs_of_one_file_share_nothing(write):
    one, other = (read_program(write(FUNCTIONS), KNOWN) for _ in range(2))
    for each in (one, other):
        each.model(torch.zeros(1, 1, 4, 4))
    mine = {id(p) for p in one.parameters()}
    assert mine.isdisjoint(id(p) for p in other.parameters())


def test_pyro_params_are_loaded_before_they_are_declared(write):
    one = read_program(write(FUNCTIONS), KNOWN)
    one.model(torch.zeros(1, 1, 4, 4))
    with torch.no_grad():
        one.pyro_params["sharp"].fill_(0.25)
    other = read_program("my_vae.py", KNOWN)
    other.load_state_dict(one.state_dict())
    other.model(torch.zeros(1, 1, 4, 4))
    assert other.pyro_params["sharp"].item() == 0.25


def test_a_param_that_is_read_by_its_name_keeps_its_constraint(write):
    text = FUNCTIONS.replace("* decoder(z)", '* pyro.param("sharp") / sharp * decoder(z)')
    found, plain = read_program(write(text), KNOWN), read_program(write(FUNCTIONS, "b.py"), KNOWN)
    found.load_state_dict(plain.state_dict(), strict=False)
    values = []
    for each in (found, plain):
        pyro.set_rng_seed(0)
        trace = poutine.trace(each.model).get_trace(torch.zeros(3, 1, 4, 4))
        values.append(trace.log_prob_sum())
    assert torch.allclose(*values)


def test_a_class_of_a_file_takes_arguments_and_what_the_data_know(write):
    write(CLASS)
    assert read_program("my_vae.py:MyVAE(latent_dim=5)", KNOWN).posterior.latent_dim == 5
    assert load("my_vae.py:MyVAE((1, 4, 4))").posterior.latent_dim == 3


def test_an_object_that_is_no_module_is_a_program_too(write):
    found = read_program(write(CLASS) + ":Plain", KNOWN)
    assert found.model(torch.zeros(5, 1, 4, 4)).shape == (5, 1, 4, 4)
    assert any(name.startswith("parts.inner.encoder") for name in found.state_dict())


PARTS = """
import pyro.distributions as dist
import torch
from pyro.distributions import Normal
from torch import nn


class Laplace(nn.Module):
    def __init__(self, latent_dim=20):
        super().__init__()
        self.latent_dim = latent_dim

    def forward(self):
        return dist.Gumbel(torch.zeros(self.latent_dim), 1.0).to_event(1)
"""


def prior_of(text):
    return type(read_program(text, KNOWN).prior().base_dist).__name__


def test_a_program_of_ours_takes_a_part_of_a_users_file(write):
    assert prior_of(write(PARTS) + ":VAE(prior=Laplace(20))") == "Gumbel"


def test_the_bare_name_of_a_users_part_is_a_call_of_it(write):
    assert prior_of(write(PARTS) + ":VAE(prior=Laplace)") == "Gumbel"


def test_a_users_part_comes_before_one_of_ours_that_has_its_name(write):
    file = write(PARTS)
    assert prior_of(f"{file}:VAE(prior=Laplace())") == "Gumbel"
    assert prior_of(f"{file}:VAE(prior=priors.Laplace())") == "Laplace"


def test_a_distribution_that_a_users_file_imports_does_not_hide_our_likelihood(write):
    found = read_program(write(PARTS) + ":VAE(likelihood=Normal())", KNOWN)
    assert isinstance(found.likelihood, Normal)


@pytest.mark.parametrize(
    "content, text, sentence",
    [
        ("x = 1", "my_vae.py", "has no functions model"),
        ("x = 1\nx.y", "my_vae.py", "my_vae.py does not run: line 2: AttributeError"),
        ("def model(x:", "my_vae.py", "does not run: .*SyntaxError"),
        (CLASS, "my_vae.py:MyVEA", "did you mean 'MyVAE'"),
        ("Thing = dict", "my_vae.py:Thing()", "not a class or function that a text can call"),
        ("class Thing: pass", "my_vae.py:Thing()", "no methods model"),
    ],
)
def test_files_that_are_no_programs_are_refused(write, content, text, sentence):
    write(content)
    with pytest.raises(ValueError, match=sentence):
        read_program(text, KNOWN)


def test_a_missing_file_is_named():
    with pytest.raises(FileNotFoundError, match="no file nowhere.py"):
        program("nowhere.py")
