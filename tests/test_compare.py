"""What `compare` measures against what is known exactly, what it writes, and what it refuses."""

import io
import json
import math
import os
from types import SimpleNamespace

import numpy as np
import pyro
import pyro.distributions as dist
import pyro.infer
import pytest
import torch
from PIL import Image
from pyro.infer.autoguide import AutoDelta
from torch import nn

from pyro_vae import plots
from pyro_vae.app import figures
from pyro_vae.inference import (
    IWAE,
    MIWAE,
    PIWAE,
    STL,
    VIMCO,
    Comparison,
    DReG,
    ScoreFunction,
    Trace_ELBO,
    TraceMeanField_ELBO,
    compare,
    linear,
)
from pyro_vae.inference.comparison import peak_memory
from pyro_vae.models import VAE, LinearGaussian
from pyro_vae.priors import DiffusionPrior

from .oracles import Discrete

# The mean of R draws lies within this many of its errors; as lengths of vectors they spread less.
ERRORS = 4
UNBIASED = [
    Trace_ELBO(vectorize_particles=True),
    pyro.infer.Trace_ELBO(vectorize_particles=True),
    TraceMeanField_ELBO(vectorize_particles=True),
    STL(vectorize_particles=True),
    ScoreFunction(),
    IWAE(),
    DReG(),
    VIMCO(),
]


def linear_gaussian(size=20, **kwargs):
    torch.manual_seed(1)
    return LinearGaussian((6,), 2, **kwargs).double(), torch.randn(size, 6).double()


def quick(program, x, estimators, **options):
    options = {"num_particles": (1, 3), "repeats": 20, "progress": False} | options
    return compare(program, x, estimators, **options)


@pytest.fixture(scope="module")
def found():
    return quick(*linear_gaussian(), UNBIASED, repeats=60)


def by_name(comparison, num_particles):
    return {row.estimator: row for row in comparison.rows if row.num_particles == num_particles}


def test_unbiased_gradients_show_no_bias(found):
    rows = [row for row in found.rows if row.refusal is None]
    assert len(rows) == 2 * len(UNBIASED) - 2  # two need K >= 2
    for row in rows:
        for gradient in (row.model, row.guide):
            assert gradient.bias < ERRORS * gradient.bias_error, row.estimator


def test_a_bias_by_design_shows():
    found = quick(*linear_gaussian(), [PIWAE()], num_particles=(4,))
    (row,) = found.rows
    assert row.model.bias < ERRORS * row.model.bias_error
    assert row.guide.bias > ERRORS * row.guide.bias_error


def test_the_reference_of_the_elbo_is_exact(found):
    program, x = linear_gaussian()
    q = dist.Normal((x - program.b) @ program.V.mT, program.D.exp()).to_event(1)
    gap = torch.distributions.kl_divergence(q, program.posterior(x))
    bound = (program.log_evidence(x) - gap).mean()
    gradients = torch.autograd.grad(bound, [program.V, program.D])
    length = math.hypot(*(gradient.norm() for gradient in gradients))
    for name in ("Trace_ELBO", "STL", "ScoreFunction"):
        assert by_name(found, 3)[name].guide.length == pytest.approx(length, rel=1e-9)


def test_the_bound_at_the_posterior_is_the_evidence_and_its_guide_gradient_zero():
    program, x = linear_gaussian(full_covariance=True)
    program.optimize_guide()
    for row in quick(program, x, [STL(), IWAE(), DReG()]).rows:
        assert row.bound == pytest.approx(program.log_evidence(x).mean().item(), abs=1e-9)
        assert row.bound_error < 1e-9
        if row.estimator != "IWAE":
            assert row.guide.variance < 1e-12 and row.guide.snr is None
            assert row.guide.bias < max(ERRORS * row.guide.bias_error, 1e-9)


def test_the_bound_is_that_of_the_estimator(found):
    program, x = linear_gaussian()
    loss = IWAE(3, max_plate_nesting=1)
    values = [-loss.loss(program.model, program.guide, x) / len(x) for _ in range(200)]
    error = math.hypot(np.std(values) / math.sqrt(200), by_name(found, 3)["IWAE"].bound_error)
    assert abs(np.mean(values) - by_name(found, 3)["IWAE"].bound) < ERRORS * error


def test_the_score_function_has_many_times_the_variance_of_the_reparameterized_gradient():
    torch.manual_seed(0)
    program, x = LinearGaussian((40,), 10).double(), torch.randn(20, 40).double()
    losses = [Trace_ELBO(vectorize_particles=True), ScoreFunction()]
    rows = by_name(quick(program, x, losses, num_particles=(4,)), 4)
    ratio = rows["ScoreFunction"].guide.variance / rows["Trace_ELBO"].guide.variance
    assert ratio > 10


def test_signal_to_noise_is_the_mean_of_that_of_each_parameter():
    class Scaled(nn.Module):
        """The gradient of a is 3 + e, that of b is 1 with no noise, for e ~ N(0, 1)."""

        def __init__(self):
            super().__init__()
            self.a, self.b = (nn.Parameter(torch.zeros((), dtype=torch.float64)) for _ in "ab")

        def model(self, x):
            with pyro.plate("data", len(x)):
                z = pyro.sample("z", dist.Normal(torch.zeros(()).double(), 1.0))
                pyro.sample("x", dist.Delta(x, log_density=self.a * (3 + z) + self.b), obs=x)

        def guide(self, x):
            with pyro.plate("data", len(x)):
                pyro.sample("z", dist.Normal(torch.zeros(()).double(), 1.0))

    (row,) = quick(Scaled(), torch.zeros(1), [Trace_ELBO()], num_particles=(1,), repeats=400).rows
    assert row.model.snr == pytest.approx(3, rel=ERRORS / math.sqrt(400))
    assert row.model.variance == pytest.approx(1, rel=ERRORS * math.sqrt(2 / 400))
    assert row.model.num_parameters == 2 and row.guide is None


def test_a_refusal_becomes_a_row(found):
    row = by_name(found, 1)["VIMCO"]
    assert row.bound is None and "VIMCO needs at least two particles" in row.refusal
    assert "VIMCO, K = 1: VIMCO needs" in str(found)


def test_groups_that_do_not_divide_the_particles_become_a_row():
    rows = quick(*linear_gaussian(), [MIWAE(groups=4)], num_particles=(4, 6)).rows
    assert rows[0].refusal is None and "4 does not divide 6" in rows[1].refusal


@pytest.mark.parametrize("loss", [Trace_ELBO(free_bits=50.0), Trace_ELBO(capacity=50.0)])
def test_a_bound_that_pays_another_kl_is_not_held_against_the_elbo(loss):
    program, x = linear_gaussian()
    for row in quick(program, x, [loss, Trace_ELBO()], num_particles=(1,)).rows[:1]:
        assert row.guide.bias < ERRORS * row.guide.bias_error


def test_latents_that_all_data_share_are_for_the_elbo_alone():
    class Shared(nn.Module):
        def __init__(self):
            super().__init__()
            self.loc = nn.Parameter(torch.zeros(()))

        def model(self, x):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            with pyro.plate("data", len(x)):
                pyro.sample("x", dist.Normal(z, 1.0), obs=x)

        def guide(self, x):
            pyro.sample("z", dist.Normal(self.loc, 1.0))

    elbo, iwae = quick(Shared(), torch.ones(5), [Trace_ELBO(), IWAE()], num_particles=(2,)).rows
    assert "'z' stand outside the data plate" in iwae.refusal
    assert elbo.model is None and elbo.guide.bias < ERRORS * elbo.guide.bias_error


def test_discrete_latents_have_estimators_too():
    program, x = Discrete(), torch.full((10,), 1.3, dtype=torch.float64)
    rows = quick(program, x, [VIMCO(), ScoreFunction(), IWAE()], num_particles=(3,)).rows
    assert "needs reparameterized draws" in rows[2].refusal
    for row in rows[:2]:
        assert row.guide.bias < ERRORS * row.guide.bias_error


def test_json_and_back_is_the_same(found):
    text = json.dumps(found.as_dict(), allow_nan=False)
    assert Comparison.from_dict(json.loads(text)) == found


def test_the_tables_are_aligned(found):
    head, *lines = str(found).split("\n\n")[0].splitlines()
    assert len(lines) == 2 * len(UNBIASED) - 2
    assert all(line[head.index("bound") - 1] == " " for line in lines)
    assert all(line[head.index("bound")] == "-" for line in lines)  # the bounds are negative


def without_times(comparison):
    rows = comparison.as_dict()["rows"]
    return [{name: v for name, v in row.items() if name != "milliseconds"} for row in rows]


def test_the_same_seeds_give_the_same_numbers():
    program, x = linear_gaussian()
    first, again, other = (
        quick(program, x, [IWAE(), DReG()], seeds=seeds, repeats=5)
        for seeds in ((0, 1), (0, 1), (2,))
    )
    assert first.num_draws == 10
    assert without_times(first) == without_times(again)
    assert first.rows[2].bound != other.rows[2].bound


def test_nothing_is_changed():
    program, x = linear_gaussian()
    program.W.grad = torch.ones_like(program.W)
    before = {name: value.clone() for name, value in program.state_dict().items()}
    state = torch.get_rng_state()
    quick(program, x, [IWAE()], data=x, held_out=x, train_steps=3, train_seconds=0.01)
    assert all(torch.equal(value, before[name]) for name, value in program.state_dict().items())
    assert program.W.grad.eq(1).all() and program.V.grad is None
    assert torch.equal(torch.get_rng_state(), state)


def test_training_starts_from_the_same_parameters_and_comes_near_the_best_fit():
    program, _ = linear_gaussian()
    torch.manual_seed(0)
    x = program.b.detach() + torch.randn(400, 2).double() @ torch.randn(2, 6).double()
    x = x + 0.5 * torch.randn(400, 6).double()
    program.maximum_likelihood(x)
    best = program.log_evidence(x).mean().item()
    with torch.no_grad():
        program.b.add_(1.0)
    begins = program.log_evidence(x).mean().item()
    options = {"data": x, "held_out": x[:100], "optim": pyro.optim.Adam({"lr": 0.05})}
    for row in quick(
        program, x[:100], {"A": IWAE(), "B": IWAE()}, train_steps=60, seeds=(0, 1),
        num_particles=(2,), **options,
    ).rows:  # fmt: skip
        assert row.equal_steps.steps == 60 and row.equal_time is None
        assert row.equal_steps.error_of_seeds is not None
        assert best - 0.5 * (best - begins) < row.equal_steps.log_likelihood


def test_equal_time_is_as_many_steps_as_fit_it():
    program, x = linear_gaussian()
    (row,) = quick(
        program, x, [IWAE()], num_particles=(2,), data=x, held_out=x, train_seconds=0.05
    ).rows
    assert row.equal_time.steps == max(1, round(50 / row.milliseconds))


def test_schedules_stand_at_their_end_and_names_tell_estimators_apart():
    program, x = linear_gaussian()
    losses = [Trace_ELBO(beta=linear(0.0, 1.0, steps=50)), Trace_ELBO(), Trace_ELBO(beta=4.0)]
    rows = quick(program, x, losses, num_particles=(1,)).rows
    assert rows[0].bound == rows[1].bound
    assert [row.estimator for row in rows[1:]] == ["Trace_ELBO", "Trace_ELBO(beta=4.0)"]


def test_the_peak_is_of_what_is_held_at_once():
    x = torch.ones(1000)  # 4000 bytes

    def compute():
        for _ in range(3):
            y = x + 1
            z = y.view(10, 100) * 2
            del y, z

    assert peak_memory(compute, torch.device("cpu")) == 8000


BAD = [
    ({"estimators": []}, "no estimator to compare"),
    ({"num_particles": (0, 5)}, r"at least 1, but are \(0, 5\)"),
    ({"num_particles": ()}, "at least 1"),
    ({"seeds": ()}, "no seed"),
    ({"repeats": 1}, "at least 2"),
    ({"train_steps": 5}, "data to train on"),
    ({"train_seconds": -1.0}, "must be positive"),
    ({"estimators": [VIMCO()], "num_particles": (1,)}, "every estimator refuses: VIMCO, K = 1"),
]


@pytest.mark.parametrize("options, sentence", BAD, ids=lambda value: str(value)[:30])
def test_bad_input_is_refused(options, sentence):
    options = {"estimators": [IWAE()]} | options
    with pytest.raises(ValueError, match=sentence):
        quick(*linear_gaussian(), options.pop("estimators"), **options)


def test_a_reason_to_refuse_is_given_once_for_all_numbers_of_particles():
    program = VAE((4,), 2, prior=DiffusionPrior(2, steps=2), hidden=(3,))
    with pytest.raises(ValueError, match="IWAE, K = 1, 4: IWAE is not linear") as error:
        quick(program, torch.zeros(5, 4), [IWAE()], num_particles=(1, 4))
    assert str(error.value).count("is not linear") == 1
    found = quick(program, torch.zeros(5, 4), [Trace_ELBO(), IWAE()], num_particles=(1, 4))
    (refusal,) = found.refusals()
    assert refusal.startswith("IWAE, K = 1, 4: IWAE is not linear")


def test_a_guide_with_log_weights_that_are_not_finite_is_named_by_its_site():
    program, x = linear_gaussian()
    with torch.no_grad():
        program.D.fill_(-math.inf)
    with pytest.raises(ValueError, match="'?z'?"):
        quick(program, x, [IWAE(), DReG()])


# The command.

SMALL = "VAE(latent_dim=2, hidden=(16,))"


@pytest.fixture
def compared(run):
    """Runs the command `compare`, as the fixture `run` runs any."""
    return lambda *words: run("compare", *words)


FEW = ("--num-particles", "1,3", "--repeats", 3, "--batch-size", 10)


def test_the_command_prints_tables_and_writes_files(compared, tmp_path):
    losses = ("--loss", "Trace_ELBO", "--loss", "ScoreFunction")
    trains = ("--warm-up", 2, "--train-steps", 2, "--limit", 5)
    code, out, err = compared(SMALL, *losses, *FEW, *trains)
    assert code == 0, err
    assert all(w in out for w in ("guide's gradient", "log p(x), 2 steps", "ScoreFunction, K = 1"))
    folder = tmp_path / "runs" / "compare-vae-digits"
    found = json.loads((folder / "comparison.json").read_text())
    assert found["settings"]["losses"] == ["Trace_ELBO", "ScoreFunction"]
    assert [row["num_particles"] for row in found["rows"]] == [1, 1, 3, 3]
    for name in ("snr", "variance"):
        with Image.open(folder / f"{name}.png") as picture:
            inches = picture.width / figures._DOTS_PER_INCH
            assert inches > 500 / 150 and np.asarray(picture).std() > 5
    assert compared(SMALL, "--loss", "IWAE", *FEW, "--out", folder)[0] == 2  # of another comparison


def test_the_program_may_be_a_run(trained):
    assert trained("compare", "a", "--loss", "IWAE", *FEW, "--out", "b")[0] == 0


@pytest.mark.parametrize(
    "words, sentence",
    [
        (["VEA"], "did you mean 'VAE'"),
        ([SMALL, "--loss", "IVAE"], "there is no 'IVAE'"),
        ([SMALL, "--num-particles", "0,5"], "at least 1"),
        ([SMALL, "--num-particles", "many"], "--num-particles takes numbers"),
        ([SMALL, "--train-seconds", "-1"], "must be positive"),
        ([SMALL, "--out", "thesis"], "thesis holds something else"),
    ],
    ids=lambda words: " ".join(words) if isinstance(words, list) else "",
)
def test_bad_input_gets_one_sentence_exit_code_2_and_leaves_nothing(
    compared, tmp_path, words, sentence
):
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "thesis.tex").write_text("x")
    code, _, err = compared(*words)
    assert code == 2 and sentence in err and err.count("\n") == 1
    assert os.listdir(tmp_path) == ["thesis"] and os.listdir("thesis") == ["thesis.tex"]


# The figures.

LINES = {"IWAE": [(1, 0.5), (5, 0.2), (50, 0.1)], "DReG": [(1, 0.5), (5, 1.0), (50, 3.0)]}
PANELS = {"guide": LINES, "model": {"IWAE": [(1, 0.5)]}}


@pytest.mark.parametrize("figure", [plots.snr, plots.gradient_variance])
def test_a_figure_has_log_axes_a_panel_each_and_one_legend(figure):
    found = figure(PANELS, title="VAE")
    guide, model = found.axes
    assert {ax.get_xscale() + ax.get_yscale() for ax in found.axes} == {"loglog"}
    assert [text.get_text() for text in found.legends[0].get_texts()] == ["IWAE", "DReG"]
    assert guide.get_title() == "guide" and model.get_title() == "model"
    found.savefig(io.BytesIO())  # which lays it out
    box, (width, height) = found.get_tightbbox(), found.get_size_inches()
    assert box.x0 >= 0 and box.y0 >= 0 and box.x1 <= width and box.y1 <= height


def test_what_lies_below_the_floor_is_shaded():
    ax = plots.snr(PANELS, floor=0.3).axes[0]
    assert ax.get_ylim()[0] <= 0.1 and len(ax.patches) == 1


def test_a_figure_without_positive_values_is_refused():
    with pytest.raises(ValueError, match="no positive values"):
        plots.snr({"guide": {"IWAE": [(1, 0.0)]}})


def test_a_plate_that_takes_part_of_the_data_by_itself_is_judged_per_datum_of_all():
    x = torch.linspace(-2.0, 2.0, 20)

    def model(x):
        with pyro.plate("data", 20, subsample_size=5) as rows:
            z = pyro.sample("z", dist.Normal(torch.zeros(5), 1.0))
            pyro.sample("x", dist.Normal(z, 1.0), obs=x[rows])

    class Posterior(nn.Module):
        """The exact one, so that each draw of a datum has its log p(x)."""

        def __init__(self):
            super().__init__()
            self.slope = nn.Parameter(torch.tensor(0.5))

        def model(self, x):
            model(x)

        def guide(self, x):
            with pyro.plate("data", 20, subsample_size=5) as rows:
                pyro.sample("z", dist.Normal(self.slope * x[rows], 0.5**0.5))

    evidence = dist.Normal(0.0, 2**0.5).log_prob(x).mean().item()
    (row,) = quick(Posterior(), x, [Trace_ELBO()], num_particles=(1,), repeats=200).rows
    assert row.bound == pytest.approx(evidence, abs=4 * row.bound_error)


def test_an_autoguide_need_not_have_run_before():
    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros(len(x)), 1.0))
            pyro.sample("x", dist.Normal(z, 1.0), obs=x)

    program = SimpleNamespace(model=model, guide=AutoDelta(model))
    (row,) = quick(program, torch.ones(4), [Trace_ELBO()], num_particles=(1,), repeats=2).rows
    assert row.refusal is None and not row.is_bound  # the guide is a point
