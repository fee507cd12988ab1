"""When a training compiles its step: where that pays on the machine that it runs on."""

import pyro
import pytest
import torch

from pyro_vae.inference import Compile, fit
from pyro_vae.inference.graphs import graphs
from pyro_vae.inference.training import payback
from pyro_vae.models import VAE


def decided(total, *, step, capture, kinds=("a",), mode="captured"):
    """The step at which each kind of batch, in turn, is to be compiled."""
    judge, found = payback.Payback(), {}
    for i in range(total):
        kind = kinds[i % len(kinds)]
        took = capture if i == 2 else step
        if judge.is_due(kind):
            found[kind] = i + 1
        judge.note(kind, took, "eager" if i < 2 else mode, total - i - 1)
    return found


def test_a_long_training_compiles_after_a_hundred_captured_steps():
    # 9,888 steps of 10 ms save 40 s; compiling is expected to cost 30 * 0.5 = 15 s.
    assert decided(10_000, step=0.01, capture=0.5) == {"a": 113}


@pytest.mark.parametrize("total, step", [(2_000, 0.01), (10_000, 0.001), (100, 1.0)])
def test_a_training_that_would_not_earn_it_back_does_not(total, step):
    assert decided(total, step=step, capture=0.5) == {}


def test_a_slow_machine_is_slow_at_compiling_too():
    assert decided(4_000, step=0.004, capture=0.2) == decided(4_000, step=0.04, capture=2.0) != {}
    assert decided(4_000, step=0.004, capture=2.0) == {}


def test_a_rare_kind_of_batch_is_left_as_it_is():
    kinds = ("a",) * 19 + ("last",)
    assert decided(6_000, step=0.01, capture=0.5, kinds=kinds).keys() == {"a"}


def test_what_runs_eagerly_is_not_compiled():
    assert decided(10_000, step=0.01, capture=0.5, mode="eager") == {}


@pytest.mark.filterwarnings("ignore")  # of torch's compiler, about itself
def test_a_training_that_compiles_midway_changes_by_rounding_alone(monkeypatch):
    monkeypatch.setattr(payback, "_SAVED", 1e9)
    monkeypatch.setattr(payback, "_TIMED", 3)
    monkeypatch.setattr(graphs, "can_compile_in_background", lambda plan: False)
    x = (torch.rand(64, 1, 4, 4, generator=torch.Generator().manual_seed(0)) < 0.3).float()

    def trained(compile):
        pyro.set_rng_seed(0)
        program = VAE((1, 4, 4), latent_dim=2, hidden=(8,))
        options = {"compile": compile, "batch_size": 32, "epochs": 12, "progress": False}
        return fit(program, x, **options), torch.cat([p.flatten() for p in program.parameters()])

    (run, found), (captured, expected) = trained(None), trained(Compile(mode="captured"))
    assert (run.svi.mode, captured.svi.mode) == ("compiled", "captured")
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)  # float32 over 9 steps
    losses = [[record["train_loss"] for record in r.records] for r in (run, captured)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)
