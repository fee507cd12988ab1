"""An estimator with a module that is trained: a critic, in one loss and one training with all."""

import copy
import inspect
from dataclasses import dataclass, field

import pyro
import pyro.infer
import pytest
import torch
from torch import nn

from pyro_vae import check
from pyro_vae.inference import SVI, Compile, Trace_ELBO, compare, fit
from pyro_vae.models import VAE

X = (torch.rand(40, 1, 8, 8, generator=torch.Generator().manual_seed(0)) < 0.3).float()


def network():
    return nn.Sequential(nn.Linear(2, 4), nn.BatchNorm1d(4), nn.Tanh(), nn.Linear(4, 1))


@dataclass(frozen=True)
class Critical(Trace_ELBO):
    """The ELBO, with a critic that learns |z|^2 from detached draws in the same loss."""

    critic: nn.Module = field(default_factory=network, kw_only=True)
    shares_path = Trace_ELBO.shares_path  # as the critic sees detached draws

    def objective(self, t):
        z = t.latents["z"].z.detach()
        return super().objective(t) - (self.critic(z).squeeze(-1) - z.square().sum(-1)).square()


HEAD = """from dataclasses import dataclass, field

from torch import nn

from pyro_vae.inference import Trace_ELBO
"""
FILE = "\n\n".join([HEAD, inspect.getsource(network), inspect.getsource(Critical)])


def build():
    pyro.set_rng_seed(0)
    return VAE((1, 8, 8), latent_dim=2, hidden=(8,))


def numbers(module):
    return torch.cat([t.detach().flatten().double() for t in module.state_dict().values()])


def steps(loss, *, svi_class=SVI, optim=None, number=5, **options):
    """The losses, the program, and the SVI after some steps."""
    program = build()
    optim = pyro.optim.Adam({"lr": 0.01}) if optim is None else optim
    svi = svi_class(program.model, program.guide, optim, loss, **options)
    pyro.set_rng_seed(1)
    return [float(svi.step(X)) for _ in range(number)], program, svi


def test_both_are_trained_and_the_program_as_if_there_were_no_critic():
    pyro.set_rng_seed(2)
    loss = Critical()
    before = numbers(loss.critic)
    _, program, svi = steps(loss)
    _, alone, _ = steps(Trace_ELBO())
    assert torch.equal(numbers(program), numbers(alone))
    assert not torch.equal(numbers(program), numbers(build()))
    assert all(parameter.grad is None for parameter in loss.critic.parameters())
    assert (numbers(loss.critic) != before).all()
    assert {name for name in svi.parameters if name.startswith("estimator.")} == {
        f"estimator.critic.{name}" for name, _ in loss.critic.named_parameters()
    }


def test_the_critic_learns_what_its_own_training_teaches_it():
    """Against steps of Adam on the critic's loss, written out, on the same draws."""
    pyro.set_rng_seed(2)
    loss = Critical(critic=nn.Sequential(nn.Linear(2, 4), nn.Tanh(), nn.Linear(4, 1)))
    twin = copy.deepcopy(loss.critic)
    steps(loss, number=3)
    program = build()
    optim = torch.optim.Adam([*twin.parameters(), *program.parameters()], lr=0.01)
    pyro.set_rng_seed(1)
    for _ in range(3):
        optim.zero_grad()
        trace = pyro.poutine.trace(program.guide).get_trace(X)
        model = pyro.poutine.trace(pyro.poutine.replay(program.model, trace)).get_trace(X)
        z = trace.nodes["z"]["value"].detach()
        error = (twin(z).squeeze(-1) - z.square().sum(-1)).square().sum()
        (trace.log_prob_sum() - model.log_prob_sum() + error).backward()
        optim.step()
    torch.testing.assert_close(numbers(loss.critic), numbers(twin))


def test_a_captured_step_is_the_eager_one():
    found = []
    for compile in (False, Compile(fuse=False)):
        pyro.set_rng_seed(2)
        loss = Critical()
        losses, program, svi = steps(loss, number=8, compile=compile)
        found.append((losses, numbers(program).tolist(), numbers(loss.critic).tolist()))
    assert svi.mode == "captured" and found[0] == found[1]


def test_pyros_svi_trains_it_too():
    found = []
    for kind in (SVI, pyro.infer.SVI):
        pyro.clear_param_store()
        pyro.set_rng_seed(2)
        loss = Critical()
        losses, program, _ = steps(loss, svi_class=kind)
        found.append(torch.cat([torch.tensor(losses), numbers(program), numbers(loss.critic)]))
    torch.testing.assert_close(*found)


@pytest.mark.parametrize(
    "options",
    [
        lambda name: {"lr": 0.0 if name.startswith("estimator.critic.") else 0.01},
        lambda module, name: {"lr": 0.0 if module == "estimator" else 0.01},
    ],
    ids=["by name", "by module and name"],
)
def test_its_learning_rate_is_set_by_pyros_options_of_each_parameter(options):
    loss = Critical()
    before = [parameter.detach().clone() for parameter in loss.critic.parameters()]
    _, program, _ = steps(loss, optim=pyro.optim.Adam(options))
    assert all(map(torch.equal, before, loss.critic.parameters()))
    assert not torch.equal(numbers(program), numbers(build()))


def test_a_second_training_trains_the_critic_of_its_own():
    first, second = Critical(), Critical()
    steps(first)
    after = numbers(first.critic)
    before = numbers(second.critic)
    steps(second)
    assert torch.equal(numbers(first.critic), after)
    assert (numbers(second.critic) != before).all()


def test_a_frozen_critic_stays_as_it_is():
    loss = Critical()
    loss.critic.requires_grad_(False)
    before = [parameter.clone() for parameter in loss.critic.parameters()]
    _, _, svi = steps(loss)
    assert all(map(torch.equal, before, loss.critic.parameters()))
    assert not any(name.startswith("estimator.") for name in svi.parameters)


def trained(parts, **options):
    """Program and critic after trainings of so many epochs in all, each resumed from the last."""
    state, weights = None, {}
    for epochs in parts:
        pyro.clear_param_store()  # as in a process of its own
        pyro.set_rng_seed(3 if state is None else 99)
        loss, program = Critical(), build()
        if state is not None:
            program.load_state_dict(weights)
        run = fit(
            program, X, loss=loss, epochs=epochs, batch_size=16, progress=False, resume=state,
            **options,
        )  # fmt: skip
        state, weights = copy.deepcopy(run.state_dict()), copy.deepcopy(program.state_dict())
    return numbers(program), numbers(loss.critic), run


@pytest.mark.parametrize("options", [{}, {"valid": X[:16]}], ids=["last", "best"])
def test_a_resumed_training_is_bit_for_bit_the_one_that_went_through(options):
    *straight, run = trained([4], **options)
    *resumed, _ = trained([1, 2, 4], **options)
    assert all(map(torch.equal, straight, resumed))
    assert bool(run.best) == bool(options)


def test_the_best_epochs_critic_is_put_back_with_the_program():
    pyro.set_rng_seed(0)
    kept, loss = [], Critical()
    run = fit(
        build(), X, loss=loss, valid=X[:16], epochs=3, batch_size=16, progress=False,
        optim=pyro.optim.Adam({"lr": 0.3}),  # too high, so that the first epochs are the best
        on_epoch=lambda run, best: kept.append((best, numbers(loss.critic))),
    )  # fmt: skip
    assert not kept[-1][0] and run.best
    last_best = next(values for best, values in reversed(kept) if best)
    assert torch.equal(numbers(loss.critic), last_best)


def test_a_run_folder_saves_and_resumes_it(run, tmp_path):
    (tmp_path / "critical.py").write_text(FILE)
    program = "VAE(latent_dim=2, hidden=(8,))"
    options = ("--loss", "critical.py:Critical()", "--batch-size", 500)
    for command in (
        ("train", program, *options, "--epochs", 3, "--out", "straight"),
        ("train", program, *options, "--epochs", 1, "--out", "resumed"),
        ("train", "--resume", "resumed", "--epochs", 3),
    ):
        code, out, err = run(*command)
        assert code == 0, out + err
    states = [
        torch.load(tmp_path / name / "checkpoint.pt", weights_only=True)
        for name in ("straight", "resumed")
    ]
    saved = [state["fit"]["estimator"] for state in states]
    assert saved[0].keys() == network().state_dict(prefix="critic.").keys()
    assert all(torch.equal(saved[0][name], saved[1][name]) for name in saved[0])


def test_check_names_its_parameters():
    report = check(build(), X, Critical())
    assert "estimator.critic.0.weight" in report.parameters


def test_it_is_compared_as_others_are():
    (row,) = compare(build(), X, [Critical()], num_particles=(1,), repeats=3, progress=False).rows
    assert row.refusal is None and row.guide.variance > 0


def test_it_follows_the_data_to_their_device():
    """The device without memory stands for a GPU."""
    loss = Critical(critic=network().eval())
    program = build().to("meta")
    with pyro.validation_enabled(False):
        value = loss.differentiable_loss(program.model, program.guide, X.to("meta"))
    assert value.device.type == "meta"
    assert {tensor.device.type for tensor in loss.state_dict().values()} == {"meta"}


def test_a_module_that_goes_into_evaluation_mode_does_so_in_the_graph():
    """Its BatchNorm then stands still, and its value is another."""
    found = {}
    for compile in (False, Compile(mode="captured")):
        loss = Critical()
        pyro.clear_param_store()
        pyro.set_rng_seed(2)
        for module in loss.critic:
            if isinstance(module, nn.Linear):
                module.reset_parameters()
        _, _, svi = steps(loss, number=6, compile=compile)
        loss.critic.eval()
        losses = [svi.step(X).item() for _ in range(12)]
        found[bool(compile)] = losses, numbers(loss.critic).tolist()
    assert [kind.mode for kind in svi.graphs.kinds] == ["captured", "captured"]
    assert found[True] == found[False]
