"""Penalties of a program's modules, spectral regularization among them, beside any loss."""

import copy
import itertools
from functools import partial

import pyro
import pyro.distributions as dist
import pyro.infer
import pytest
import torch
from torch import nn

from pyro_vae.frozen import freeze
from pyro_vae.inference import (
    IWAE,
    SVI,
    Compile,
    Penalty,
    Spectral,
    Trace_ELBO,
    fit,
    linear,
)
from pyro_vae.models import VAE
from pyro_vae.networks import ConvDecoder, ConvEncoder

X = (torch.rand(40, 1, 4, 4, generator=torch.Generator().manual_seed(0)) < 0.3).float()


def l2(program):
    return 0.01 * sum(p.square().sum() for p in program.parameters())


class L1(Penalty):
    def forward(self, program):
        return sum(p.abs().sum() for p in program.parameters())


def vae():
    pyro.set_rng_seed(0)
    return VAE((1, 4, 4), latent_dim=2, hidden=(8,))


def sgd(parameters, lr=0.1):
    return torch.optim.SGD(parameters, lr=lr)


def stepped(program, penalty, steps=1, loss=None, **options):
    """The parameters after some steps of gradient descent, and the losses."""
    pyro.set_rng_seed(1)
    optim = sgd([p for p in program.parameters() if p.requires_grad], lr=1e-3)
    svi = SVI(program.model, program.guide, optim, loss or Trace_ELBO(), penalty=penalty, **options)
    losses = [svi.step(X).item() for _ in range(steps)]
    return [p.detach().clone() for p in program.parameters()], losses, svi


LOSSES = {
    "ours": Trace_ELBO(),
    "in chunks": IWAE(4, chunk_size=2),
    "Pyro's, which adds its gradient itself": pyro.infer.TraceGraph_ELBO(),
}


@pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES)
def test_a_function_of_the_program_adds_its_gradient_and_leaves_the_loss(loss):
    program = vae()
    before = [p.detach().clone() for p in program.parameters()]
    plain, losses, _ = stepped(copy.deepcopy(program), None, loss=loss)
    found, penalized, _ = stepped(program, l2, loss=loss)
    assert losses == penalized
    right = [p - 1e-3 * 0.02 * start for p, start in zip(plain, before, strict=True)]
    torch.testing.assert_close(found, right)


def test_the_weight_of_a_penalty_may_be_a_schedule():
    program = vae()
    schedule = linear(0.0, 0.4, steps=2)
    twin = copy.deepcopy(program)
    parameters = [*twin.parameters()]
    optim, losses = sgd(parameters, lr=1e-3), []
    pyro.set_rng_seed(1)
    for step in range(3):
        loss = Trace_ELBO().differentiable_loss(twin.model, twin.guide, X)
        losses.append(loss.item())
        optim.zero_grad()
        (loss + schedule(step) * sum(p.abs().sum() for p in parameters)).backward()
        optim.step()
    found, penalized, _ = stepped(program, L1(schedule), steps=3)
    assert penalized == pytest.approx(losses, rel=1e-6)
    torch.testing.assert_close(found, [p.detach() for p in parameters])


def test_what_no_loss_trains_no_penalty_trains():
    program = vae()
    program.unused = nn.Linear(3, 3)
    freeze(program.encoder)
    before = copy.deepcopy(program.state_dict())
    stepped(program, L1(), steps=2, compile=Compile(mode="captured"))
    kept = [n for n, p in program.state_dict().items() if torch.equal(p, before[n])]
    assert {n.split(".")[0] for n in kept} == {"encoder", "unused"}
    assert program.unused.weight.grad is None


def test_the_modules_of_functions_are_one_module():
    encoder, decoder = nn.Linear(16, 4), nn.Linear(2, 16)

    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
            pyro.sample("x", dist.Bernoulli(logits=decoder(z)).to_event(1), obs=x.flatten(1))

    def guide(x):
        with pyro.plate("data", len(x)):
            loc, log_scale = encoder(x.flatten(1)).chunk(2, -1)
            pyro.sample("z", dist.Normal(loc, log_scale.exp()).to_event(1))

    seen = []
    adam = pyro.optim.Adam({"lr": 1e-3})
    svi = SVI(model, guide, adam, penalty=lambda program: seen.append(program) or l2(program))
    svi.step(X)
    assert dict(seen[0].items()) == {"encoder": encoder, "decoder": decoder}


@pytest.mark.parametrize("penalty", [l2, L1(linear(0, 0.1, 5)), Spectral(linear(0, 0.1, 5))])
def test_a_captured_step_is_the_eager_one_bit_for_bit(penalty):
    program = vae()
    runs = [
        stepped(copy.deepcopy(program), copy.deepcopy(penalty), steps=8, compile=compile)
        for compile in (False, Compile(mode="captured"))
    ]
    (eager, losses, _), (captured, others, svi) = runs
    assert svi.mode == "captured" and losses == others
    assert all(map(torch.equal, eager, captured))


@pytest.mark.filterwarnings("ignore")  # of torch's compiler, about itself
def test_a_compiled_step_is_the_eager_one_to_rounding():
    class Linear(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(3, 2)

        def model(self, x):
            with pyro.plate("data", len(x)):
                pyro.sample("x", dist.Normal(self.layer(x), 1.0).to_event(1), obs=x[:, :2] + 1)

        def guide(self, x):
            pass

    pyro.set_rng_seed(0)
    program, x, runs = Linear(), torch.randn(6, 3), []
    for compile in (False, Compile()):
        twin, penalty = copy.deepcopy(program), Spectral(linear(0, 5.0, 4))
        svi = SVI(
            twin.model, twin.guide, sgd(twin.parameters(), 0.01), compile=compile, penalty=penalty
        )
        runs.append([svi.step(x).item() for _ in range(8)] + [p for p in penalty.buffers()])
    assert svi.mode == "compiled"
    torch.testing.assert_close(runs[0], runs[1], rtol=1e-5, atol=1e-6)


class Layers(nn.Module):
    """Layers of several kinds, two of them of one shape, and one that is frozen."""

    def __init__(self):
        super().__init__()
        self.linears = nn.ModuleList([nn.Linear(5, 3), nn.Linear(5, 3), nn.Linear(3, 4)])
        self.conv = nn.Conv2d(4, 6, 3)
        self.depthwise = nn.Conv2d(4, 4, 5, groups=4)
        self.transposed = nn.ConvTranspose2d(4, 6, 2)
        self.normalized = nn.utils.parametrizations.weight_norm(nn.Linear(6, 2))
        self.norm = nn.BatchNorm2d(6)
        self.frozen = nn.Linear(7, 7).requires_grad_(False)

    @property
    def matrices(self):
        plain = (*self.linears, self.conv, self.depthwise, self.normalized)
        weights = [layer.weight.flatten(1) for layer in plain]
        return [*weights, self.transposed.weight.transpose(0, 1).flatten(1)]


@pytest.mark.parametrize("batch_norm", [False, True])
def test_it_is_the_sum_of_the_largest_singular_values_with_its_gradient(batch_norm):
    pyro.set_rng_seed(0)
    layers, spectral = Layers().double(), Spectral(batch_norm=batch_norm)
    with torch.no_grad():
        layers.norm.weight.copy_(torch.tensor([0.5, -3.0, 1.0, 1.0, 0.2, 2.0]))
    for _ in range(200):
        found = spectral(layers)
    known = sum(torch.linalg.svd(matrix)[1][0] for matrix in layers.matrices)
    known = known + 3.0 * batch_norm - 3.0 * batch_norm
    known = known + (layers.norm.weight.abs().max() if batch_norm else 0.0)
    torch.testing.assert_close(found, known, rtol=1e-6, atol=0)
    parameters = [p for p in layers.parameters() if p.requires_grad]
    gradients = [torch.autograd.grad(v, parameters, allow_unused=True) for v in (found, known)]
    for ours, right in zip(*gradients, strict=True):
        assert (ours is None) == (right is None)
        if ours is not None:
            torch.testing.assert_close(ours, right, rtol=1e-3, atol=1e-6)


def test_the_power_iteration_goes_on_from_step_to_step_and_never_exceeds_the_largest():
    pyro.set_rng_seed(0)
    network, spectral = nn.Linear(40, 30, dtype=torch.float64), Spectral(iterations=1)
    spectral(network)
    with torch.no_grad():
        network.weight.normal_()
    largest = torch.linalg.svdvals(network.weight)[0]
    found = [spectral(network).item() for _ in range(60)]
    rounding = 1e-12 * largest
    assert all(later >= earlier - rounding for earlier, later in itertools.pairwise(found))
    assert found[0] < 0.999 * found[-1] and 0.99 * largest < found[-1] <= largest + rounding
    assert spectral.left_30x40.shape == (1, 30)


def test_a_larger_weight_leaves_smaller_singular_values():
    def largest(weight):
        program = vae()
        penalty = None if weight is None else Spectral(weight)
        fit(program, X, steps=30, penalty=penalty, progress=False, compile=False)
        layers = [m.weight for m in program.modules() if isinstance(m, nn.Linear)]
        return sum(torch.linalg.svdvals(weight)[0].item() for weight in layers)

    assert largest(None) > largest(30.0)


def test_convolutional_programs_are_regularized_too():
    pyro.set_rng_seed(0)
    networks = {"encoder": partial(ConvEncoder, channels=(4, 6))}
    networks |= {"decoder": partial(ConvDecoder, channels=(6, 4))}
    program = VAE((1, 8, 8), latent_dim=2, **networks)
    options = {"penalty": Spectral(), "progress": False, "compile": False}
    training = fit(program, torch.zeros(8, 1, 8, 8), steps=3, **options)
    weights = [m for m in program.modules() if isinstance(m, nn.Linear | nn.Conv2d)]
    transposed = [m for m in program.modules() if isinstance(m, nn.ConvTranspose2d)]
    matrices = [m.weight.flatten(1) for m in weights]
    matrices += [m.weight.transpose(0, 1).flatten(1) for m in transposed]
    known = 1e-2 * sum(torch.linalg.svdvals(matrix)[0].item() for matrix in matrices)
    assert training.records[-1]["penalty"] == pytest.approx(known, rel=0.02)  # of a power iteration


def test_a_penalty_changes_no_random_numbers():
    states = []
    for penalty in (None, Spectral(0.0)):
        training = fit(vae(), X, epochs=2, batch_size=16, penalty=penalty, progress=False)
        states.append(([r["train_loss"] for r in training.records], torch.get_rng_state()))
    assert states[0][0] == states[1][0] and torch.equal(states[0][1], states[1][1])


def trained(parts):
    program, state = vae(), None
    for epochs in parts:
        torch.manual_seed(99 if state else 1)
        options = {"penalty": Spectral(linear(0.1, 1.0, 3)), "resume": state, "progress": False}
        run = fit(program, X, epochs=epochs, batch_size=16, **options)
        state = copy.deepcopy(run.state_dict())
    return [*program.parameters(), *run.svi.objective.penalty.buffers()], run.records


def test_a_resumed_training_has_the_same_penalty_bit_for_bit():
    (straight, records), (resumed, others) = trained([4]), trained([1, 2, 4])
    assert all(map(torch.equal, straight, resumed))
    assert [r["penalty"] for r in records] == [r["penalty"] for r in others]
    assert records[0]["penalty.weight"] == pytest.approx(1.0)


def test_the_last_parameters_penalty_is_recorded_weighed_and_changes_nothing():
    program = vae()
    training = fit(program, X, epochs=1, batch_size=16, penalty=l2, progress=False)
    assert training.records[-1]["penalty"] == pytest.approx(l2(program).item(), rel=1e-6)


@pytest.mark.parametrize(
    ("penalty", "error", "sentence"),
    [
        (0.01, TypeError, "the penalty is 0.01, but must be a function of the program's modules"),
        (Spectral, TypeError, r"the penalty is the class Spectral; write Spectral\(\)"),
        (lambda program: 3, ValueError, "is 3, but must be one number, a tensor made of the param"),
        (lambda program: torch.ones(2), ValueError, r"is of shape \(2,\), but must be one number"),
    ],
)
def test_what_is_no_penalty_is_refused(penalty, error, sentence):
    with pytest.raises(error, match=sentence):
        stepped(vae(), penalty)


@pytest.mark.parametrize("weight", [-1.0, "1", float("nan")])
def test_a_weight_that_is_none_is_refused(weight):
    with pytest.raises(ValueError, match="the weight of Spectral is"):
        Spectral(weight)


def test_a_program_without_layers_has_no_spectrum():
    program = vae()
    program.requires_grad_(False)
    with pytest.raises(ValueError, match="Spectral penalizes linear and convolutional layers"):
        Spectral()(program)
    with pytest.raises(ValueError, match="iterations of Spectral must be at least 1"):
        Spectral(iterations=0)
