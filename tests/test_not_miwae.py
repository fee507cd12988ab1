"""NotMIWAE against MIWAE, and against quadrature where x is one number."""

import math
from functools import partial

import pyro
import pytest
import torch
from pyro import poutine

from pyro_vae.inference import (
    IWAE,
    STL,
    VIMCO,
    DReG,
    Trace_ELBO,
    evaluate,
    impute,
    log_likelihood,
    sample,
)
from pyro_vae.likelihoods import Mixed, Nominal, Normal
from pyro_vae.models import VAE, NotMIWAE
from pyro_vae.networks import MLP, SelfMasking, ZeroImputed

NAN = torch.nan
X = torch.tensor([[0.3, NAN, 1.0], [NAN, 0.2, NAN], [1.0, -1.0, 0.5], [NAN, NAN, NAN]]).double()


def test_of_a_constant_mask_the_bound_is_miwaes_and_the_density_of_the_mask():
    """z is drawn before x_unobserved, so that both programs draw the same."""
    program = NotMIWAE((3,), 2, mask_network=partial(MLP, hidden=())).double()
    (linear,) = program.mask_network.layers
    with torch.no_grad():
        linear.weight.zero_()
        linear.bias.copy_(torch.tensor([0.5, -1.0, 2.0]))
    parts = {name: getattr(program, name) for name in ("encoder", "decoder", "likelihood")}
    vae = VAE((3,), 2, **parts).double()
    mask = torch.distributions.Bernoulli(logits=linear.bias)
    expected = mask.log_prob((~X.isnan()).double()).sum()
    losses = []
    for each in (program, vae):
        pyro.set_rng_seed(0)
        losses.append(IWAE(7).loss(each.model, each.guide, X))
    assert losses[1] - losses[0] == pytest.approx(expected.item(), rel=1e-9)


class OneNumber:
    """z ~ N(0, 1), x | z ~ N(a z + b, sigma^2), missing by sigmoid(w (x - c)); a quadrature."""

    def __init__(self):
        mask = partial(SelfMasking, direction=1)
        likelihood = Mixed((1,), columns=[Normal((1,), initial_scale=0.6)])
        self.program = NotMIWAE(
            (1,), 1, mask_network=mask, likelihood=likelihood, hidden=(), encoder=ZeroImputed
        ).double()
        (decoder,) = self.program.decoder.layers
        self.a, self.b = decoder.weight, decoder.bias
        self.log_scale = likelihood.columns[0].log_scale
        with torch.no_grad():
            self.a.fill_(0.9)
            self.b.fill_(0.4)
            self.program.mask_network.weight.fill_(1.5)
            self.program.mask_network.bias.fill_(0.2)

    def missing(self):
        """A grid, and log p(x, mask = 0) on it."""
        x = torch.linspace(-15, 15, 30_001).double()
        scale = (self.a**2 + (2 * self.log_scale).exp()).sqrt().squeeze()
        log_p = torch.distributions.Normal(self.b.squeeze(), scale).log_prob(x)
        logits = self.program.mask_network(x[:, None])[:, 0]
        return x, log_p + torch.nn.functional.logsigmoid(-logits)

    def log_evidence(self):
        """Log p(mask = 0)."""
        x, log_p = self.missing()
        return torch.trapezoid(log_p.exp(), x).log()


def test_the_evidence_of_a_missing_number_is_the_integral():
    one = OneNumber()
    x = torch.full((50, 1), NAN).double()
    found = log_likelihood(one.program, x, 4000)
    assert abs(found.mean() - one.log_evidence()) < 4 * found.std() / math.sqrt(50) + 1e-3


def test_the_imputation_of_a_missing_number_is_the_mean_and_variance_by_quadrature():
    one = OneNumber()
    x, log_p = one.missing()
    weight = log_p.exp() / torch.trapezoid(log_p.exp(), x)
    mean = torch.trapezoid(weight * x, x)
    variance = torch.trapezoid(weight * (x - mean) ** 2, x)
    found = impute(
        one.program, torch.full((400, 1), NAN).double(), num_particles=500, num_imputations=5
    )
    error = (variance / found.effective_sample_size.sum()).sqrt()
    assert abs(found.x.mean() - mean) < 4 * error and error < 0.01
    draws = found.draws.flatten()
    assert abs(draws.var() - variance) < 4 * math.sqrt(2 / len(draws)) * variance
    assert mean > one.b.item() + 0.2  # what is missing is large


def gradients(estimator, program, x, parameters, groups=15):
    """The mean gradient of the bound of a datum over groups of data, and its standard error."""
    found, estimator = [], estimator.prepared(program.model, program.guide, x)
    for _ in range(groups):
        loss = estimator.differentiable_loss(program.model, program.guide, x) / len(x)
        each = torch.autograd.grad(loss, parameters)
        found.append(torch.cat([g.flatten() for g in each]))
    found = torch.stack(found)
    return found.mean(0), found.std(0) / math.sqrt(groups)


@pytest.mark.parametrize("estimator, plain", [(STL(), Trace_ELBO()), (DReG(3), IWAE(3))])
def test_estimators_without_the_score_have_the_same_mean_gradient(estimator, plain):
    """Though the decoder is a part of the guide."""
    one = OneNumber()
    x = torch.full((2000, 1), NAN).double()
    parameters = [one.a, one.b, one.log_scale, *one.program.mask_network.parameters()]
    parameters += [*one.program.encoder.parameters()][-1:]
    mean, error = gradients(estimator, one.program, x, parameters)
    other, other_error = gradients(plain, one.program, x, parameters)
    assert ((mean - other).abs() < 5 * (error**2 + other_error**2).sqrt() + 1e-9).all()


def test_the_gradient_of_many_particles_is_that_of_the_integral():
    one = OneNumber()
    parameters = [one.a, one.b, one.log_scale, *one.program.mask_network.parameters()]
    expected = torch.autograd.grad(-one.log_evidence(), parameters)
    expected = torch.cat([g.flatten() for g in expected])
    x = torch.full((20, 1), NAN).double()
    mean, error = gradients(IWAE(300), one.program, x, parameters)
    assert ((mean - expected).abs() < 4 * error + 3e-3).all()  # the bias is of order 1 / 300


def test_what_is_missing_has_no_rate():
    found = evaluate(NotMIWAE((3,), 2), X.float())
    assert found.rates["x_unobserved"].eq(0).all() and found.rates["z"].gt(0).any()


def test_only_what_is_missing_is_drawn_into_the_density():
    program = NotMIWAE((3,), 2).double()
    trace = poutine.trace(program.guide).get_trace(X)
    trace.compute_log_prob()
    site = trace.nodes["x_unobserved"]
    entries = program.likelihood(program.decoder(trace.nodes["z"]["value"])).base_dist
    expected = entries.log_prob(site["value"]).where(X.isnan(), 0).sum(-1)
    torch.testing.assert_close(site["log_prob"], expected)


@pytest.mark.parametrize("direction", [1, -1])
def test_a_known_direction_has_a_sign_whatever_the_parameter(direction):
    net = SelfMasking((2,), (2,), direction=direction)
    with torch.no_grad():
        net.weight.copy_(torch.tensor([-3.0, 3.0]))
    logits = net(torch.tensor([[0.0, 0.0], [1.0, 1.0]]))
    assert (direction * (logits[1] - logits[0]) < 0).all()


def test_classes_need_an_estimator_without_reparameterized_draws():
    program = NotMIWAE((2,), 1, likelihood=Mixed((2,), columns=[Nominal((2,), num_classes=3)]))
    x = torch.tensor([[1.0, NAN], [NAN, 2.0]])
    with pytest.raises(ValueError, match=r"needs reparameterized draws.*'x_unobserved'.*VIMCO"):
        IWAE(3).differentiable_loss(program.model, program.guide, x)
    assert VIMCO(3).differentiable_loss(program.model, program.guide, x).isfinite()
    assert set(impute(program, x).x.flatten().tolist()) <= {0, 1, 2}


def test_a_likelihood_that_leaves_nothing_out_is_put_into_mixed():
    program = NotMIWAE((3,), 2, likelihood=Normal((3,), scale=0.1))
    assert isinstance(program.likelihood, Mixed)
    assert impute(program, X.float()).x.isfinite().all()


def test_data_are_drawn_without_holes():
    drawn = sample(NotMIWAE((1, 4, 4), 2), 5, (1, 4, 4), mean=False)
    assert drawn.shape == (5, 1, 4, 4) and drawn.isfinite().all()


def test_other_parts_are_refused():
    with pytest.raises(ValueError, match="direction must be 1, if large values go missing"):
        SelfMasking((2,), (2,), direction=0)
    with pytest.raises(ValueError, match="maps each entry to its own logit"):
        SelfMasking((2,), (3,))
    with pytest.raises(ValueError, match=r"mask_network's out_shape is \(2,\)"):
        NotMIWAE((3,), 2, mask_network=MLP((3,), (2,)))
