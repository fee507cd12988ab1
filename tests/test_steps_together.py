"""Many training steps in one call of the compiled code, and in `fit`."""

import itertools

import pyro
import pytest
import torch
from torch import nn

from pyro_vae.inference import SVI, Compile, Trace_ELBO, fit, linear
from pyro_vae.inference.graphs import graphs
from pyro_vae.inference.training import together
from pyro_vae.inference.training.together import Together
from pyro_vae.models import VAE

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of torch's compiler
COMPILED = Compile()
X = (torch.rand(90, 8, 1, 4, 4, generator=torch.Generator().manual_seed(0)) < 0.3).float()


@pytest.fixture(scope="module", autouse=True)
def one_cache(tmp_path_factory):
    """A cache for all tests, so that the compiler runs once."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("PYRO_VAE_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


def program():
    pyro.set_rng_seed(0)
    pyro.clear_param_store()
    return VAE((1, 4, 4), latent_dim=2, hidden=(4,), activation=nn.Tanh)


def trainer(compile=COMPILED, **options):
    vae = program()
    loss, adam = Trace_ELBO(beta=linear(0.1, 1.0, 20)), pyro.optim.Adam({"lr": 1e-2})
    return SVI(vae.model, vae.guide, adam, loss, compile=compile, **options)


def started(**options):
    """An SVI that has taken two steps, and loops from the next one on."""
    svi = trainer(**options)
    for x in X[:3]:
        svi.step(x)
    assert svi.loops
    return svi


def test_steps_in_one_call_are_those_of_single_steps_bit_for_bit():
    rates = {"lr_schedule": lambda step: 0.9**step}
    one = started(**rates)
    expected = [float(one.step(x)) for x in X[3:20]]
    many = started(**rates)
    assert list(map(float, many.step_each(X[3:20]))) == expected
    for name, parameter in many.parameters.items():
        assert torch.equal(parameter, one.parameters[name])
    assert many.steps == one.steps == 20


def test_steps_that_are_not_compiled_are_taken_one_by_one():
    svi = trainer(compile=False)
    found = list(map(float, svi.step_each(X[:5])))
    other = trainer(compile=False)
    assert found == [float(other.step(x)) for x in X[:5]] and not svi.loops


def test_batches_of_another_shape_are_taken_one_by_one():
    batches = [X[0], X[1], X[2, :5], X[3], X[4]]
    found = list(map(float, started().step_each([*batches[:-1], (batches[-1],)])))
    svi = started()
    assert found == [float(svi.step(x)) for x in batches]


@pytest.mark.parametrize(
    "batches, sentence",
    [
        (3, "the batches are of type int, but must be a list of them, one for each step"),
        (torch.tensor(3.0), "the batches are a single number, but must be a list"),
        ([X[0], X[1].numpy()], "a batch is a numpy array .*, but must be a tensor or a tuple"),
        ([{"x": X[0]}], "a batch is of type dict, but must be a tensor or a tuple"),
    ],
)
def test_what_is_no_batches_is_refused_before_the_first_step(batches, sentence):
    svi = trainer(compile=False)
    with pytest.raises(TypeError, match=sentence):
        svi.step_each(batches)
    assert svi.steps == 0


def test_a_loss_that_is_not_finite_ends_the_steps_before_its_own():
    other = started()
    for x in X[3:6]:
        other.step(x)
    svi = started()
    spoilt = X[3:10].clone()
    spoilt[3] = torch.inf
    with pytest.raises(FloatingPointError, match="at step 6"):
        svi.step_each(spoilt)
    assert svi.steps == 6
    for name, parameter in svi.parameters.items():
        assert torch.equal(parameter, other.parameters[name])


def test_graphs_are_checked_at_the_same_calls(monkeypatch):
    checked, check = [], graphs.check
    svi = started()

    def noted(captured, source):
        checked.append(svi.steps)
        check(captured, source)

    monkeypatch.setattr(graphs, "check", noted)
    svi.step_each(X[3:])
    assert checked == [64]  # the 64th call, as the first step finds the parameters


def test_a_value_that_changes_is_noticed_before_the_next_call():
    svi = started()
    svi.step_each(X[3:6])
    svi.model.__self__.changed = True
    assert svi._take_together([(X[6],)]) == []


def test_another_optimizer_state_is_noticed_before_the_next_call():
    svi = started()
    svi.load_state_dict(svi.state_dict())
    assert svi._take_together([(X[6],)]) == []


def test_a_graph_to_be_compiled_is_not_looped_over():
    svi = started()
    svi.compile_next()
    assert svi._take_together([(X[3],)]) == []


class Stepper:
    """Stands for an `SVI` whose steps take no time, and go together from the third on."""

    def __init__(self, *, loops=True):
        self.steps, self._loops = 0, loops

    @property
    def loops(self):
        return self._loops and self.steps >= 2


def sizes(batches, total=1_000, svi=None):
    svi, found = svi or Stepper(), []
    for batch in Together(svi, total).lists(iter(batches)):
        found.append(len(batch))
        svi.steps += len(batch)
    return found


@pytest.fixture
def most(monkeypatch):
    monkeypatch.setattr(together, "_MOST", 4)


def test_as_many_batches_are_taken_as_go_in_a_call(most):
    assert sizes([(x,) for x in X[:12]]) == [1, 1, 4, 4, 2]


def test_no_more_batches_are_taken_than_steps_are_left(most):
    assert sizes([(x,) for x in X[:12]], total=7) == [1, 1, 4, 1]


def test_a_list_has_batches_of_one_kind(most):
    batches = [*X[:7], X[6, :5], X[7, :5], *X[8:10]]
    assert sizes([(x,) for x in batches]) == [1, 1, 4, 1, 1, 1, 1, 1]


def test_single_batches_are_taken_where_steps_do_not_loop():
    assert sizes([(x,) for x in X[:5]], svi=Stepper(loops=False)) == [1] * 5


def test_no_batch_that_draws_random_numbers_is_taken_before_its_turn(most):
    assert sizes((torch.bernoulli(x),) for x in X[:8] / 2) == [1] * 8


def test_a_shuffled_loader_may_draw_its_order_first(most):
    loader = torch.utils.data.DataLoader(X.flatten(0, 1), batch_size=8, shuffle=True)
    assert sizes([x] for x in itertools.islice(loader, 10)) == [1, 1, 4, 4]


def test_fit_steps_together_and_learns_the_same(monkeypatch):
    calls, step_each = [], SVI.step_each

    def noted(self, batches):
        calls.append(len(batches))
        return step_each(self, batches)

    def trained():
        vae = program()
        options = {"batch_size": 8, "epochs": 2, "compile": COMPILED, "progress": False}
        found = fit(vae, X[:30].flatten(0, 1), **options)
        return found.records, dict(vae.named_parameters())

    monkeypatch.setattr(SVI, "step_each", noted)
    records, parameters = trained()
    assert sum(calls) > 40
    monkeypatch.setattr(together, "_MOST", 1)
    ones, singles = trained()
    assert [r["train_loss"] for r in records] == [r["train_loss"] for r in ones]
    assert all(torch.equal(p, singles[name]) for name, p in parameters.items())
