"""Masked data pay nothing in the estimators that look at all data of a batch together."""

import math

import pyro
import pyro.distributions as dist
import pyro.infer
import pytest
import torch
from pyro import poutine
from pyro.infer.autoguide import AutoNormal

from pyro_vae import check, inference
from pyro_vae.inference import (
    IWAE,
    MMD,
    Estimator,
    TotalCorrelation,
    Trace_ELBO,
    compare,
    evaluate,
    log_likelihood,
)
from pyro_vae.inference.terms import which_count

X = torch.tensor([[1.0, -0.3], [0.2, 2.0], [-1.5, 0.4], [0.7, 0.6], [8.0, 8.0], [8.0, -8.0]])
X = X.double()
KEEP = torch.tensor([True] * 4 + [False] * 2)


class Program:
    """Two numbers of a latent for each datum, masked by a handler or by the distributions."""

    def __init__(self, mask=True, *, of_sites=False, dim=-1, normal=dist.Normal):
        self.mask, self.of_sites, self.dim, self.normal = mask, of_sites, dim, normal
        self.scale = torch.tensor(0.7, dtype=torch.float64, requires_grad=True)

    def run(self, x, fn, observe):
        mask = self.mask
        if self.dim == -2:
            x = x.unsqueeze(-2)
            mask = mask.unsqueeze(-1) if isinstance(mask, torch.Tensor) else mask

        def masked(fn):
            return fn.to_event(1).mask(mask) if self.of_sites else fn.to_event(1)

        handler = poutine.mask(mask=True if self.of_sites else mask)
        with pyro.plate("data", len(x), dim=self.dim), handler:
            z = pyro.sample("z", masked(fn(x)))
            if observe:
                pyro.sample("x", masked(dist.Normal(z, 1.0)), obs=x)

    def model(self, x):
        self.run(x, lambda x: self.normal(torch.zeros_like(x), 1.0), True)

    def guide(self, x):
        self.run(x, lambda x: self.normal(x / 2, self.scale), False)


def by_hand(x, z, log_px, weights, num_data):
    """The formula of the paper, from its sums over data."""
    pairs = dist.Normal(x / 2, 0.7).log_prob(z.unsqueeze(1))
    log_size = math.log(num_data * len(x))
    log_qzx = dist.Normal(x / 2, 0.7).log_prob(z).sum(-1)
    log_qz = pairs.sum(-1).logsumexp(1) - log_size
    marginals = (pairs.logsumexp(1) - log_size).sum(-1)
    log_pz = dist.Normal(0.0, 1.0).log_prob(z).sum(-1)
    alpha, beta, gamma = weights
    return (
        log_px
        - alpha * (log_qzx - log_qz)
        - beta * (log_qz - marginals)
        - gamma * (marginals - log_pz)
    ).sum()


KINDS = [{}, {"dim": -2}, {"of_sites": True}, {"of_sites": True, "dim": -2}]


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_the_total_correlation_is_that_of_the_data_that_are_not_masked(kind):
    program = Program(KEEP, **kind)
    estimator = TotalCorrelation(alpha=0.5, beta=3.0, gamma=2.0)
    pyro.set_rng_seed(0)
    t = estimator.terms(program.model, program.guide, X)
    z = t.layout.rows(t.traces[1].nodes["z"])[:4]
    log_px = dist.Normal(z, 1.0).log_prob(X[:4]).sum(-1)
    right = by_hand(X[:4], z, log_px, (0.5, 3.0, 2.0), 4)
    pyro.set_rng_seed(0)
    loss = estimator.differentiable_loss(program.model, program.guide, X)
    assert -loss.item() == pytest.approx(right.item(), rel=1e-9)
    assert torch.autograd.grad(loss, program.scale)[0].isfinite()


NOISE = torch.randn(3, 6, 2, generator=torch.Generator().manual_seed(0)).double()


def drawing_noise(dim):
    """Normals whose draws for a datum in a plate at `dim` are the same whatever the others are."""

    class Noisy(dist.Normal):
        def rsample(self, sample_shape=()):
            shape = self._extended_shape(sample_shape)
            size = shape[dim - 1]
            return self.loc + self.scale * NOISE[: shape.numel() // (2 * size), :size].view(shape)

    return Noisy


@pytest.mark.parametrize("estimator", [MMD(lambda_=50.0), MMD(3, alpha=0.3, lambda_=50.0)])
@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_the_discrepancy_is_that_of_the_data_that_are_not_masked(kind, estimator):
    losses = []
    for mask, x in ((KEEP, X), (True, X[:4])):
        program = Program(mask, **kind, normal=drawing_noise(kind.get("dim", -1)))
        losses.append(estimator.loss(program.model, program.guide, x))
    assert losses[0] == pytest.approx(losses[1], rel=1e-9)


@pytest.mark.parametrize("estimator", [TotalCorrelation(num_data=4), MMD()])
def test_masked_data_leave_no_gradient(estimator):
    program = Program(KEEP)
    x = X.clone().requires_grad_()
    loss = estimator.differentiable_loss(program.model, program.guide, x)
    gradient = torch.autograd.grad(loss, x)[0]
    assert gradient.isfinite().all() and gradient[4:].eq(0).all() and gradient[:4].ne(0).any()


@pytest.mark.parametrize("mask", [False, torch.zeros(6, dtype=torch.bool)])
@pytest.mark.parametrize("estimator", [TotalCorrelation(), Trace_ELBO(free_bits=2.0)])
def test_a_batch_that_is_masked_as_a_whole_pays_nothing(estimator, mask):
    program = Program(mask)
    assert estimator.loss(program.model, program.guide, X) == 0


def test_a_discrepancy_of_one_datum_that_is_not_masked_is_refused():
    program = Program(torch.tensor([True] + [False] * 5))
    with pytest.raises(ValueError, match="masked data do not count"):
        MMD().loss(program.model, program.guide, X)


def test_single_masked_numbers_are_refused_by_the_total_correlation():
    def program(x):
        mask = torch.tensor([True, False])
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(torch.zeros_like(x), 1.0).mask(mask).to_event(1))

    with pytest.raises(ValueError, match="one latent whose dimensions are independent"):
        TotalCorrelation().loss(program, program, X)


def test_a_guide_whose_support_moves_is_refused_by_the_total_correlation():
    program = Program()
    box = lambda x: dist.Uniform(x - program.scale, x + program.scale)  # noqa: E731
    with pytest.raises(ValueError, match="where log q.z. jumps"):
        TotalCorrelation().loss_and_grads(
            program.model, lambda x: program.run(x, box, False), X / 100
        )


# Masks that model and guide do not share.


class Unobserved:
    """x ~ N(z, 1) where it is known; an automatic guide draws what is not, and counts it."""

    def __init__(self):
        self.guide = AutoNormal(self.model)
        self.guide(SOME)  # makes its parameters

    def model(self, x):
        known = ~x.isnan()
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(x.new_zeros(()), 1.0))
            pyro.sample("x", dist.Normal(z, 1.0), obs=x.nan_to_num(), obs_mask=known)


SOME = torch.tensor([0.3, torch.nan, -1.0, torch.nan])
NAMES = inference.__all__
PER_DATUM = [
    kind
    for kind in map(inference.__dict__.get, NAMES)
    if isinstance(kind, type)
    and issubclass(kind, Estimator)
    and kind not in (Estimator, TotalCorrelation)
    and not issubclass(kind, Trace_ELBO)
]


@pytest.mark.parametrize("estimator", PER_DATUM)
def test_a_bound_of_each_datum_is_refused_where_the_guide_alone_counts_a_draw(estimator):
    program = Unobserved()
    sentence = f"{estimator.__name__} needs .* latent 'x_unobserved' is masked otherwise in the"
    with pytest.raises(ValueError, match=sentence):
        estimator().loss(program.model, program.guide, SOME)


@pytest.mark.parametrize("judge", [evaluate, lambda p, x: log_likelihood(p, x, 3)])
def test_nothing_is_judged_by_it_either(judge):
    with pytest.raises(ValueError, match="latent 'x_unobserved' is masked otherwise"):
        judge(Unobserved(), SOME)


def test_the_elbo_is_pyros_there_and_check_says_that_it_is_no_bound():
    program = Unobserved()
    losses = []
    for loss in (Trace_ELBO(), pyro.infer.Trace_ELBO()):
        pyro.set_rng_seed(0)
        losses.append(loss.loss(program.model, program.guide, SOME))
        sentence = r"latents \['x_unobserved'\] are masked otherwise .* its value is no bound"
        with pytest.warns(UserWarning, match=sentence):
            check(program, SOME, loss)
    assert losses[0] == pytest.approx(losses[1])


def test_a_comparison_calls_no_value_a_bound_there():
    estimators = [Trace_ELBO(), IWAE()]
    with pytest.warns(UserWarning, match="are masked otherwise .* no value is a bound"):
        found = compare(
            Unobserved(), SOME, estimators, num_particles=(2,), repeats=2, progress=False
        )
    assert not found.rows[0].is_bound and "masked otherwise" in found.rows[1].refusal


def test_a_guide_with_the_same_mask_is_taken():
    program = Unobserved()

    def guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(x.nan_to_num() / 2, 0.7))
            with poutine.mask(mask=x.isnan()):
                pyro.sample("x_unobserved", dist.Normal(torch.zeros(len(x)), 1.0))

    assert IWAE(3).loss(program.model, guide, SOME)


def test_which_numbers_count_is_read_through_every_wrapper():
    mask = torch.tensor([True, False, True])
    base = dist.Normal(torch.zeros(3), 1.0)
    for fn in (base.mask(mask).expand([4, 3]), base.mask(mask).to_event(1).expand([4])):
        site = {"fn": fn, "value": fn.sample(), "mask": None}
        assert torch.equal(which_count(site), mask.expand(4, 3))
        outer = torch.tensor([True, False, True, True])
        site["mask"] = outer[:, None] if fn.event_dim == 0 else outer
        assert torch.equal(which_count(site), mask.expand(4, 3) & outer[:, None])
    assert not which_count({"fn": base, "value": base.sample(), "mask": False}).any()
