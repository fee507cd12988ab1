"""M2: enumeration against sums written out, over rows with a label and rows without."""

import math
from types import SimpleNamespace

import pyro
import pytest
import torch
from pyro import poutine
from torch.nn.functional import binary_cross_entropy_with_logits, log_softmax, one_hot

from pyro_vae import networks
from pyro_vae.datasets import digits
from pyro_vae.inference import (
    Trace_ELBO,
    TraceEnum_ELBO,
    encode,
    evaluate,
    fit,
    log_likelihood,
    sample,
)
from pyro_vae.inference.checking import check
from pyro_vae.inference.terms import collect
from pyro_vae.models import ConditionalVAE, SemiSupervisedVAE
from pyro_vae.posteriors import DiagonalNormal

from .twins import captured_like_eager

X = (torch.rand(6, 1, 4, 4, generator=torch.Generator().manual_seed(0)) < 0.3).double()
MIXED = torch.tensor([2, -1, 0, -1, -1, 1])
NONE, ALL = torch.full((6,), -1), torch.tensor([2, 2, 0, 1, 0, 1])
ENUMERATED = TraceEnum_ELBO(max_plate_nesting=1, factors={"label": 50.0})


def m2(latent_dim=2, **options):
    options = {"num_classes": 3, "hidden": (8,)} | options
    return SemiSupervisedVAE((1, 4, 4), latent_dim, **options).double()


def through_z(**options):
    """The labels are in p(z | y) alone: a mixture of one component for each class."""
    options = {"encoder_sees_y": False, "decoder_sees_y": False} | options
    return m2(prior=DiagonalNormal(2), **options)


def log_normal(z, loc, scale):
    return torch.distributions.Normal(loc, scale).log_prob(z).sum(-1)


def by_hand(program, x, y, eps, alpha):
    """The objective of the paper, equations 6, 7 and 9, row by row and class by class."""
    zero, total = torch.zeros(()).double(), 0.0
    log_q = log_softmax(program.classifier(x), -1)

    def bound(n, c):
        """-L(x_n, c), at the noise of the guide's draw."""
        one = one_hot(torch.tensor(c), 3).double()
        loc, log_scale = program.encoder(*([x[n], one] if program.encoder_sees_y else [x[n]]))
        z = loc + log_scale.exp() * eps[c, n]
        logits = program.decoder(*([z, one] if program.decoder_sees_y else [z]))
        log_px = -binary_cross_entropy_with_logits(logits, x[n], reduction="sum")
        prior_loc, prior_log_scale = (
            (zero, zero) if program.prior_network is None else program.prior_network(one)
        )
        log_w = log_normal(z, prior_loc, prior_log_scale.exp())
        log_w -= log_normal(z, loc, log_scale.exp())
        return log_px - math.log(3) + log_w

    for n, label in enumerate(y.tolist()):
        if label < 0:
            total += sum(log_q[n, c].exp() * (bound(n, c) - log_q[n, c]) for c in range(3))
        else:
            total += bound(n, label) + alpha * log_q[n, label]
    return -total


@pytest.mark.parametrize("build", [m2, through_z], ids=["z and y", "z alone"])
@pytest.mark.parametrize("training", [True, False], ids=["training", "evaluation"])
@pytest.mark.parametrize(
    "estimator, alpha",
    [
        (TraceEnum_ELBO(max_plate_nesting=1, factors={"label": 3.0}), 3.0),
        (TraceEnum_ELBO(max_plate_nesting=1, factors={"label": 0.0}), 0.0),
        (TraceEnum_ELBO(max_plate_nesting=1), 1.0),
        (pyro.infer.TraceEnum_ELBO(max_plate_nesting=1), 1.0),
    ],
    ids=["3", "0", "1", "Pyro's"],
)
@pytest.mark.parametrize("y", [MIXED, NONE, ALL], ids=["mixed", "unlabelled", "labelled"])
def test_enumeration_gives_the_sum_over_classes_and_its_gradient(
    y, estimator, alpha, training, build
):
    program = build().train(training)
    pyro.set_rng_seed(1)
    loss = estimator.differentiable_loss(program.model, program.guide, X, y)
    pyro.set_rng_seed(1)
    # one draw for each class, or for all where the guide of z does not see the class
    draws = 3 if build is m2 else 1
    eps = torch.normal(torch.zeros(draws, 6, 2).double(), 1.0).expand(3, 6, 2)
    plain = by_hand(program, X, y, eps, alpha)
    torch.testing.assert_close(loss, plain, rtol=1e-10, atol=0)
    parameters = list(program.parameters())
    found, known = (
        torch.autograd.grad(v, parameters, allow_unused=True, materialize_grads=True)
        for v in (loss, plain)
    )
    torch.testing.assert_close(found, known, rtol=1e-8, atol=1e-10)


def test_labelled_rows_alone_are_a_conditional_vae_with_a_uniform_class():
    program = m2().eval()
    twin = ConditionalVAE((1, 4, 4), 2, num_classes=3, hidden=(8,)).double()
    twin.load_state_dict(program.state_dict(), strict=False)
    trace = poutine.trace(program.guide).get_trace(X, ALL)
    z = {"z": trace.nodes["z"]["value"]}
    log_w = [
        poutine.trace(poutine.condition(f, z)).get_trace(X, ALL).log_prob_sum()
        for f in (
            poutine.block(program.model, hide=["label"]),  # which is no part of the density
            program.guide,
            twin.model,
            twin.guide,
        )
    ]
    torch.testing.assert_close(log_w[0], log_w[2] - 6 * math.log(3))
    torch.testing.assert_close(log_w[1], log_w[3])


def test_a_drawn_label_is_the_known_one():
    program = m2()
    for _ in range(20):
        y = encode(program, X, MIXED)["y"].argmax(-1)
        assert torch.equal(y[MIXED >= 0], MIXED[MIXED >= 0])


def test_the_evidence_is_the_sum_over_classes_and_the_integral_over_z():
    """Quadrature over one latent against importance sampling; four standard errors."""
    program = m2(latent_dim=1).eval()
    z = torch.linspace(-8, 8, 2001).double()
    joint = []
    with torch.no_grad():
        for c in range(3):
            logits = program.decoder(z[:, None], one_hot(torch.tensor(c), 3).double())
            log_px = -binary_cross_entropy_with_logits(
                logits[:, None].expand(-1, 6, -1, -1, -1),
                X.expand(2001, -1, -1, -1, -1),
                reduction="none",
            ).sum((-3, -2, -1))
            log_pz = log_normal(z[:, None], torch.zeros(()), torch.ones(()))
            joint.append((log_px + log_pz[:, None]).logsumexp(0) + math.log(16 / 2000 / 3))
    joint = torch.stack(joint)  # log p(x, y), (3, N)
    known = joint.gather(0, MIXED.clamp(min=0)[None])[0]
    exact = torch.where(MIXED >= 0, known, joint.logsumexp(0))
    num_particles = 20_000
    with torch.no_grad():
        w = collect(program.model, program.guide, (X, MIXED), {}, num_particles=2_000).log_w.exp()
    error = (w.std(0) / w.mean(0)).max() / num_particles**0.5
    found = log_likelihood(program, X, num_particles, y=MIXED)
    torch.testing.assert_close(found, exact, rtol=0, atol=4 * error.item())
    assert 4 * error < (exact - known)[MIXED < 0].min()  # which tells the two kinds apart


def test_evaluation_leaves_the_classification_term_out():
    program = m2()
    without = SimpleNamespace(
        model=poutine.block(program.model, hide=["label"]), guide=program.guide
    )
    for judge in (
        lambda p: evaluate(p, X, MIXED).bound,
        lambda p: log_likelihood(p, X, 9, y=MIXED),
    ):
        values = []
        for each in (program, without):
            pyro.set_rng_seed(1)
            values.append(judge(each))
        assert torch.equal(*values)


def test_without_enumeration_the_classification_term_is_weighed_too():
    """Its gradient in the classifier's parameters, which are no others than in the term itself."""
    program, gradients = m2(), []
    for alpha in (0.0, 3.0):
        pyro.set_rng_seed(1)
        loss = Trace_ELBO(factors={"label": alpha})
        loss = loss.differentiable_loss(program.model, program.guide, X, ALL)
        gradients.append(torch.autograd.grad(loss, list(program.classifier.parameters())))
    term = log_softmax(program.classifier(X), -1)[torch.arange(6), ALL].sum()
    known = torch.autograd.grad(-3 * term, list(program.classifier.parameters()))
    found = [more - less for less, more in zip(*gradients, strict=True)]
    torch.testing.assert_close(found, list(known))


def test_the_default_encoder_runs_once_on_each_x():
    program, rows = m2(), []
    of_x = program.encoder.of_each[0]
    of_x.register_forward_hook(lambda _, inputs, __: rows.append(inputs[0].numel()))
    ENUMERATED.loss(program.model, program.guide, X, NONE)
    assert rows == [X.numel()]


def test_each_x_meets_the_networks_once_where_they_do_not_see_the_label():
    program, rows = through_z(), []
    for network in (program.encoder, program.decoder):
        network.register_forward_hook(lambda _, inputs, __: rows.append(inputs[0].numel()))
    ENUMERATED.loss(program.model, program.guide, X, NONE)
    assert rows == [X.numel(), len(X) * 2]


def test_given_networks_are_summed_over_classes_too():
    program = m2(encoder=networks.MLP, decoder=networks.MLP, classifier=networks.GatedMLP)
    check(program, X, ENUMERATED, y=MIXED)


@pytest.mark.parametrize("build", [m2, through_z], ids=["z and y", "z alone"])
def test_it_passes_its_preflight_and_the_gradient_reaches_every_parameter(build):
    program = build()
    report = check(program, X, ENUMERATED, y=MIXED)
    assert [site.name for site in report.sites] == ["y", "z", "x"]
    ENUMERATED.differentiable_loss(program.model, program.guide, X, MIXED).backward()
    assert all(p.grad.isfinite().all() and p.grad.any() for p in program.parameters())


def test_without_enumeration_a_captured_step_is_the_eager_one():
    captured_like_eager(m2(), Trace_ELBO(), batches=[(X, MIXED)])


def test_samples_follow_their_labels_and_draw_those_not_known():
    """A decoder that tells x = 1 for class 1 and x = 0 for the others, in fair numbers."""
    program = m2()
    for parameter in program.decoder.parameters():
        torch.nn.init.zeros_(parameter)
    program.decoder.of_each[1].layers[0].weight.data[:, 1] = 10.0
    program.decoder.rest[1].layers[0].weight.data.fill_(1.0)
    program.decoder.rest[1].layers[0].bias.data.fill_(-40.0)  # 8 softplus(10), or 8 log 2
    y = torch.tensor([1, 0, 2, 1])
    x = sample(program, 4, (1, 4, 4), y=y).mean((1, 2, 3))
    torch.testing.assert_close(x.round(), (y == 1).double())
    x = sample(program, 3000, (1, 4, 4), y=torch.full((3000,), -1)).mean((1, 2, 3))
    # Four standard errors of a share of 1/3 among 3000.
    assert x.mean().item() == pytest.approx(1 / 3, abs=4 * (2 / 9 / 3000) ** 0.5)


def test_it_learns_to_classify_from_a_hundred_labels():
    data = digits(binarize=None, labels=100)
    program = SemiSupervisedVAE(
        data.x_shape, 10, likelihood=data.likelihood(data.x_shape), hidden=(200,)
    )
    fit(program, data.train, loss=ENUMERATED, epochs=20, progress=False)
    probabilities = program.classify(data.test.x)
    torch.testing.assert_close(probabilities.sum(-1), torch.ones(300))
    assert (probabilities.argmax(-1) == data.test.y).float().mean() > 0.8


@pytest.mark.parametrize(
    "part, sentence",
    [
        ({"classifier": networks.MLP((1, 4, 4), (4,))}, r"out_shape is \(4,\).*needs \(3,\)"),
        ({"encoder": networks.MLP((1, 4, 4), (2, 2))}, r"\(1, 4, 4\).*needs \(4, 4, 4\)"),
        ({"num_classes": 0}, "num_classes must be at least 1"),
    ],
)
def test_parts_that_do_not_fit_are_refused(part, sentence):
    with pytest.raises(ValueError, match=sentence):
        m2(**part)


def test_a_label_that_is_no_class_is_refused():
    with pytest.raises(ValueError, match="labels reach from 0 to 3, .* has the classes 0 to 2"):
        m2().model(X, torch.where(MIXED == 2, 3, MIXED))
