"""The conditional VAE: its density, and how networks and prior see the condition."""

import copy
from functools import partial

import numpy as np
import pyro
import pytest
import torch
from pyro import poutine
from scipy import stats
from torch.nn import functional

from pyro_vae import networks
from pyro_vae.datasets import Split
from pyro_vae.inference import IWAE, SVI, Compile, Trace_ELBO, fit, sample
from pyro_vae.inference.checking import check
from pyro_vae.inference.terms import collect
from pyro_vae.likelihoods import Normal
from pyro_vae.models import ConditionalVAE
from pyro_vae.posteriors import DiagonalNormal
from pyro_vae.priors import GaussianMixture, StandardNormal, VampPrior

from .twins import captured_like_eager

Y = torch.tensor([0, 2, 1, 2, 0, 1])
C = torch.tensor([[0.3, -1.2], [2.0, 0.1], [0.0, 0.0], [1.0, 1.0], [-0.5, 0.7], [0.2, 0.9]])
X = (torch.rand(6, 1, 4, 4, generator=torch.Generator().manual_seed(0)) < 0.3).float()


def classes(**options):
    return ConditionalVAE((1, 4, 4), 3, **{"num_classes": 3, "hidden": (8,)} | options)


def conditions(**options):
    return classes(y_shape=(2,), **options)


def convolutional():
    return classes(
        encoder=partial(networks.ResidualEncoder, channels=(4, 8)),
        decoder=partial(networks.ResidualDecoder, channels=(4, 8)),
    )


def through_z():
    return classes(prior=DiagonalNormal(3), encoder_sees_y=False, decoder_sees_y=False)


CASES = {
    "classes": (classes, Y),
    "conditions": (conditions, C),
    "a prior of y": (lambda: classes(prior=DiagonalNormal(3)), Y),
    "a prior of y alone": (through_z, Y),
    "an affine map": (lambda: classes(hidden=()), Y),
    "convolutions": (convolutional, Y),
}


@pytest.fixture(params=CASES.values(), ids=CASES.keys())
def case(request):
    build, y = request.param
    return build(), y


@pytest.mark.parametrize("prior", [None, DiagonalNormal(1)], ids=["p(z)", "p(z | y)"])
@pytest.mark.parametrize(
    "options, y, seen",
    [
        ({"num_classes": 3}, torch.tensor([2]), [0.0, 0.0, 1.0]),
        ({"y_shape": (2,)}, torch.tensor([[0.3, -1.2]], dtype=torch.float64), [0.3, -1.2]),
    ],
    ids=["class", "condition"],
)
def test_it_is_the_density_of_the_paper(prior, options, y, seen):
    """log p(x, z | y) and log q(z | x, y) written out by hand, from the networks' weights."""
    program = ConditionalVAE((2,), 1, prior=copy.deepcopy(prior), hidden=(4,), **options).double()
    x, seen = torch.tensor([[1.0, 0.0]], dtype=torch.float64), np.array(seen)

    def mlp(network, *inputs):
        weights = [p.detach().numpy() for p in network.parameters()]
        if len(inputs) == 2:  # A x + a + B y + b
            a, b, c, d, *weights = weights
            h = a @ inputs[0] + b + c @ inputs[1] + d
        else:
            a, b, *weights = weights
            h = a @ inputs[0] + b
        return weights[0] @ np.logaddexp(0, h) + weights[1]

    guide = poutine.trace(program.guide).get_trace(x, y)
    model = poutine.trace(poutine.replay(program.model, guide)).get_trace(x, y)
    z = guide.nodes["z"]["value"].item()
    loc, log_scale = mlp(program.encoder, x[0].numpy(), seen)
    log_q = stats.norm(loc, np.exp(log_scale)).logpdf(z)
    prior_loc, prior_log_scale = (0, 0) if prior is None else mlp(program.prior_network, seen)
    h = mlp(program.decoder, np.array([z]), seen)
    log_p = stats.norm(prior_loc, np.exp(prior_log_scale)).logpdf(z)
    log_p += -np.logaddexp(0, -h[0]) - np.logaddexp(0, h[1])  # x is 1, then 0
    assert guide.log_prob_sum().item() == pytest.approx(log_q)
    assert model.log_prob_sum().item() == pytest.approx(log_p)


def test_a_given_network_sees_the_condition_as_constant_channels_and_further_latents():
    shapes = {}

    class Recorder(networks.MLP):
        def forward(self, x):
            shapes[self.in_shape] = x
            return super().forward(x)

    joined = partial(networks.Joined, network=Recorder)
    program = classes(encoder=joined, decoder=joined)
    program.model(X, Y), program.guide(X, Y)
    image = shapes[(4, 4, 4)]
    assert torch.equal(image[:, :1], X)
    one_hot = functional.one_hot(Y, 3).float()
    assert torch.equal(image[:, 1:], one_hot[:, :, None, None].expand(6, 3, 4, 4))
    assert torch.equal(shapes[(6,)][:, 3:], one_hot)


@pytest.mark.parametrize("given", [False, True], ids=["its own", "given"])
def test_networks_that_do_not_see_the_condition_are_of_x_and_z_alone(given):
    own = {"hidden": (8, 6), "activation": torch.nn.Tanh}
    mlp = partial(networks.MLP, **own)
    program = classes(
        prior=DiagonalNormal(3),
        encoder_sees_y=False,
        decoder_sees_y=False,
        **({"encoder": mlp, "decoder": mlp} if given else own),
    )
    z = torch.randn(6, 3)
    encoder, decoder = program.encoder, program.decoder
    for y in (Y, Y.flip(0)):
        guide = poutine.trace(program.guide).get_trace(X, y)
        model = poutine.trace(poutine.condition(program.model, {"z": z})).get_trace(X, y)
        loc, log_scale = encoder(X).unbind(-2)
        torch.testing.assert_close(guide.nodes["z"]["fn"].mean, loc)
        torch.testing.assert_close(guide.nodes["z"]["fn"].stddev, log_scale.exp())
        torch.testing.assert_close(model.nodes["x"]["fn"].base_dist.logits, decoder(z))
        of_y = program.prior_network(functional.one_hot(y, 3).float())
        torch.testing.assert_close(model.nodes["z"]["fn"].mean, of_y.unbind(-2)[0])
    widths = [p.shape[0] for p in decoder.parameters() if p.ndim > 1]
    assert widths == ([8, 6, 16] if given else [6, 8, 16])


def test_it_passes_its_preflight(case):
    program, y = case
    check(program, X, IWAE(3), y=y)


def test_the_gradient_reaches_every_parameter_in_float64(case):
    program, y = case
    program = program.double()
    loss = Trace_ELBO().differentiable_loss(program.model, program.guide, X.double(), y)
    loss.backward()
    assert loss.dtype == torch.float64 and loss.isfinite()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in program.parameters())


def test_the_particles_of_a_plate_are_draws_each_by_itself(case):
    """Each particle's weight is that of a run on its draw alone."""
    program, y = case
    program, x = program.double(), X.double()
    terms = collect(program.model, program.guide, (x, y), {}, num_particles=4)
    z = terms.latents["z"].z
    for k in range(4):
        model = poutine.trace(poutine.condition(program.model, {"z": z[k]})).get_trace(x, y)
        guide = poutine.trace(poutine.condition(program.guide, {"z": z[k]})).get_trace(x, y)
        for trace in (model, guide):
            trace.compute_log_prob()
        log_w = model.nodes["x"]["log_prob"] + model.nodes["z"]["log_prob"]
        torch.testing.assert_close(terms.log_w[k], log_w - guide.nodes["z"]["log_prob"])


def test_a_captured_step_is_the_eager_one_bit_for_bit(case):
    program, y = case
    captured_like_eager(program, Trace_ELBO(), batches=[(X, y)])


@pytest.mark.parametrize("kind", ["class", "condition"])
def test_samples_follow_their_condition(kind):
    """x is y to within 0.1, so that a sample of y is, too, and one without y is not."""
    y = torch.arange(240) % 3
    c = functional.one_hot(y, 3).float()
    x = c + 0.1 * torch.randn(240, 3)
    shape = {"num_classes": 3} if kind == "class" else {"y_shape": (3,)}
    program = ConditionalVAE((3,), 2, likelihood=Normal((3,), scale=0.1), hidden=(16,), **shape)
    y = y if kind == "class" else c
    fit(
        program,
        Split(x, y),
        optim=pyro.optim.Adam({"lr": 1e-2}),
        steps=150,
        batch_size=60,
        progress=False,
    )
    # The mean of x given z is off by the data's 0.1 at most, where z has learned to code it.
    drawn = sample(program, 240, (3,), y=y)
    assert (drawn - c).abs().mean() < 0.2
    assert (sample(program, 240, (3,), y=y.roll(1, 0)) - c).abs().mean() > 0.4


@pytest.mark.parametrize("label", [-1, 3, 300])
def test_a_label_that_is_no_class_is_refused(label):
    program, y = classes(), torch.where(Y == 1, label, Y)
    for function in (program.model, program.guide):
        with pytest.raises(ValueError, match=rf"labels reach .*{label}.* has the classes 0 to 2"):
            function(X, y)
    with pytest.raises(ValueError, match="has the classes 0 to 2"):
        fit(program, Split(X, y), steps=1, progress=False)


@pytest.mark.parametrize("label", [-1, 3])
def test_a_label_that_is_no_class_spoils_no_parameter_of_a_captured_training(label):
    program = classes()
    svi = SVI(
        program.model,
        program.guide,
        pyro.optim.Adam({"lr": 1e-3}),
        compile=Compile(mode="captured"),
    )
    for _ in range(4):
        svi.step(X, Y)
    assert svi.mode == "captured"
    with pytest.raises(FloatingPointError), pyro.validation_enabled(False):
        svi.step(X, torch.where(Y == 1, label, Y))
    assert all(p.isfinite().all() for p in program.parameters())


@pytest.mark.parametrize(
    "part, sentence",
    [
        ({"prior": StandardNormal(4)}, r"prior's latent_dim is \(4,\).*needs \(3,\)"),
        ({"prior": DiagonalNormal(4)}, r"prior's latent_dim is \(4,\).*needs \(3,\)"),
        ({"posterior": DiagonalNormal(4)}, r"latent_dim is \(4,\).*needs \(3,\)"),
        ({"likelihood": Normal((1, 5, 5))}, r"x_shape is \(1, 5, 5\).*needs \(1, 4, 4\)"),
        ({"encoder": networks.MLP((1, 4, 4), (2, 3))}, r"\(1, 4, 4\).*needs \(4, 4, 4\)"),
        ({"decoder": networks.MLP((3,), (1, 4, 4))}, r"in_shape is \(3,\).*needs \(6,\)"),
        (
            {"prior": DiagonalNormal(3), "prior_network": networks.MLP((9,), (2, 3))},
            r"prior_network's in_shape is \(9,\).*needs \(3,\)",
        ),
        ({"prior_network": networks.MLP}, "StandardNormal has no param_shape"),
        ({"prior": VampPrior(3, x_shape=(1, 4, 4))}, r"VampPrior is made of q\(z \| x\)"),
        (
            {
                "prior": DiagonalNormal(3),
                "decoder_sees_y": False,
                "decoder": networks.MLP((6,), ()),
            },
            r"decoder's in_shape is \(6,\).*needs \(3,\)",
        ),
        ({"decoder_sees_y": False}, "prior StandardNormal, .* y is nowhere in this ConditionalVAE"),
        ({"num_classes": 0}, "num_classes must be at least 1"),
        ({"y_shape": (0,)}, "at least one unit"),
    ],
)
def test_parts_that_do_not_fit_are_refused_with_both_shapes(part, sentence):
    with pytest.raises(ValueError, match=sentence):
        classes(**part)


def test_any_prior_without_a_condition_serves():
    check(classes(prior=GaussianMixture(3)), X, Trace_ELBO(), y=Y)
