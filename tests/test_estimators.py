"""What holds for every estimator, and what each refuses."""

import copy
import math
from dataclasses import fields

import pyro
import pyro.distributions as dist
import pyro.infer
import pytest
import torch
from pyro import poutine
from torch import nn

from pyro_vae.inference import (
    CIWAE,
    DIPVAE_I,
    DIPVAE_II,
    IMQ,
    IWAE,
    MIWAE,
    MMD,
    PIWAE,
    RBF,
    STL,
    SVI,
    VIMCO,
    DReG,
    Estimator,
    LeaveOneOut,
    MovingAverage,
    Renyi,
    ReweightedWakeSleep,
    ScoreFunction,
    TotalCorrelation,
    Trace_ELBO,
    TraceMeanField_ELBO,
    linear,
)
from pyro_vae.models import VAE, LinearGaussian

from .lone_estimators import lone_estimators

ALL = lone_estimators()
ONE_LATENT = (TotalCorrelation, DIPVAE_I, DIPVAE_II)  # which refuse several, as other tests show
X = (torch.rand(6, 1, 8, 8, generator=torch.Generator().manual_seed(0)) > 0.5).float()


def normal(h):
    loc, log_scale = h.chunk(2, -1)
    return dist.Normal(loc, log_scale.exp()).to_event(1)


class TwoLatents(nn.Module):
    """z_2 ~ N(0, I);  z_1 ~ p(z_1 | z_2);  x ~ p(x | z_1), with a guide from x up or from z_2 down.

    A plain module with plain methods; it registers itself, for Pyro's own SVI.
    """

    def __init__(self, *, top_down=False, batch_size=None):
        super().__init__()
        self.batch_size = batch_size
        self.order = ("z_2", "z_1") if top_down else ("z_1", "z_2")
        self.encoder, self.between = nn.Linear(64, 4), nn.Linear(2, 4)
        self.prior, self.decoder = nn.Linear(2, 4), nn.Linear(2, 64)

    def model(self, x):
        pyro.module("two_latents", self)
        with pyro.plate("data", len(x), subsample_size=self.batch_size) as batch:
            z_2 = pyro.sample("z_2", dist.Normal(torch.zeros(2), 1.0).to_event(1))
            z_1 = pyro.sample("z_1", normal(self.prior(z_2)))
            logits = self.decoder(z_1).unflatten(-1, (1, 8, 8))
            pyro.sample("x", dist.Bernoulli(logits=logits).to_event(3), obs=x[batch])

    def guide(self, x):
        pyro.module("two_latents", self)
        with pyro.plate("data", len(x), subsample_size=self.batch_size) as batch:
            z = pyro.sample(self.order[0], normal(self.encoder(x[batch].flatten(1))))
            pyro.sample(self.order[1], normal(self.between(z)))


def program_for(estimator, layers):
    if layers == 1:
        return VAE((1, 8, 8), latent_dim=2, hidden=(8,))
    if estimator in ONE_LATENT:
        pytest.skip("refuses several latents, as another test shows")
    return TwoLatents(top_down=estimator is TraceMeanField_ELBO)


@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("estimator", ALL)
def test_the_loss_is_finite_and_its_gradient_reaches_every_parameter(estimator, layers):
    program = program_for(estimator, layers)
    loss = estimator().differentiable_loss(program.model, program.guide, X)
    gradients = torch.autograd.grad(loss, list(program.parameters()))
    assert loss.shape == () and loss.isfinite()
    assert all(gradient.isfinite().all() and gradient.any() for gradient in gradients)


@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("estimator", ALL)
def test_it_trains_in_pyros_svi_as_in_ours(estimator, layers):
    values = []
    for svi_class in (SVI, pyro.infer.SVI):
        pyro.clear_param_store()
        pyro.set_rng_seed(0)
        program = program_for(estimator, layers)
        before = [parameter.detach().clone() for parameter in program.parameters()]
        loss = estimator(max_plate_nesting=1)
        svi = svi_class(program.model, program.guide, pyro.optim.Adam({"lr": 1e-2}), loss)
        losses = [float(svi.step(X)) for _ in range(3)]
        after = list(program.parameters())
        values.append((*losses, *(parameter.sum().item() for parameter in after)))
        assert not any(torch.equal(a, b) for a, b in zip(before, after, strict=True))
    assert values[0] == pytest.approx(values[1], rel=1e-5, abs=1e-5)


@pytest.mark.parametrize("estimator", ALL)
def test_evaluating_takes_no_gradient_and_agrees_with_training(estimator):
    program = program_for(estimator, 1)
    losses = []
    for method in ("loss", "loss_and_grads"):
        pyro.set_rng_seed(1)
        losses.append(getattr(estimator(), method)(program.model, program.guide, X))
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)


@pytest.mark.parametrize("estimator", ALL)
def test_it_is_a_value(estimator):
    assert estimator() == estimator() and hash(estimator()) == hash(estimator())
    with pytest.raises(AttributeError):
        estimator().num_particles = 3
    for name in ("baseline", "kernel"):
        assert name not in estimator().schedules()


WEIGHTS = [
    (estimator, field.name)
    for estimator in ALL
    for field in fields(estimator)
    if isinstance(field.default, float) and field.name not in ("max_plate_nesting", "insomnia")
]


@pytest.mark.parametrize(("estimator", "weight"), WEIGHTS)
def test_a_weight_may_be_a_schedule(estimator, weight):
    scheduled = estimator(max_plate_nesting=1, **{weight: linear(0.25, 0.5, steps=2)})
    assert getattr(scheduled.at(0), weight) == 0.25 and getattr(scheduled.at(5), weight) == 0.5
    program = program_for(estimator, 1)
    with pytest.raises(ValueError, match="is a schedule, which needs the step"):
        scheduled.loss(program.model, program.guide, X)
    svi = SVI(program.model, program.guide, pyro.optim.Adam({"lr": 0.0}), scheduled)
    svi.step(X)
    pyro.set_rng_seed(0)
    loss = svi.evaluate_loss(X)
    pyro.set_rng_seed(0)
    assert loss == pytest.approx(scheduled.at(1).loss(program.model, program.guide, X), rel=1e-5)


WEIGHTED = [e for e in ALL if issubclass(e, IWAE)]


@pytest.mark.parametrize("chunk_size", [1, 2, 3, 12, 50])
@pytest.mark.parametrize("estimator", WEIGHTED)
def test_chunks_of_particles_make_one_bound(estimator, chunk_size):
    program = LinearGaussian((2, 3), 2).double()
    x = torch.randn(5, 2, 3).double().repeat(36, 1, 1)  # 36 draws of the bound of five data
    program.optimize_guide()
    with torch.no_grad():
        program.D.add_(0.1)
    whole, chunked = estimator(12), estimator(12, chunk_size=chunk_size)
    with torch.no_grad():
        bounds = whole.bound(whole.terms(program.model, program.guide, x).log_w)
        assert chunked.terms(program.model, program.guide, x).log_w.shape == (12, 180)
    error = bounds.view(36, 5).sum(1).std().item() * math.sqrt(2 / 36)
    losses = [each.loss(program.model, program.guide, x) / 36 for each in (chunked, whole)]
    assert abs(losses[0] - losses[1]) < 4 * error


@pytest.mark.parametrize("estimator", [e for e in WEIGHTED if e.needs_weights_alone])
def test_chunks_give_the_gradient_of_all_particles_at_once(estimator):
    """On the same draws: torch draws 16 normal numbers at a time, and a chunk takes 3 x 8 x 2."""
    program = LinearGaussian((2, 3), 2).double()
    x = torch.randn(8, 2, 3).double()
    found = []
    for loss in (estimator(12), estimator(12, chunk_size=3)):
        program.zero_grad()
        pyro.set_rng_seed(0)
        found.append([loss.loss_and_grads(program.model, program.guide, x)])
        found[-1] += [p.grad for p in program.parameters() if p.grad is not None]
    torch.testing.assert_close(*found)


@pytest.mark.parametrize("estimator", [DReG, PIWAE])
def test_who_needs_all_draws_at_once_for_its_gradient_says_so(estimator):
    program = LinearGaussian((3,), 2)
    with pytest.raises(ValueError, match="needs the draws of all particles at once"):
        estimator(8, chunk_size=4).loss_and_grads(program.model, program.guide, torch.randn(4, 3))


def test_chunks_run_eagerly_and_svi_says_so():
    program = LinearGaussian((3,), 2)
    optim = pyro.optim.Adam({"lr": 1e-2})
    with pytest.warns(UserWarning, match="IWAE has a chunk_size"):
        svi = SVI(program.model, program.guide, optim, IWAE(6, chunk_size=3), compile=True)
    assert svi.step(torch.randn(4, 3)).isfinite() and svi.mode == "eager"


def test_chunks_bound_the_memory_of_a_step():
    program = LinearGaussian((200,), 2)
    x = torch.randn(50, 200)

    def kept(loss):
        """What autograd keeps for the gradient: the most bytes at any time."""
        held, most = 0, 0

        class Kept:
            def __init__(self, tensor):
                nonlocal held, most
                self.tensor, self.size = tensor, tensor.nbytes
                held += self.size
                most = max(most, held)

            def __del__(self):
                nonlocal held
                held -= self.size

        with torch.autograd.graph.saved_tensors_hooks(Kept, lambda kept: kept.tensor):
            loss.differentiable_loss(program.model, program.guide, x)
        return most

    assert kept(IWAE(64, chunk_size=4)) < kept(IWAE(64)) / 4


def test_a_chunk_is_what_runs_at_once():
    sizes = []

    class Watched(LinearGaussian):
        def guide(self, x):
            with poutine.trace() as tracer:
                super().guide(x)
            sizes.append(tracer.trace.nodes["z"]["value"].shape)

    program = Watched((3,), 2)
    x = torch.randn(4, 3)
    estimator = IWAE(7, chunk_size=3).prepared(program.model, program.guide, x)
    sizes.clear()
    estimator.loss(program.model, program.guide, x)
    assert sizes == [(3, 4, 2), (3, 4, 2), (4, 2)]


# Plates, masks and scales.


def pair(plate=None, z_plate=True, scale=None, prior=None, names=("z", "z")):
    """A small model and its guide, put together wrongly on request."""
    loc = torch.tensor(0.3, requires_grad=True)
    prior = prior or dist.Normal(0.0, 1.0)

    def program(name, q, x, observe):
        data = pyro.plate("data", len(x)) if plate is None else plate()
        if not z_plate:
            z = pyro.sample(name, q)
        with poutine.scale(scale=scale or 1.0), data:
            if z_plate:
                z = pyro.sample(name, q)
            if observe:
                pyro.sample("x", dist.Normal(z, 1.0), obs=x)

    def posterior():
        return dist.Normal(loc, 1.0) if prior.has_rsample else dist.Bernoulli(logits=loc)

    return (
        lambda x: program(names[0], prior, x, True),
        lambda x: program(names[1], posterior(), x, False),
    )


Y = torch.tensor([0.2, -0.4, 1.0])
PER_DATUM = [e for e in ALL if e not in (Trace_ELBO, TraceMeanField_ELBO, STL)]
NEEDS_RSAMPLE = [e for e in ALL if not e.detaches_draws and e is not Trace_ELBO]


@pytest.mark.parametrize("estimator", PER_DATUM)
def test_latents_outside_the_data_plate_are_refused(estimator):
    with pytest.raises(ValueError, match="'z' stand outside the data plate .* use Trace_ELBO"):
        estimator().loss_and_grads(*pair(z_plate=False), Y)


@pytest.mark.parametrize("estimator", [STL, Trace_ELBO, TraceMeanField_ELBO])
def test_sums_of_bounds_take_latents_outside_the_data_plate(estimator):
    assert math.isfinite(estimator().loss_and_grads(*pair(z_plate=False), Y))


@pytest.mark.parametrize("estimator", PER_DATUM)
def test_a_scale_that_is_not_of_the_data_plate_is_refused(estimator):
    with pytest.raises(ValueError, match="is scaled by 0.5 where the data plate accounts for 1.0"):
        estimator().loss_and_grads(*pair(scale=0.5), Y)


@pytest.mark.parametrize("estimator", [IWAE, DReG, VIMCO])
def test_a_subsampled_plate_that_is_not_vectorized_is_refused(estimator):
    def model(x):
        for i in pyro.plate("data", len(x), subsample_size=2):
            z = pyro.sample(f"z_{i}", dist.Normal(0.0, 1.0))
            pyro.sample(f"x_{i}", dist.Normal(z, 1.0), obs=x[i])

    def guide(x):
        for i in pyro.plate("data", len(x), subsample_size=2):
            pyro.sample(f"z_{i}", dist.Normal(0.0, 1.0))

    with pytest.raises(ValueError, match="subsample the data plate only, vectorized"):
        estimator().loss(model, guide, Y)


@pytest.mark.parametrize("estimator", NEEDS_RSAMPLE)
def test_draws_without_rsample_are_refused_where_the_gradient_needs_them(estimator):
    model, guide = pair(prior=dist.Bernoulli(0.4))
    with pytest.raises(ValueError, match=r"needs reparameterized draws .* \['z'\]"):
        estimator().loss_and_grads(model, guide, Y)


def test_their_bound_can_be_evaluated_all_the_same():
    model, guide = pair(prior=dist.Bernoulli(0.4))
    assert math.isfinite(IWAE(5).loss(model, guide, Y))


@pytest.mark.parametrize("estimator", ALL)
def test_latents_that_do_not_match_are_refused(estimator):
    with pytest.raises(ValueError, match=r"model samples \['z'\] but guide samples \['latent'\]"):
        estimator().loss(*pair(names=("z", "latent")), Y)


@pytest.mark.parametrize("estimator", PER_DATUM)
def test_masked_data_have_a_bound_of_zero(estimator):
    if estimator is MMD:
        pytest.skip("its discrepancy is one number for the batch")
    if issubclass(estimator, TraceMeanField_ELBO):
        pytest.skip("with the analytic KL the value at the posterior is the evidence on average")
    program = LinearGaussian((3,), 2).double()
    program.maximum_likelihood(torch.randn(50, 3).double())
    x, mask = torch.randn(5, 3).double(), torch.tensor([True, False, True, True, False])
    unit = {name: 1.0 for name in ("alpha", "beta", "gamma") if estimator is TotalCorrelation}
    masked = [poutine.mask(function, mask) for function in (program.model, program.guide)]
    loss = estimator(**unit).loss(*masked, x)
    assert loss == pytest.approx(-program.log_evidence(x)[mask].sum().item())


# The sleep phase and MMD's prior draws subsample once more, by themselves.
@pytest.mark.parametrize("estimator", [e for e in ALL if e not in (MMD, *ONE_LATENT)])
def test_a_plate_that_subsamples_by_itself_scales_the_gradient_too(estimator):
    results = []
    for batch_size in (None, 2):
        pyro.set_rng_seed(0)
        program = TwoLatents(top_down=estimator is TraceMeanField_ELBO, batch_size=batch_size)
        pyro.set_rng_seed(0)
        # What the plate does first.
        x = X if batch_size else X[torch.randperm(len(X))[:2]]
        loss = estimator(max_plate_nesting=1).differentiable_loss(program.model, program.guide, x)
        results.append((loss, *torch.autograd.grad(loss, list(program.parameters()))))
        pyro.clear_param_store()
    for plain, subsampled in zip(*results, strict=True):
        torch.testing.assert_close(subsampled, len(X) / 2 * plain, rtol=1e-4, atol=1e-5)


def test_inner_plates_are_summed_to_the_data_plate():
    """A bound of one datum of three pixels, not three bounds of one pixel."""
    x = torch.tensor([[0.2, -0.4, 1.0], [0.0, 0.3, -0.3]])

    def model(x):
        with pyro.plate("data", len(x), dim=-2):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            with pyro.plate("pixels", 3, dim=-1):
                pyro.sample("x", dist.Normal(z, 1.0), obs=x)

    def guide(x):
        with pyro.plate("data", len(x), dim=-2):
            pyro.sample("z", dist.Normal(x.sum(-1, True) / 4, 0.5))

    evidence = dist.MultivariateNormal(torch.zeros(3), torch.eye(3) + 1).log_prob(x).sum().item()
    for estimator in (IWAE(4), DReG(3), STL(), VIMCO(), MMD(2, alpha=0.0, lambda_=1.0)):
        assert estimator.loss(model, guide, x) == pytest.approx(-evidence, rel=1e-5)


def test_particles_of_a_program_with_a_batch_dimension_of_its_own_count_once():
    program = VAE((1, 8, 8), latent_dim=2)
    terms = IWAE(7).terms(program.model, program.guide, X)
    assert terms.log_w.shape == (7, 6) and terms.latents["z"].kl().shape == (7, 6)


# Numbers that cannot be.


@pytest.mark.parametrize("estimator", ALL)
def test_no_particles_are_refused(estimator):
    with pytest.raises(ValueError, match="needs at least one particle, but num_particles is 0"):
        estimator(num_particles=0)


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: Renyi(alpha=1), "at alpha = 1 the bound is the ELBO: use Trace_ELBO"),
        (lambda: Renyi(alpha=linear(0, 1, 5)).at(5), "use Trace_ELBO"),
        (lambda: Renyi(alpha=math.nan), "alpha of Renyi is nan"),
        (lambda: VIMCO(1), "VIMCO needs at least two particles"),
        (lambda: ScoreFunction(1), "with one particle use baseline=MovingAverage()"),
        (lambda: MIWAE(10, groups=4), "must divide its num_particles .* 4 does not divide 10"),
        (lambda: PIWAE(8, groups=0), "the groups of PIWAE must divide"),
        (lambda: CIWAE(beta=1.5), "beta of CIWAE must be from 0 to 1, but is 1.5"),
        (lambda: IWAE(5, chunk_size=0), "chunk_size of IWAE must be at least 1"),
        (lambda: ReweightedWakeSleep(insomnia=2.0), "insomnia .* must be from 0 to 1, but is 2.0"),
        (lambda: MovingAverage(1.0), r"decay of MovingAverage must be in \[0, 1\)"),
        (lambda: TotalCorrelation(num_data=0), "num_data must be at least 1"),
    ],
)
def test_a_number_that_cannot_be_is_refused(make, sentence):
    with pytest.raises(ValueError, match=sentence):
        make()


def test_total_correlation_refuses_several_latents_and_dependent_dimensions():
    two = TwoLatents()
    dependent = LinearGaussian((1, 8, 8), 2, full_covariance=True)
    for program in (two, dependent):
        with pytest.raises(ValueError, match="one latent whose dimensions are independent"):
            TotalCorrelation().loss(program.model, program.guide, X)


def test_mmd_refuses_a_batch_of_one_draw():
    program = VAE((1, 8, 8), latent_dim=2)
    with pytest.raises(ValueError, match="give it two data or more, or num_particles=2"):
        MMD().loss(program.model, program.guide, X[:1])
    assert math.isfinite(MMD(2).loss(program.model, program.guide, X[:1]))


def test_the_sleep_phase_refuses_data_that_are_not_an_argument():
    model, guide = pair()
    with pytest.raises(ValueError, match="must be an argument of the model as it is"):
        ReweightedWakeSleep(insomnia=0.0).loss_and_grads(lambda x: model(2 * x), guide, Y)


@pytest.mark.parametrize("method", ["loss", "loss_and_grads"])
@pytest.mark.parametrize("estimator", ALL)
def test_weights_that_are_not_finite_are_an_error_that_names_the_site(estimator, method):
    program = VAE((1, 8, 8), latent_dim=2)
    with torch.no_grad():
        program.decoder(torch.zeros(2))
        list(program.decoder.parameters())[-1].fill_(math.nan)
    with pyro.validation_enabled(False):
        run = getattr(estimator(), method)
        with pytest.raises(FloatingPointError, match="site 'x' of the model"):
            run(program.model, program.guide, X)


# Parts.


def test_leave_one_out_is_the_mean_of_the_others():
    log_w = torch.tensor([[1.0], [2.0], [6.0]])
    assert LeaveOneOut()(log_w).flatten().tolist() == [4.0, 3.5, 1.5]


def test_vimco_judges_a_draw_by_the_bound_with_the_mean_of_the_others_in_its_place():
    log_w = torch.tensor([1.0, 2.0, 6.0])

    class Score:
        """Terms in which log q has its own gradient."""

        log_q = torch.zeros(3, 1, requires_grad=True)

    Score.log_w = log_w[:, None]
    gradient = torch.autograd.grad(VIMCO(3).objective(Score).sum(), Score.log_q)[0].flatten()
    for k, mean in enumerate((4.0, 3.5, 1.5)):
        replaced = log_w.clone()
        replaced[k] = mean
        advantage = log_w.logsumexp(0) - replaced.logsumexp(0)
        assert gradient[k].item() == pytest.approx(advantage.item(), rel=1e-5)


def test_the_moving_average_is_of_the_past():
    baseline = MovingAverage(0.5)
    values = [baseline(torch.full((1, 3), value)).item() for value in (4.0, 8.0, 0.0)]
    assert values == [0.0, 2.0, 5.0]


@pytest.mark.parametrize("kernel", [RBF(), IMQ(), RBF(0.3), IMQ(2.0)])
def test_a_kernel_is_positive_definite_and_one_at_no_distance(kernel):
    u = torch.randn(12, 3).double()
    gram = kernel(u, u)
    assert torch.allclose(gram.diagonal(), torch.ones(12).double())
    assert torch.linalg.eigvalsh(gram).min() > -1e-9
    assert kernel(u, u[:5]).shape == (12, 5)


def test_the_moving_average_is_saved_and_loaded_with_its_estimator():
    program = VAE((1, 8, 8), latent_dim=2)
    trained, fresh = (ScoreFunction(2, baseline=MovingAverage()) for _ in range(2))
    for _ in range(3):
        trained.loss_and_grads(program.model, program.guide, X)
    fresh.load_state_dict(copy.deepcopy(trained.state_dict()))
    losses = []
    for estimator in (trained, fresh):
        pyro.set_rng_seed(0)
        program.zero_grad()
        estimator.loss_and_grads(program.model, program.guide, X)
        losses.append([p.grad.clone() for p in program.parameters()])
    assert fresh.state_dict() == {"baseline.value": trained.baseline.value} != {}
    for ours, theirs in zip(*losses, strict=True):
        assert torch.equal(ours, theirs)


def test_the_average_of_doubles_is_kept_in_full():
    average = MovingAverage(0.0)
    average(torch.full((2, 3), 1 / 3, dtype=torch.float64))
    assert average(torch.zeros(2, 3, dtype=torch.float64)).item() == 1 / 3


def test_an_estimator_of_numbers_has_nothing_to_save():
    assert IWAE(3).state_dict() == {} and list(IWAE(3).state) == []
    IWAE(3).load_state_dict({})


def test_the_state_of_another_estimator_is_refused():
    state = ScoreFunction(2, baseline=MovingAverage()).state_dict()
    with pytest.raises(ValueError, match=r"holds \['baseline.value'\], but IWAE holds \[\]; load"):
        IWAE(3).load_state_dict(state)


@pytest.mark.parametrize(
    "objective, found",
    [
        (lambda t: t.log_w, r"of shape \(3, 6\)"),
        (lambda t: t.log_w.mean(), r"of shape \(\)"),
        (lambda t: None, "None"),
    ],
    ids=["of each particle", "of all data", "nothing"],
)
def test_an_objective_that_is_not_one_number_for_each_datum_is_refused(objective, found):
    class Mine(Estimator):
        def objective(self, t):
            return objective(t)

    vae = VAE((1, 8, 8), latent_dim=2)
    with pytest.raises(ValueError, match=f"objective of Mine is {found}, but must be one number"):
        Mine(3).loss(vae.model, vae.guide, X)
