"""Programs explained: diagrams are complete, and terms add up to what evaluate and losses say."""

import math
import re
from functools import partial

import matplotlib
import pyro
import pyro.infer
import pytest
import torch
from matplotlib.mathtext import MathTextParser
from pyro import poutine

from pyro_vae import likelihoods, models, networks
from pyro_vae.inference import (
    CIWAE,
    IWAE,
    MIWAE,
    PIWAE,
    VAEGAN,
    Adversarial,
    FactorVAE,
    Renyi,
    Trace_ELBO,
    TraceEnum_ELBO,
    TraceMeanField_ELBO,
    evaluate,
    explain,
    log_likelihood,
    mean_and_error,
)
from pyro_vae.inference.evaluation import each_once, evaluate_batches
from pyro_vae.inference.explanation.unicode import unicode_of
from pyro_vae.plots import Node, PlateDiagram
from pyro_vae.priors import DiffusionPrior
from pyro_vae.program import evaluating
from pyro_vae.source import load_file

from .lone_estimators import lone_estimators
from .token_parts import TOKEN_LIKELIHOODS, of_tokens

SHAPE = (1, 8, 8)
# 32 data, so that draws of all particles at once are those of one after the other.
X = (torch.arange(32 * 64).reshape(32, *SHAPE) * 0.7).sin().gt(0).float()
Y = torch.arange(32) % 10
TABLE = (torch.arange(80).reshape(20, 4) * 0.9).cos()
WITH_GAPS = torch.where(torch.arange(80).reshape(20, 4) % 7 == 0, torch.nan, TABLE)
TOKENS = (torch.arange(80).reshape(20, 4) % 3).contiguous()


def tokens():
    return of_tokens(TOKEN_LIKELIHOODS[0])


# Ten programs of the house and more, each with data, labels or none, and its parameters' names.
HOUSE = {
    "VAE": (partial(models.VAE, SHAPE, 3), X, None),
    "ConditionalVAE": (partial(models.ConditionalVAE, SHAPE, 3), X, Y),
    "SemiSupervisedVAE": (
        partial(models.SemiSupervisedVAE, SHAPE, 3),
        X,
        Y.where(Y % 3 == 0, -1),
    ),
    "GaussianMixtureVAE": (partial(models.GaussianMixtureVAE, SHAPE, 3), X, None),
    "HierarchicalVAE": (
        partial(models.HierarchicalVAE, SHAPE, (4, 3, 2), hidden=(8,)),
        X,
        None,
    ),
    "LadderVAE": (partial(models.LadderVAE, SHAPE, (4, 3, 2), skips=True), X, None),
    "NVAE": (partial(models.NVAE, SHAPE, channels=4), X, None),
    "DeepMarkovModel": (partial(models.DeepMarkovModel, (8, 8), 2), X[:, 0], None),
    "VQVAE": (partial(models.VQVAE, SHAPE, channels=(4, 4)), X, None),
    "diffusion prior": (
        partial(models.VAE, SHAPE, 3, prior=DiffusionPrior(3, steps=4)),
        X,
        None,
    ),
    "LatentDiffusion": (
        partial(models.LatentDiffusion, SHAPE, 3, prior=DiffusionPrior(3, steps=8)),
        X,
        None,
    ),
    "texts": (tokens, TOKENS, None),
    "NotMIWAE": (
        partial(models.NotMIWAE, (4,), 2, likelihood=likelihoods.Normal((4,))),
        WITH_GAPS,
        None,
    ),
    "BayesianVAE": (partial(models.BayesianVAE, SHAPE, 3, num_data=100, hidden=(4,)), X, None),
}

NESTED = """
import pyro, torch
import pyro.distributions as dist
from torch import nn

encoder, decoder = nn.Linear(4, 6), nn.Linear(3, 4)

def model(x):
    with pyro.plate("data", len(x), dim=-2):
        z = pyro.sample("z", dist.Normal(x.new_zeros(1, 3), 1.0).to_event(1))
        with pyro.plate("columns", 4, dim=-1):
            pyro.sample("x", dist.Normal(decoder(z.squeeze(-2)), 1.0), obs=x)

def guide(x):
    loc, log_scale = encoder(x).unsqueeze(-2).chunk(2, -1)
    with pyro.plate("data", len(x), dim=-2):
        pyro.sample("z", dist.Normal(loc, log_scale.exp()).to_event(1))
"""
ENUMERATED = """
import pyro, torch
import pyro.distributions as dist
from torch import nn

encoder, classifier, means = nn.Linear(4, 4), nn.Linear(4, 3), nn.Linear(2, 4)
centres = nn.Parameter(torch.eye(3)[:, :2])

def model(x):
    with pyro.plate("data", len(x)):
        kind = pyro.sample("kind", dist.Categorical(torch.ones(3) / 3))
        z = pyro.sample("z", dist.Normal(centres[kind], 1.0).to_event(1))
        pyro.sample("x", dist.Normal(means(z), 1.0).to_event(1), obs=x)

def guide(x):
    loc, log_scale = encoder(x).chunk(2, -1)
    with pyro.plate("data", len(x)):
        q = dist.Categorical(logits=classifier(x))
        pyro.sample("kind", q, infer={"enumerate": "parallel"})
        pyro.sample("z", dist.Normal(loc, log_scale.exp()).to_event(1))
"""
LABELLED = """
import pyro, torch
import pyro.distributions as dist
from torch import nn

encoder, decoder = nn.Linear(4 + 10, 4), nn.Linear(2 + 10, 4)

def model(xs, ys=None):
    c = torch.eye(10)[ys]
    with pyro.plate("rows", len(xs)):
        z = pyro.sample("z_what", dist.Normal(torch.zeros_like(xs[:, :2]), 1.0).to_event(1))
        both = torch.cat([z, c.expand(*z.shape[:-1], 10)], -1)
        pyro.sample("obs", dist.Normal(decoder(both), 1.0).to_event(1), obs=xs)

def guide(xs, ys=None):
    loc, log_scale = encoder(torch.cat([xs, torch.eye(10)[ys]], -1)).chunk(2, -1)
    with pyro.plate("rows", len(xs)):
        pyro.sample("z_what", dist.Normal(loc, log_scale.exp()).to_event(1))
"""
USERS = {"nested": (NESTED, None), "enumerated": (ENUMERATED, None), "labelled": (LABELLED, Y[:20])}


@pytest.fixture
def of_user(tmp_path):
    """Makes a program of a file of two functions."""

    def of_user(name):
        path = tmp_path / f"{name}.py"
        path.write_text(USERS[name][0])
        return load_file(path)

    return of_user


def labels(y):
    return () if y is None else (y,)


def sites(function, args):
    """The sites that have a density, by Pyro's own trace, with their plates."""
    trace = poutine.trace(function).get_trace(*args)
    return {
        name: [frame.name for frame in site["cond_indep_stack"]]
        for name, site in trace.nodes.items()
        if site["type"] == "sample"
        and type(site["fn"]).__name__ != "_Subsample"
        and not site["infer"].get("is_auxiliary")
    }


def assert_complete(explanation, program, args):
    """Every site and every plate is in the text, in the LaTeX and in the picture."""
    with evaluating(program):
        found = sites(program.model, args)
    plates = {plate for stack in found.values() for plate in stack}
    figure = explanation.plot()
    drawn = {text.get_text() for text in figure.axes[0].texts}
    for name in found:
        circle = f"${symbol_of(name)}$"
        assert re.search(rf"[○●■]\s+{name}\s", explanation.text), name
        assert circle in drawn and circle[1:-1] in explanation.latex, name
    for plate in plates:
        assert f"─ {plate}: " in explanation.text
        assert any(text.startswith(f"{plate}: ") for text in drawn)


def symbol_of(name):
    """The LaTeX of the names of the sites here."""
    head, _, tail = name.partition("_")
    head = {"theta": r"\theta"}.get(head, head if len(head) == 1 else rf"\mathrm{{{head}}}")
    return (
        f"{head}_{{{tail if tail.isdigit() else rf'{chr(92)}mathrm{{{tail}}}'}}}" if tail else head
    )


@pytest.mark.parametrize("name", HOUSE)
def test_the_terms_of_a_program_add_up_to_the_bound_that_evaluate_gives(name):
    build, x, y = HOUSE[name]
    program = build()
    pyro.set_rng_seed(1)
    explanation = explain(program, x, y)
    pyro.set_rng_seed(1)
    batches = each_once(program, x, y, 500)
    bound = evaluate_batches(program, batches).bound  # of the same draws
    torch.testing.assert_close(explanation.bound, bound, rtol=1e-5, atol=1e-3)
    assert explanation.is_bound and explanation.num_data == len(x)
    assert_complete(explanation, program, (x, *labels(y)))


@pytest.mark.parametrize("name", USERS)
def test_the_terms_of_a_users_program_add_up_to_the_bound_that_evaluate_gives(name, of_user):
    program, y = of_user(name), USERS[name][1]
    explanation = explain(program, TABLE, y)
    pyro.set_rng_seed(7)  # of other draws
    batches = each_once(program, TABLE, y, 500)
    assert_agree(explanation.bound, evaluate_batches(program, batches, num_particles=20).bound)
    assert_complete(explanation, program, (TABLE, *labels(y)))


def assert_agree(a, b):
    """Two means are within four standard errors of their difference, of data that are the same."""
    mean, error = mean_and_error(a - b)
    assert abs(mean) < 4 * error + 1e-4


def loss_of(loss, program, *args):
    """The value per datum, by the estimator's own loss."""
    with evaluating(program):
        return -float(loss.loss(program.model, program.guide, *args)) / len(args[0])


LOSSES = [
    *(kind() for kind in lone_estimators()),
    Trace_ELBO(num_particles=3, vectorize_particles=True),
    Trace_ELBO(num_particles=2, beta=4, factors={}),
    Trace_ELBO(beta=10, capacity=3.0),
    TraceMeanField_ELBO(beta={"z": 0.5}, free_bits={"z": 9.0}),
    TraceMeanField_ELBO(free_bits_per_dimension=0.5, beta=0.7, kl_balance=True),
    IWAE(1),
    MIWAE(6, groups=2),
    PIWAE(6, groups=2),
    CIWAE(8, beta=0.3),
    Renyi(8, alpha=-math.inf),
    Renyi(8, alpha=2.0),
    FactorVAE(discriminator=networks.MLP((3,), (1,))),
    Adversarial(discriminator=networks.Discriminator(SHAPE)),
    VAEGAN(discriminator=networks.Discriminator(SHAPE)),
    pyro.infer.Trace_ELBO(num_particles=2),
    pyro.infer.TraceMeanField_ELBO(),
    pyro.infer.TraceGraph_ELBO(),
    pyro.infer.RenyiELBO(alpha=0.0, num_particles=4),
    pyro.infer.TraceTMC_ELBO(max_plate_nesting=1, strict_enumeration_warning=False),
]


@pytest.mark.filterwarnings("ignore:TraceEnum_ELBO found no sample sites")
@pytest.mark.parametrize("loss", LOSSES, ids=lambda loss: type(loss).__name__)
def test_the_terms_of_an_estimator_add_up_to_its_own_value(loss):
    program = models.VAE(SHAPE, 3)
    pyro.set_rng_seed(2)
    value = loss_of(loss, program, X)
    pyro.set_rng_seed(2)
    explanation = explain(program, X, loss=loss)
    assert explanation.climbed.mean().item() == pytest.approx(value, rel=1e-5)
    assert len(explanation.formula.addends) >= 2
    check_latex(explanation)


@pytest.mark.parametrize("name", ["SemiSupervisedVAE", "GaussianMixtureVAE"])
def test_latents_that_are_summed_out_have_the_terms_of_pyros_sum(name):
    build, x, y = HOUSE[name]
    program = build()
    factors = {"label": 50.0} if y is not None else {}
    loss = TraceEnum_ELBO(max_plate_nesting=1, factors=factors, num_particles=2)
    pyro.set_rng_seed(2)
    value = loss_of(loss, program, x, *labels(y))
    pyro.set_rng_seed(2)
    explanation = explain(program, x, y, loss=loss)
    assert explanation.climbed.mean().item() == pytest.approx(value, rel=1e-5)
    assert "exact, a sum over its values" in explanation.text
    batches = each_once(program, x, y, 500)
    assert_agree(explanation.bound, evaluate_batches(program, batches, num_particles=30).bound)


def test_a_latent_that_the_model_sums_out_is_a_sum_within_a_logarithm(of_user):
    program = of_user("enumerated")
    full = program.guide

    def guide(x):
        return poutine.block(full, hide=["kind"])(x)

    program = type(
        "Program", (), {"model": staticmethod(model_of(program)), "guide": staticmethod(guide)}
    )
    loss = TraceEnum_ELBO(max_plate_nesting=1)
    value = loss_of_seeded(loss, program, TABLE)
    pyro.set_rng_seed(2)
    explanation = explain(program, TABLE, loss=loss)
    assert explanation.bound.mean().item() == pytest.approx(value, rel=1e-5)
    assert "log Σ_kind p(kind) p(z | kind)" in explanation.text


def model_of(program):
    """Its model, with the latent `kind` summed out."""
    return pyro.infer.config_enumerate(program.model, "parallel")


def loss_of_seeded(loss, program, *args):
    pyro.set_rng_seed(2)
    return loss_of(loss, program, *args)


def test_importance_weights_agree_with_log_likelihood():
    program = models.VAE(SHAPE, 3)
    explanation = explain(program, X, loss=IWAE(50))
    pyro.set_rng_seed(9)
    assert_agree(explanation.bound, log_likelihood(program, X, 50))
    assert "L_50 = E_q[log 1/50 Σₖ₌₁⁵⁰ p(x | z⁽ᵏ⁾) p(z⁽ᵏ⁾) / q(z⁽ᵏ⁾ | x)]" in explanation.text


def test_what_is_no_bound_is_told_with_the_elbo_beside_it():
    program = models.VAE(SHAPE, 3)
    pyro.set_rng_seed(1)
    explanation = explain(program, X, loss=TraceMeanField_ELBO(beta=4))
    pyro.set_rng_seed(1)
    torch.testing.assert_close(explanation.elbo, evaluate(program, X).bound)
    assert "L is neither the ELBO nor a tighter bound on log p(x)" in explanation.text
    assert "- 4 KL(q(z | x) ‖ p(z))" in explanation.text


def test_the_value_of_an_autoencoder_is_told_to_be_no_bound():
    explanation = explain(models.Autoencoder(SHAPE, 3), X)
    assert not explanation.is_bound and "puts z on a point" in explanation.text


def test_dependencies_are_those_of_the_densities_on_the_blackboard():
    expected = {
        "ConditionalVAE": ("p(x, z | y) = p(x | z, y) p(z)", "q(z | x, y)"),
        "GaussianMixtureVAE": (
            "p(x, z, y) = p(x | z) p(z | y) p(y)",
            "q(z, y | x) = q(z | x) q(y | z)",
        ),
        "NotMIWAE": (
            "p(x, mask, z, x_unobserved) = p(mask | x_unobserved, x) p(x | z) "
            "p(x_unobserved | z) p(z)",
            "q(z, x_unobserved | x, mask) = q(z | x) q(x_unobserved | z)",
        ),
        "HierarchicalVAE": (
            "p(x, z_1, z_2, z_3) = p(x | z_1) p(z_1 | z_2) p(z_2 | z_3) p(z_3)",
            "q(z_1, z_2, z_3 | x) = q(z_1 | x) q(z_2 | z_1) q(z_3 | z_2)",
        ),
    }
    for name, lines in expected.items():
        build, x, y = HOUSE[name]
        assert explain(build(), x, y).text.split("\n\n")[1].split("\n") == [*lines]


def test_an_argument_is_the_site_that_observes_it_and_shapes_alone_are_no_dependency(of_user):
    text = explain(of_user("labelled"), TABLE, Y[:20]).text
    assert "p(obs, z_what | y) = p(obs | z_what, y) p(z_what)" in text
    assert "q(z_what | obs, y)" in text


def test_a_plate_within_a_datum_is_a_product_and_a_box_in_a_box(of_user):
    text = explain(of_user("nested"), TABLE).text
    assert "p(x, z) = Π_columns p(x | z) p(z)" in text
    assert "E_q[Σ_columns log p(x | z)]" in text
    assert re.search(r"│ ╭─ columns: 4 ─+╮ │", text)


def test_schedules_stand_at_the_step_that_is_asked_for():
    from pyro_vae.inference import linear

    loss, program = Trace_ELBO(beta=linear(0, 1, 10)), models.VAE(SHAPE, 3)
    assert "- 0.5 E_q[" in explain(program, X, loss=loss, step=5).text
    assert "- E_q[" in explain(program, X, loss=loss, step=10).text


def test_an_estimator_of_ones_own_is_the_elbo_and_a_rest():
    class Mine(Trace_ELBO):
        """The ELBO less the square of the datum's rate."""

        def objective(self, t):
            rate = sum(latent.log_q - latent.log_p for latent in t.latents.values())
            return (t.log_px - rate - rate**2).mean(0)

    program = models.VAE(SHAPE, 3)
    value = loss_of_seeded(Mine(), program, X)
    pyro.set_rng_seed(2)
    explanation = explain(program, X, loss=Mine())
    assert explanation.bound.mean().item() == pytest.approx(value, rel=1e-5)
    assert "+ Δ_Mine" in explanation.text and "states no formula of its own" in explanation.text


def check_latex(explanation):
    """Braces are balanced, and matplotlib's parser reads each formula."""
    latex = explanation.latex
    assert latex.count("{") == latex.count("}") and latex.count("$") % 2 == 0
    assert latex.count(r"\begin{aligned}") == latex.count(r"\end{aligned}") == 1
    outside = re.sub(r"\\\[.*?\\\]|\$[^$]*\$", "", latex, flags=re.DOTALL)
    assert not re.search(r"(?<!\\)[_#%&{}^]", outside) and outside.isascii()
    body = latex.partition(r"\begin{aligned}")[2].partition(r"\end{aligned}")[0]
    parse = MathTextParser("path").parse
    for row in body.strip().split(r" \\" + "\n"):
        assert row.count("&") == 1, row
        row = re.sub(r"\\underbrace(\{.*?\})_\{([^{}]|\{,\})*\}(?= |$)", r"\1", row)
        parse(f"${row.replace('&', '').replace('textrm', 'mathrm')}$")


@pytest.mark.parametrize("name", ["ConditionalVAE", "DeepMarkovModel", "BayesianVAE"])
def test_the_latex_of_a_program_can_be_read(name):
    build, x, y = HOUSE[name]
    check_latex(explain(build(), x, y))


def test_a_notebook_shows_latex_and_a_picture():
    explanation = explain(models.VAE(SHAPE, 3), X)
    assert explanation._repr_latex_() == explanation.latex
    assert explanation._repr_png_()[:4] == b"\x89PNG"
    assert repr(explanation) == explanation.text


@pytest.mark.parametrize(
    "latex, text",
    [
        (r"\mathbb{E}_{q}[\log p(x \mid z_{1}, \theta)]", "E_q[log p(x | z_1, θ)]"),
        (r"\frac{1}{5} \, \sum_{k=1}^{5} w_{k}^{2}", "1/5 Σₖ₌₁⁵ w_k²"),
        (r"\frac{p(x)}{q(z)\,q(y)}", "p(x) / (q(z) q(y))"),
        (r"\sum_{i \neq j} C_{ij}", "Σ_{i ≠ j} C_ij"),
        (r"\mathrm{KL}(q \,\|\, p)", "KL(q ‖ p)"),
        (r"\mathcal{L}_{-k} \left[ \tilde{x} \right]", "L_-k [ x~ ]"),
    ],
)
def test_a_formula_is_read_as_text(latex, text):
    assert unicode_of(latex) == text


def test_circles_do_not_overlap_and_stand_in_their_plates():
    nodes = {
        "theta": Node(r"$\theta$", "latent"),
        "z": Node("$z$", "latent", ("data",)),
        "w": Node("$w$", "latent", ("data",)),
        "x": Node("$x$", "observed", ("data", "pixels")),
    }
    arrows = [("theta", "x"), ("z", "x"), ("w", "x")]
    diagram = PlateDiagram(nodes, arrows, [("x", "z")], {"data": "data: 5", "pixels": "pixels: 3"})
    places = [*diagram.places.values()]
    for i, (x, y) in enumerate(places):
        assert all(math.hypot(x - a, y - b) > 0.6 for a, b in places[:i])
    for plate, (left, bottom, right, top) in diagram.boxes.items():
        for name, (x, y) in diagram.places.items():
            inside = left < x < right and bottom < y < top
            assert inside == (plate in nodes[name].plates), (plate, name)


def test_explaining_moves_no_parameter_and_no_mode():
    program = models.LadderVAE(SHAPE, (3, 2))  # with batch statistics
    before = {name: value.clone() for name, value in program.state_dict().items()}
    explain(program, X)
    assert program.training
    assert all(torch.equal(value, before[name]) for name, value in program.state_dict().items())


@pytest.mark.parametrize(
    "loss, said",
    [
        (Trace_ELBO, "the class Trace_ELBO; write Trace_ELBO()"),
        (lambda *args: torch.tensor(0.0), "of which no formula is known"),
    ],
)
def test_a_loss_without_a_formula_is_refused(loss, said):
    with pytest.raises(TypeError, match=re.escape(said)):
        explain(models.VAE(SHAPE, 3), X, loss=loss)


def test_a_program_that_the_estimator_refuses_is_refused_in_its_sentence():
    program = models.BayesianVAE(SHAPE, 3, num_data=100, hidden=(4,))
    with pytest.raises(ValueError, match="stand outside the data plate"):
        explain(program, X, loss=IWAE(5))


def test_the_command_explains_a_run_with_its_own_loss(trained):
    code, out, err = trained("explain", "a", "--out", "e.png", "--num", 50)
    assert code == 0 and "means over 50 data" in out and out.endswith("e.png\n"), err
    assert matplotlib.image.imread("e.png").shape[0] > 100


def test_the_command_explains_a_program_as_it_begins(run):
    words = ("ConditionalVAE(latent_dim=2)", "--loss", "IWAE(num_particles=3)", "--num", 20)
    code, out, err = run("explain", *words, "--format", "latex")
    assert code == 0 and r"\log p(x \mid y) &\geq \mathcal{L}_{3}" in out, err


def test_a_folder_that_is_no_run_is_refused(run, tmp_path):
    (tmp_path / "empty").mkdir()
    code, _, err = run("explain", "empty")
    assert code == 2 and "holds no run" in err
