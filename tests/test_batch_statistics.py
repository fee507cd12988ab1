"""Batch normalization's averages, computed anew over the training data before they are used."""

import copy
import itertools
import json
from functools import partial

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import nn

from pyro_vae.frozen import freeze
from pyro_vae.inference import Compile, fit
from pyro_vae.models import VAE, LadderVAE
from pyro_vae.networks import MLP

_generator = torch.Generator().manual_seed(0)
X = (
    torch.rand(40, 1, 4, 4, generator=_generator) < torch.linspace(0.1, 0.9, 16).view(4, 4)
).float()


def vae():
    pyro.set_rng_seed(0)
    mlp = partial(MLP, hidden=(8,), batch_norm=True)
    return VAE((1, 4, 4), latent_dim=2, encoder=mlp, decoder=mlp)


def norms(program):
    return [part for part in program.modules() if isinstance(part, nn.BatchNorm1d)]


def trained(program=None, data=X, epochs=2, **options):
    program = program or vae()
    options = {"batch_size": 20, "progress": False, "compile": False} | options
    torch.manual_seed(1)
    training = fit(program, data, epochs=epochs, recompute_batch_statistics=True, **options)
    return program, training


def test_they_are_the_plain_averages_of_the_batches_with_the_last_weights():
    batches = list(X.split(20))
    program, _ = trained(data=batches)
    (norm, _) = norms(program)  # the encoder's
    linear = next(part for part in program.encoder.modules() if isinstance(part, nn.Linear))
    inputs = [linear(batch.flatten(1)) for batch in batches]
    assert torch.equal(norm.num_batches_tracked, torch.tensor(2)) and norm.momentum == 0.1
    mean, var = (sum(each) / 2 for each in zip(*((h.mean(0), h.var(0)) for h in inputs)))  # noqa: B905
    torch.testing.assert_close(norm.running_mean, mean)
    torch.testing.assert_close(norm.running_var, var)


@pytest.mark.parametrize("compile", [False, Compile(mode="captured")])
@pytest.mark.parametrize("make", [vae, lambda: LadderVAE((1, 4, 4), (3, 2), hidden=(8,))])
def test_the_training_is_the_same_without_it(make, compile):
    programs, states = [], []
    for recompute in (False, True):
        pyro.set_rng_seed(0)
        programs.append(make())
        torch.manual_seed(1)
        options = {"batch_size": 20, "progress": False, "compile": compile, "epochs": 3}
        training = fit(programs[-1], X, recompute_batch_statistics=recompute, **options)
        states.append(([r["train_loss"] for r in training.records], torch.get_rng_state()))
    assert states[0][0] == states[1][0] and torch.equal(states[0][1], states[1][1])
    assert training.svi.mode == ("captured" if compile else "eager")
    assert len(training.svi.graphs.kinds) == bool(compile)  # and no graph is made anew
    pairs = zip(programs[0].parameters(), programs[1].parameters(), strict=True)
    assert all(torch.equal(p, q) for p, q in pairs)
    assert not torch.equal(*(norms(program)[0].running_mean for program in programs))


class Reconstruction(nn.Module):
    """x ~ N(norm(linear(x)), 1), which has no latent and so an exact value."""

    def __init__(self):
        super().__init__()
        self.linear, self.norm = nn.Linear(16, 16), nn.BatchNorm1d(16)

    def p(self, x):
        return dist.Normal(self.norm(self.linear(x.flatten(1))), 1.0)

    def model(self, x):
        with pyro.plate("data", len(x)):
            pyro.sample("x", self.p(x).to_event(1), obs=x.flatten(1))

    def guide(self, x):
        pass


def test_the_validation_data_are_judged_by_them_and_the_best_epoch_keeps_its_own():
    pyro.set_rng_seed(0)
    optim = pyro.optim.Adam({"lr": 0.3})  # too high, so that the last epoch is not the best
    program, batches = Reconstruction(), list(X.split(20))
    _, training = trained(program, batches, epochs=12, valid=X[:10], optim=optim)
    losses = [record["valid_loss"] for record in training.records]
    assert losses[-1] > min(losses)
    h = [program.linear(batch.flatten(1)) for batch in batches]
    mean, var = (h[0].mean(0) + h[1].mean(0)) / 2, (h[0].var(0) + h[1].var(0)) / 2
    x = X[:10].flatten(1)
    normalized = (program.linear(x) - mean) / (var + program.norm.eps).sqrt()
    loc = program.norm.weight * normalized + program.norm.bias
    assert min(losses) == pytest.approx(-dist.Normal(loc, 1.0).log_prob(x).sum().item() / 10)


def test_what_is_frozen_and_what_does_not_run_keep_their_averages():
    program = vae()
    program.unused, others = nn.BatchNorm1d(3), [torch.full((3,), 0.5), torch.full((8,), 0.25)]
    program.unused.running_mean.copy_(others[0])
    freeze(program.decoder)
    norms(program.decoder)[0].running_mean.copy_(others[1])
    trained(program)
    assert torch.equal(program.unused.running_mean, others[0])
    assert torch.equal(norms(program.decoder)[0].running_mean, others[1])
    assert program.unused.momentum == 0.1 and program.unused.training


def test_a_resumed_training_has_the_same_averages():
    straight, _ = trained(epochs=4)
    program, first = trained(epochs=1)
    trained(program, epochs=4, resume=copy.deepcopy(first.state_dict()))
    for name, value in straight.state_dict().items():
        assert torch.equal(value, program.state_dict()[name]), name


def test_a_program_without_batch_normalization_is_told_so():
    program = VAE((1, 4, 4), latent_dim=2, hidden=(8,))
    with pytest.warns(UserWarning, match="there are no batch statistics to recompute"):
        trained(program)


def test_data_that_are_gone_cannot_be_averaged():
    program, once = vae(), iter([X[:20], X[20:]])
    before = norms(program)[0].running_mean.clone()
    with pytest.raises(ValueError, match="cannot be recomputed, since the training data cannot be"):
        trained(program, data=once, epochs=None, steps=2)
    assert not torch.equal(norms(program)[0].running_mean, before)  # those of the training


def test_data_without_an_end_are_averaged_over_as_many_batches_as_were_trained_on():
    class Endless:
        def __iter__(self):
            return itertools.cycle([X[:20], X[20:]])

    program, _ = trained(data=Endless(), epochs=None, steps=3)
    assert norms(program)[0].num_batches_tracked == 3


def test_a_run_folder_keeps_them(run, tmp_path):
    program = "VAE(latent_dim=2, encoder=partial(MLP, hidden=(16,), batch_norm=True))"
    words = ("train", program, "--epochs", 1, "--out", "a", "--recompute-batch-statistics")
    code, _, err = run(*words)
    assert code == 0, err
    assert json.loads((tmp_path / "a" / "config.json").read_text())["recompute_batch_statistics"]
    from safetensors.torch import load_file

    weights = load_file(tmp_path / "a" / "weights.safetensors")
    number = next(v for name, v in weights.items() if name.endswith("num_batches_tracked"))
    steps = json.loads((tmp_path / "a" / "metrics.jsonl").read_text().splitlines()[-1])["step"]
    assert number == steps  # one pass of the training's batches
