"""`fit(..., guide_steps=...)`: the guide catches up before each step of the model."""

import copy
import json
import math
import os
import signal
from pathlib import Path

import pyro
import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

from pyro_vae import load
from pyro_vae.datasets import Split
from pyro_vae.inference import SVI, Aggressive, Compile, Trace_ELBO, fit, mutual_information
from pyro_vae.inference.training import guide_steps as guide_steps_file
from pyro_vae.inference.training.epochs import Epochs
from pyro_vae.inference.training.guide_steps import GuideSteps
from pyro_vae.likelihoods import Normal
from pyro_vae.models import VAE, Autoencoder, LinearGaussian
from pyro_vae.priors import VampPrior

X = (torch.rand(40, 1, 4, 4, generator=torch.Generator().manual_seed(0)) < 0.3).float()
FEW = Aggressive(max_steps=6, check_every=2)


def vae():
    pyro.set_rng_seed(0)
    return VAE((1, 4, 4), latent_dim=2, hidden=(8,))


def trained(parts=(2,), data=lambda: X, program=None, **options):
    """The program after trainings of so many epochs in all, each resumed from the one before."""
    program, state = program or vae(), None
    for epochs in parts:
        torch.manual_seed(99 if state else 1)
        options = {"batch_size": 16, "progress": False, "guide_steps": 3} | options
        run = fit(program, data(), epochs=epochs, resume=state, **options)
        state = copy.deepcopy(run.state_dict())
    return torch.cat([p.detach().flatten() for p in program.parameters()]), run


def test_so_many_steps_of_the_guide_come_before_each_step_of_the_model(monkeypatch):
    taken = []
    for name in ("step", "step_guide", "step_model"):
        method = getattr(SVI, name)

        def noting(self, *args, _name=name, _method=method):
            taken.append(_name)
            return _method(self, *args)

        noting.__name__ = name
        monkeypatch.setattr(SVI, name, noting)
    _, run = trained((1,), guide_steps=2)
    assert taken == ["step_guide", "step_guide", "step_model"] * 3
    assert run.svi.steps == 3 and run.records[-1]["guide_steps"] == 6


def test_one_step_of_the_guide_is_alternating_training():
    """By hand, on the same batches and draws."""
    torch.manual_seed(1)
    program = vae()
    weights, _ = trained((1,), data=lambda: [X[:20], X[20:]], guide_steps=1, compile=False)
    torch.manual_seed(1)
    torch.randint(2**31, ())  # the seed of the order, which fit draws
    svi = SVI(program.model, program.guide, pyro.optim.Adam({"lr": 1e-3}), Trace_ELBO())
    for batch in (X[:20], X[20:]):
        svi.step_guide(batch)
        svi.step_model(batch)
    by_hand = torch.cat([p.detach().flatten() for p in program.parameters()])
    assert torch.equal(weights, by_hand)


def test_the_guide_has_batches_of_its_own_that_pass_over_all_data():
    seen = {"guide": [], "model": []}
    program = VAE((1, 1, 1), latent_dim=2, hidden=(4,), likelihood=Normal((1, 1, 1)))
    x = torch.arange(40.0).reshape(40, 1, 1, 1) / 40
    plain = Epochs._timed_step

    def noting(self, batch, take):
        seen["guide" if take.__name__ == "step_guide" else "model"].append(batch[0].flatten())
        return plain(self, batch, take)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Epochs, "_timed_step", noting)
        trained((2,), data=lambda: x, program=program, guide_steps=2, batch_size=20, compile=False)
    guide = torch.cat(seen["guide"]).reshape(4, 40)  # 2 epochs of 2 steps, with 2 each: 4 passes
    assert torch.equal(guide.sort().values, (x.flatten().expand(4, 40)))
    assert len({tuple(each.tolist()) for each in guide}) == 4
    assert not any(torch.equal(a, b) for a in seen["guide"] for b in seen["model"])


def loader():
    return DataLoader(TensorDataset(X), batch_size=16, shuffle=True)


def drawn():
    return Split(X * 0.7, draw=torch.bernoulli)


@pytest.mark.parametrize("guide_steps", [2, FEW])
@pytest.mark.parametrize("data", [lambda: X, loader, drawn, lambda: list(X.split(16))])
def test_a_resumed_training_is_the_one_that_went_through(data, guide_steps):
    options = {"guide_steps": guide_steps, "valid": X[:20]}
    straight, one = trained([4], data, **options)
    resumed, other = trained([1, 2, 4], data, **options)
    assert torch.equal(straight, resumed)
    counts = [[record["guide_steps"] for record in run.records] for run in (one, other)]
    assert counts[0] == counts[1]


@pytest.mark.parametrize("guide_steps", [2, FEW])
@pytest.mark.parametrize("data", [lambda: X, loader])
def test_a_training_interrupted_within_an_epoch_goes_on_as_if_it_had_not_been(data, guide_steps):
    def weights(at):
        calls = 0

        def interrupting(step):
            nonlocal calls
            calls += 1
            if calls == at:
                os.kill(os.getpid(), signal.SIGINT)
            return 1.0

        program = vae()
        torch.manual_seed(1)
        options = {"epochs": 4, "batch_size": 16, "progress": False, "compile": False}
        options |= {"guide_steps": guide_steps, "valid": X[:20], "lr_schedule": interrupting}
        run = fit(program, data(), **options)
        assert run.interrupted == (at > 0)
        if run.interrupted:
            assert run.progress.steps_in_epoch and run.progress.epoch
            state = copy.deepcopy(run.state_dict())
            torch.manual_seed(99)
            fit(program, data(), resume=state, **options)
        return torch.cat([p.flatten() for p in program.parameters()])

    assert torch.equal(weights(at=-1), weights(at=13 if guide_steps == 2 else 26))


def test_a_captured_training_is_the_eager_one_bit_for_bit():
    found = [trained((6,), compile=c)[0] for c in (False, Compile(mode="captured"))]
    assert torch.equal(*found)
    assert trained((6,), compile=Compile(mode="captured"))[1].svi.mode == "captured"


def tell(monkeypatch, *information):
    """Has validation data tell so much, after each epoch."""
    values = iter([0.0, *information])  # the first is asked for before the first step
    monkeypatch.setattr(guide_steps_file, "_mutual_information", lambda _: next(values))


def test_aggressive_training_ends_when_mutual_information_falls(monkeypatch):
    tell(monkeypatch, 1.0, 2.0, 1.9)
    _, run = trained((5,), guide_steps=FEW, valid=X)
    found = [record.get("mutual_information") for record in run.records]
    assert found == [1.0, 2.0, 1.9, None, None]
    counts = [record["guide_steps"] for record in run.records]
    assert counts[0] < counts[1] < counts[2] == counts[3] == counts[4]


def test_after_it_ended_all_parameters_are_trained_together(monkeypatch):
    tell(monkeypatch, 1.0, 0.5)
    program, seen = vae(), []

    def after(run, best):
        seen.append([p.detach().clone() for p in program.encoder.parameters()])

    trained((4,), program=program, guide_steps=FEW, valid=X, on_epoch=after)
    assert not any(map(torch.equal, seen[2], seen[3]))


def test_the_steps_of_the_guide_end_when_its_loss_no_longer_falls():
    """By losses that are given: 9, 9 | 8, 8 | 8, 9 -> six steps; then 3, 3 | 4, 4 -> four."""
    losses = iter([9, 9, 8, 8, 8, 9, 3, 3, 4, 4])

    class Batches:
        def once(self, seed):
            return iter([[torch.ones(5, 2)]] * 3)

    steps = GuideSteps(Aggressive(max_steps=100, check_every=2), Batches())
    counts = []
    for _ in range(2):
        steps.take(lambda batch: torch.tensor(float(next(losses))), seed=0)
        counts.append(steps.taken)
    assert counts == [6, 10]
    few = GuideSteps(Aggressive(max_steps=5, check_every=2), Batches())
    falling = iter(range(10, 0, -1))
    few.take(lambda batch: torch.tensor(float(next(falling))), seed=0)
    assert few.taken == 5


def test_the_loss_is_compared_of_a_token_where_sequences_have_other_lengths():
    """Twice the loss of a batch twice as long is no rise."""
    short, long = torch.zeros(2, 8, dtype=torch.long), torch.zeros(2, 8, dtype=torch.long)
    short[:, 4:] = -1

    class Batches:
        def once(self, seed):
            return iter([[short], [long], [short]])

    steps = GuideSteps(Aggressive(max_steps=3, check_every=1), Batches())
    losses = iter([8.0, 15.9, 7.9])
    steps.take(lambda batch: torch.tensor(next(losses)), seed=0)
    assert steps.taken == 3


def test_the_guide_gets_closer_to_its_posterior_than_in_ordinary_training():
    def gap(guide_steps):
        torch.manual_seed(0)
        program, x = LinearGaussian((6,), 1).double(), torch.randn(64, 6).double() @ W
        optim = pyro.optim.Adam({"lr": 0.01})
        options = {"guide_steps": guide_steps, "optim": optim, "progress": False}
        fit(program, x, steps=40, **options)
        exact = copy.deepcopy(program)
        exact.optimize_guide()
        return (program.V - exact.V).norm().item()

    W = torch.eye(6, dtype=torch.float64) + torch.ones(6, 6, dtype=torch.float64)
    assert gap(20) < 0.3 * gap(None)


def test_a_program_without_mutual_information_is_refused_before_its_first_step():
    program = Autoencoder((1, 4, 4), 2)
    with pytest.raises(ValueError, match="this program has none; give a number, such as guide_st"):
        fit(program, X, valid=X, loss=Trace_ELBO(), guide_steps=Aggressive(), progress=False)


@pytest.mark.parametrize(
    "guide_steps, kind, sentence",
    [
        (0, ValueError, "guide_steps must be at least 1, but is 0; or leave it out"),
        (1.5, TypeError, "guide_steps is 1.5, but must be a number of steps of the guide"),
        (True, TypeError, "guide_steps is True"),
        (Aggressive, TypeError, "must be a number of steps of the guide before each of the model"),
        (Aggressive(), ValueError, "mutual information of validation data, of which there are"),
    ],
)
def test_what_is_no_number_of_steps_is_refused(guide_steps, kind, sentence):
    with pytest.raises(kind, match=sentence):
        fit(vae(), X, epochs=1, guide_steps=guide_steps, progress=False)


def test_a_number_of_steps_below_one_is_refused_by_aggressive():
    with pytest.raises(ValueError, match="check_every must be at least 1, but is 0"):
        Aggressive(check_every=0)


def test_a_guide_that_shares_all_its_parameters_with_the_model_is_refused():
    prior = VampPrior(2, x_shape=(1, 4, 4), components=5)
    program = VAE((1, 4, 4), latent_dim=2, hidden=(8,), prior=prior)
    with pytest.raises(ValueError, match="is the guide's alone"):
        fit(program, X, epochs=1, guide_steps=2, progress=False)


def test_the_command_line_takes_them_and_resumes_exactly(run):
    words = ["train", "VAE(latent_dim=2, hidden=(8,))", "--guide-steps"]
    words.append("Aggressive(max_steps=4, check_every=2)")
    assert run(*words, "--epochs", 2, "--out", "whole")[0] == 0
    assert run(*words, "--epochs", 1, "--out", "half")[0] == 0
    assert run("train", "--resume", "half", "--epochs", 2)[0] == 0
    whole, half = (load(folder).state_dict() for folder in ("whole", "half"))
    assert all(torch.equal(value, half[name]) for name, value in whole.items())
    lines = Path("whole/metrics.jsonl").read_text().splitlines()
    assert json.loads(lines[-1])["guide_steps"] >= 44  # two for each of 22 steps


def test_the_command_line_refuses_what_it_cannot_read(run):
    code, _, err = run("train", "VAE", "--guide-steps", "0")
    assert code and "guide_steps must be at least 1, but is 0" in err
    code, _, err = run("train", "VAE", "--guide-steps", "Agressive()")
    assert code and "did you mean 'Aggressive'?" in err


def test_a_look_at_mutual_information_changes_no_draw():
    """The draws of the training are those of one whose inner steps are the same."""
    found, _ = trained((2,), guide_steps=Aggressive(max_steps=2, check_every=2), valid=X)
    other, _ = trained((2,), guide_steps=2, valid=X)
    assert torch.equal(found, other)
    assert math.isfinite(mutual_information(vae(), X)["z"].mutual_information)
