"""Each estimator's value and gradient against exact answers: quadrature, enumeration, algebra."""

import math
from collections import defaultdict
from dataclasses import replace

import pyro
import pyro.infer
import pytest
import torch

from pyro_vae.inference import (
    CIWAE,
    IWAE,
    MIWAE,
    MMD,
    PIWAE,
    RBF,
    STL,
    VIMCO,
    DReG,
    MovingAverage,
    Renyi,
    ReweightedWakeSleep,
    ScoreFunction,
    TotalCorrelation,
    Trace_ELBO,
    TraceMeanField_ELBO,
)
from pyro_vae.models import LinearGaussian

from .oracles import Discrete, OneLayer, TwoLayers, exact, exact_inclusive, exact_wake

DRAWS = 100_000
# With 4 standard errors one in 16 000 right comparisons fails; the seeds are fixed.
ERRORS = 4


def elbo(log_w):
    return log_w.mean(0)


def iwae(log_w):
    return log_w.logsumexp(0) - math.log(len(log_w))


def renyi(alpha):
    return lambda log_w: iwae((1 - alpha) * log_w) / (1 - alpha)


def in_groups(bound, groups):
    return lambda log_w: sum(bound(part) for part in log_w.chunk(groups)) / groups


def mixed(beta):
    return lambda log_w: beta * elbo(log_w) + (1 - beta) * iwae(log_w)


def draw(oracle_class, estimator, steps=1):
    """The bound's mean, and independent draws of its gradient for each parameter."""
    torch.manual_seed(0)
    oracle = oracle_class(DRAWS)
    estimator = replace(estimator, max_plate_nesting=1)
    for _ in range(steps):
        loss = estimator.differentiable_loss(oracle.model, oracle.guide, oracle.x)
    return -loss.item() / DRAWS, oracle.gradients(-loss)


def assert_gradient(draws, expected, parameters):
    for name in parameters:
        error = draws[name].std() / math.sqrt(DRAWS)
        assert (draws[name].mean() - expected[name]).abs() < ERRORS * error + 1e-9, name


# The estimator, the bound of the model's gradient, that of the guide's, and their K.
REPARAMETERIZED = [
    (Trace_ELBO(), elbo, elbo, 1),
    (Trace_ELBO(2, vectorize_particles=True), elbo, elbo, 1),
    (TraceMeanField_ELBO(), elbo, elbo, 1),
    (STL(), elbo, elbo, 1),
    (STL(2, vectorize_particles=True), elbo, elbo, 1),
    (IWAE(2), iwae, iwae, 2),
    (DReG(1), elbo, elbo, 1),
    (DReG(2), iwae, iwae, 2),
    (MIWAE(4, groups=2), iwae, iwae, 2),
    (PIWAE(2, groups=2), iwae, elbo, 2),
    (CIWAE(2, beta=0.3), mixed(0.3), mixed(0.3), 2),
    (Renyi(2, alpha=0.5), renyi(0.5), renyi(0.5), 2),
    (Renyi(2, alpha=-1.0), renyi(-1.0), renyi(-1.0), 2),
    (Renyi(2, alpha=2.0), renyi(2.0), renyi(2.0), 2),
]
ANY_DRAWS = [
    (ScoreFunction(2), elbo, elbo, 1),
    (ScoreFunction(1, baseline=None), elbo, elbo, 1),
    (VIMCO(2), iwae, iwae, 2),
]


def name(value):
    return repr(value) if hasattr(value, "at") else getattr(value, "__name__", None)


@pytest.mark.parametrize(
    ("oracle", "estimator", "model_bound", "guide_bound", "num_particles"),
    [
        *((TwoLayers, *case) for case in REPARAMETERIZED + ANY_DRAWS),
        (OneLayer, PIWAE(4, groups=2), iwae, in_groups(iwae, 2), 4),
        (OneLayer, MIWAE(4, groups=2), in_groups(iwae, 2), in_groups(iwae, 2), 4),
        *((Discrete, *case) for case in ANY_DRAWS),
        (Discrete, Trace_ELBO(), elbo, elbo, 1),
        (Discrete, VIMCO(4), iwae, iwae, 4),
    ],
    ids=name,
)
def test_the_gradient_is_that_of_the_bound(
    oracle, estimator, model_bound, guide_bound, num_particles
):
    value, gradients = draw(oracle, estimator)
    point = oracle()
    at_model, at_guide = (
        exact(point, bound, num_particles) for bound in (model_bound, guide_bound)
    )
    assert_gradient(gradients, point.gradients(at_model), point.theta)
    assert_gradient(gradients, point.gradients(at_guide), point.phi)
    # The value is the bound of the model; its standard deviation is under 3 nats here.
    assert value == pytest.approx(at_model.item(), abs=ERRORS * 3 / math.sqrt(DRAWS))


@pytest.mark.parametrize("oracle", [TwoLayers, Discrete])
def test_the_moving_average_leaves_the_gradient_unbiased(oracle):
    _, gradients = draw(oracle, ScoreFunction(1, baseline=MovingAverage()), steps=3)
    point = oracle()
    assert_gradient(gradients, point.gradients(exact(point, elbo, 1)), gradients)


@pytest.mark.parametrize("oracle", [TwoLayers, Discrete])
def test_a_baseline_lowers_the_variance_of_the_score_function(oracle):
    def variance(estimator):
        point = oracle(5000)
        torch.manual_seed(0)
        for _ in range(10):
            loss = estimator.differentiable_loss(point.model, point.guide, point.x)
        gradients = point.gradients(-loss)
        return sum(gradients[name].var() for name in point.phi)

    plain = variance(ScoreFunction(1, baseline=None))
    assert variance(ScoreFunction(1, baseline=MovingAverage(0.5))) < plain
    assert variance(ScoreFunction(2)) < plain / 2


@pytest.mark.parametrize("oracle", [TwoLayers, Discrete])
@pytest.mark.parametrize("num_particles", [1, 2])
def test_the_wake_phase_has_iwaes_model_gradient_and_its_known_guide_gradient(
    oracle, num_particles
):
    _, gradients = draw(oracle, ReweightedWakeSleep(num_particles))
    point = oracle()
    bound = exact(point, iwae, num_particles)
    assert_gradient(gradients, point.gradients(bound), point.theta)
    wake = exact_wake(point, num_particles)
    assert_gradient(gradients, point.gradients(wake), point.phi)


def test_the_bias_of_the_wake_phase_falls_with_the_particles():
    biases = []
    for num_particles in (1, 2, 4):
        point = Discrete()
        after = point.gradients(exact_inclusive(point))
        does = point.gradients(exact_wake(point, num_particles))
        biases.append(sum((does[n] - after[n]) ** 2 for n in point.phi).sqrt().item())
    size = sum(after[n] ** 2 for n in point.phi).sqrt().item()
    # At K = 1 the gradient is that of E_q[log q(z)] at fixed z, zero: all of it is bias.
    assert biases[0] == pytest.approx(size, rel=1e-9)
    # The sizes that the docstring names.
    assert biases[1:] == pytest.approx([0.53 * size, 0.23 * size], abs=0.005 * size)


def test_the_sleep_phase_has_the_exact_guide_gradient():
    _, gradients = draw(OneLayer, ReweightedWakeSleep(insomnia=0.0))
    point = OneLayer()
    # E_p(z)[log N(z; c, s)] with z ~ N(mu, 1): the guide of this oracle does not look at x.
    scale = point.log_s.exp()
    expected = -(1 + (point.mu.detach() - point.c) ** 2) / (2 * scale**2) - point.log_s
    assert_gradient(gradients, point.gradients(expected), point.phi)
    bound = exact(point, iwae, 2)
    _, gradients = draw(OneLayer, ReweightedWakeSleep(2, insomnia=0.5))
    assert_gradient(gradients, point.gradients(bound), point.theta)
    both = 0.5 * expected + 0.5 * exact_wake(point, 2)
    assert_gradient(gradients, point.gradients(both), point.phi)


def test_the_exact_bounds_are_exact():
    """A check of the yardstick: finer grids, and the evidence, agree with it."""
    coarse, fine = TwoLayers(), TwoLayers()
    fine.nodes = 24
    assert exact(coarse, iwae, 2).item() == pytest.approx(exact(fine, iwae, 2).item(), abs=1e-5)
    for oracle in (OneLayer(), TwoLayers(), Discrete()):
        evidence = exact(oracle, torch.exp, 1).log()
        assert evidence.item() == pytest.approx(oracle.log_evidence().item(), abs=1e-6)


def test_pyros_renyi_elbo_leaves_the_guide_of_discrete_latents_alone():
    """Why VIMCO is here: the guide's gradient is 0 where the exact one is not."""
    oracle, point = Discrete(1000), Discrete()

    def model(x):
        pyro.param("one for Pyro to find", torch.zeros(()))
        oracle.model(x)

    estimator = pyro.infer.RenyiELBO(0, 2, vectorize_particles=True, max_plate_nesting=1)
    estimator.loss_and_grads(model, oracle.guide, oracle.x)
    pyro.clear_param_store()
    gradients = point.gradients(exact(point, iwae, 2))
    for name in point.phi:
        assert oracle.parameters[name].grad.eq(0).all()
        assert gradients[name].abs() > 0.1


# Values.

BOUNDS = [
    Trace_ELBO(),
    TraceMeanField_ELBO(),
    STL(),
    IWAE(5),
    DReG(5),
    MIWAE(6, groups=3),
    PIWAE(6, groups=3),
    CIWAE(5),
    Renyi(5, alpha=0.5),
    Renyi(5, alpha=2.0),
    ScoreFunction(3),
    VIMCO(5),
    ReweightedWakeSleep(5),
    TotalCorrelation(alpha=1.0, beta=1.0, gamma=1.0),
    MMD(alpha=0.0, lambda_=1.0),
]
ABOVE = [Renyi(5, alpha=-math.inf), Renyi(5, alpha=-1.0), Renyi(5, alpha=math.inf)]


def linear_gaussian(**kwargs):
    torch.manual_seed(1)
    return LinearGaussian((2, 3), 2, **kwargs).double(), torch.randn(40, 2, 3).double()


# With the analytic KL the value at the posterior is the evidence in the mean alone.
DRAWN = [bound for bound in BOUNDS if not isinstance(bound, TraceMeanField_ELBO)]


@pytest.mark.parametrize("estimator", DRAWN + ABOVE, ids=repr)
def test_the_value_at_the_posterior_is_the_evidence(estimator):
    program, x = linear_gaussian()
    program.maximum_likelihood(x)
    loss = estimator.loss(program.model, program.guide, x)
    assert loss == pytest.approx(-program.log_evidence(x).sum().item(), abs=1e-9)


@pytest.mark.parametrize("estimator", [b for b in BOUNDS if b.detaches_draws] + [IWAE(5)], ids=repr)
def test_the_value_at_the_posterior_of_discrete_latents_is_the_evidence(estimator):
    oracle = Discrete()
    oracle.go_to_posterior()
    x = torch.full((20,), oracle.x.item(), dtype=torch.float64)
    loss = estimator.loss(oracle.model, oracle.guide, x)
    assert loss == pytest.approx(-20 * oracle.log_evidence().item(), abs=1e-9)


@pytest.mark.parametrize("estimator", BOUNDS, ids=repr)
def test_the_value_elsewhere_does_not_exceed_the_evidence(estimator):
    program, x = linear_gaussian()
    evidence = program.log_evidence(x).sum().item()
    torch.manual_seed(0)
    losses = torch.tensor(
        [estimator.loss(program.model, program.guide, x) for _ in range(50)], dtype=torch.float64
    )
    error = losses.std().item() / math.sqrt(len(losses))
    assert -losses.mean().item() < evidence + ERRORS * error


@pytest.mark.parametrize("estimator", [IWAE, DReG, PIWAE, VIMCO, ReweightedWakeSleep, Renyi])
def test_the_bound_tightens_with_the_particles(estimator):
    oracle = TwoLayers(20_000)
    torch.manual_seed(0)
    values = []
    for num_particles in (4, 16, 64):
        loss = estimator(num_particles).loss(oracle.model, oracle.guide, oracle.x)
        values.append(-loss / len(oracle.x))
    # Steps of more than 4 standard errors: these deviate by less than 0.5 nats a datum.
    assert values[1] - values[0] > ERRORS * 0.5 / math.sqrt(20_000)
    assert values[2] > values[1]
    if estimator is not Renyi:
        assert values[2] < oracle.log_evidence()[0] + ERRORS * 0.5 / math.sqrt(20_000)


def test_the_renyi_bound_falls_with_alpha_between_the_extreme_weights():
    oracle = OneLayer(50)
    values = []
    for alpha in (-math.inf, -3.0, 0.0, 0.5, 0.999, 1.001, 4.0, math.inf):
        torch.manual_seed(0)
        values.append(-Renyi(6, alpha=alpha).loss(oracle.model, oracle.guide, oracle.x))
    assert values == sorted(values, reverse=True)
    torch.manual_seed(0)
    log_w = IWAE(6).terms(oracle.model, oracle.guide, oracle.x).log_w
    assert values[0] == pytest.approx(log_w.amax(0).sum().item())
    assert values[4] == pytest.approx(log_w.mean(0).sum().item(), rel=1e-2)


MINIBATCHED = [*BOUNDS, *ABOVE, MMD(), TotalCorrelation(num_data=40)]


class Minibatch:
    """A program with its data plate subsampled at given data."""

    def __init__(self, program, x, subset):
        self.program, self.x, self.subset = program, x, subset

    def _subsampled(self, function):
        plate = pyro.plate

        def replaced(name, size):
            return plate(name, len(self.x), subsample=self.subset)

        def subsampled(_):
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(pyro, "plate", replaced)
                return function(self.x[self.subset])

        return subsampled

    def model(self, x):
        return self._subsampled(self.program.model)(x)

    def guide(self, x):
        return self._subsampled(self.program.guide)(x)


@pytest.mark.parametrize("estimator", MINIBATCHED, ids=repr)
def test_subsampling_the_data_plate_scales_the_sum_and_nothing_else(estimator):
    program, x = linear_gaussian()
    subset = torch.tensor([3, 8, 9, 17, 30])
    minibatch = Minibatch(program, x, subset)
    estimator = replace(estimator, max_plate_nesting=1)
    losses = []
    for pair, data in ((program, x[subset]), (minibatch, x)):
        torch.manual_seed(0)
        losses.append(estimator.loss(pair.model, pair.guide, data))
    assert losses[1] == pytest.approx(len(x) / len(subset) * losses[0], rel=1e-9)


# Sticking the landing.

LANDING = [STL(), STL(3, vectorize_particles=True), DReG(1), DReG(7)]


@pytest.mark.parametrize("estimator", LANDING, ids=repr)
def test_the_guides_gradient_at_the_posterior_is_zero_without_noise(estimator):
    program, x = linear_gaussian(full_covariance=True)
    program.optimize_guide()
    for _ in range(3):
        loss = estimator.differentiable_loss(program.model, program.guide, x)
        for gradient in torch.autograd.grad(loss, [program.V, program.D]):
            assert gradient.abs().max() < 1e-6


@pytest.mark.parametrize("estimator", LANDING, ids=repr)
def test_so_it_is_for_a_guide_of_two_layers(estimator):
    oracle = TwoLayers(1000)
    with torch.no_grad():
        # z_1 | x, and z_2 | z_1, x: with variance v of x given z_1, and noise v_x of x given z_2.
        v_x = (2 * oracle.log_sigma).exp()
        v = v_x + 0.8**2
        precision = 1 + oracle.w**2 / v
        oracle.c_1.copy_((oracle.mu + oracle.w * oracle.x / v) / precision)
        oracle.log_s_1.copy_(-precision.log() / 2)
        gain = 0.8**2 / v
        oracle.a.copy_(oracle.w * (1 - gain))
        oracle.c_2.copy_(gain * oracle.x)
        oracle.log_s_2.copy_((0.8**2 * (1 - gain)).log() / 2)
    loss = estimator.differentiable_loss(oracle.model, oracle.guide, oracle.x)
    assert loss.item() == pytest.approx(-oracle.log_evidence().sum().item())
    gradients = oracle.gradients(-loss)
    assert all(gradients[name].abs().max() < 1e-6 for name in oracle.phi)


# Signal to noise.


class NearOptimum(OneLayer):
    """The guide 0.05 away from the posterior N(0.54, 0.72^2), as in Rainforth et al., 2018."""

    theta = {"mu": -0.5, "w": 0.8, "log_sigma": -0.2}
    phi = {"c": 0.59, "log_s": -0.285}


PARTICLES = [4**i for i in range(6)]  # 1 ... 1024


def gradients_near_optimum(estimator, num_particles):
    oracle = NearOptimum(max(400_000 // num_particles, 1500))
    estimator = replace(estimator, num_particles=num_particles, max_plate_nesting=1)
    loss = estimator.differentiable_loss(oracle.model, oracle.guide, oracle.x)
    return oracle.gradients(-loss)


def slope(values):
    x, y = torch.tensor(PARTICLES).double().log(), torch.tensor(values).double().log()
    return ((x - x.mean()) * (y - y.mean())).sum() / ((x - x.mean()) ** 2).sum()


def test_signal_to_noise_against_particles_has_the_slopes_of_the_literature():
    torch.manual_seed(0)
    ratios = defaultdict(list)
    for num_particles in PARTICLES:
        dreg = gradients_near_optimum(DReG(), num_particles)
        iwae = gradients_near_optimum(IWAE(), num_particles)
        for name, gradients in dreg.items():
            # Both have one expectation, of which DReG's has less noise.
            signal = gradients.mean().abs()
            ratios["DReG", name].append(signal / gradients.std())
            ratios["IWAE", name].append(signal / iwae[name].std())
    slopes = {case: slope(values).item() for case, values in ratios.items()}
    guide = {("IWAE", name): -0.5 for name in NearOptimum.phi}
    assert slopes == pytest.approx({case: guide.get(case, 0.5) for case in slopes}, abs=0.1)


# Averages over the data.


@pytest.mark.parametrize(
    "estimator",
    [TotalCorrelation(alpha=1.0, beta=1.0, gamma=1.0), MMD(alpha=0.0, lambda_=1.0)],
    ids=["TotalCorrelation", "MMD without its discrepancy"],
)
def test_it_is_the_drawn_elbo_where_its_weights_are(estimator):
    program, x = linear_gaussian()
    results = []
    for each in (estimator, Trace_ELBO()):
        torch.manual_seed(0)
        loss = each.differentiable_loss(program.model, program.guide, x)
        results.append((loss, *torch.autograd.grad(loss, list(program.parameters()))))
    for ours, elbos in zip(*results, strict=True):
        torch.testing.assert_close(ours, elbos)


def test_total_correlation_is_zero_where_the_average_guide_factorizes():
    """A guide that does not look at x: no information, no total correlation, but for log N."""
    program, x = linear_gaussian()
    with torch.no_grad():
        program.V.zero_()
    values = []
    for weights in ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0)):
        torch.manual_seed(0)
        alpha, beta, gamma = weights
        estimator = TotalCorrelation(alpha=alpha, beta=beta, gamma=gamma, num_data=1000)
        loss = estimator.loss(program.model, program.guide, x)
        torch.manual_seed(0)
        reconstruction = MMD(alpha=1.0, lambda_=0.0).loss(program.model, program.guide, x)
        values.append((loss - reconstruction) / len(x))
    # Each log q(z) is low by log N, and so is the log of each of the two marginals.
    expected = [math.log(1000), math.log(1000), -2 * math.log(1000)]
    torch.manual_seed(0)
    rate = Trace_ELBO().loss(program.model, program.guide, x) / len(x)
    torch.manual_seed(0)
    rate -= MMD(alpha=1.0, lambda_=0.0).loss(program.model, program.guide, x) / len(x)
    assert values == pytest.approx([expected[0], expected[1], expected[2] + rate], abs=1e-9)


@pytest.mark.parametrize("num_particles", [1, 3])
def test_mmd_compares_draws_of_two_data(num_particles):
    """Points at 1 and -1 and a prior at 0: under k(u, v) = uv the one pair of data has -1."""
    x = torch.tensor([[1.0], [-1.0]], dtype=torch.float64)

    def model(x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", pyro.distributions.Normal(0 * x[0], 1e-9).to_event(1))
            pyro.sample("x", pyro.distributions.Normal(x, 1.0).to_event(1), obs=x)

    def guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", pyro.distributions.Normal(x, 1e-9).to_event(1))

    estimator = MMD(num_particles, lambda_=1.0, kernel=lambda u, v: u @ v.mT)
    distortion = math.log(2 * math.pi) / 2
    loss = estimator.loss(model, guide, x) / len(x)
    assert loss - distortion == pytest.approx(-1, abs=1e-6)


def test_mmd_has_the_exact_discrepancy_of_two_normals_and_its_gradient():
    oracle, size = OneLayer(300), 0.9
    losses, gradients = [], []
    for seed in range(40):
        with_and_without = []
        for lambda_ in (2.0, 1.0):
            torch.manual_seed(seed)
            estimator = MMD(alpha=0.0, lambda_=lambda_, kernel=RBF(size))
            loss = estimator.differentiable_loss(oracle.model, oracle.guide, oracle.x)
            with_and_without.append(loss / len(oracle.x))
        discrepancy = with_and_without[0] - with_and_without[1]
        losses.append(discrepancy.detach())
        gradients.append(oracle.gradients(discrepancy)["c"].sum())

    def kernel(gap, variance):
        """E[k(u, v)] where u - v ~ N(gap, variance)."""
        total = size**2 + variance
        return size / total**0.5 * torch.exp(-(gap**2) / (2 * total))

    point = OneLayer()
    gap, variance = point.c - point.mu.detach(), (2 * point.log_s.detach()).exp()
    expected = kernel(0 * gap, 2 * variance) + kernel(0 * gap, 2) - 2 * kernel(gap, 1 + variance)
    for draws, value in ((losses, expected), (gradients, point.gradients(expected)["c"])):
        draws = torch.stack(draws)
        error = draws.std() / math.sqrt(len(draws))
        assert (draws.mean() - value).abs() < ERRORS * error
        assert error < 0.01
