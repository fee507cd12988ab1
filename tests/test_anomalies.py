"""Scores of strangeness against closed forms, and the ROC curve against counting by hand."""

import math
import zlib

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from sklearn.metrics import average_precision_score, roc_auc_score
from torch.distributions import kl_divergence

from pyro_vae.datasets import Split
from pyro_vae.inference import (
    anomaly_scores,
    evaluate,
    likelihood_regret,
    log_likelihood,
    roc,
    typicality,
)
from pyro_vae.inference.applications import KINDS
from pyro_vae.likelihoods import ContinuousBernoulli
from pyro_vae.models import (
    VAE,
    BayesianVAE,
    ConditionalVAE,
    GaussianMixtureVAE,
    HierarchicalVAE,
    LinearGaussian,
)
from pyro_vae.posteriors import FullNormal, InverseAutoregressiveFlow

SMALL = {"latent_dim": 2, "hidden": (8,)}
X = torch.rand(6, 1, 8, 8, generator=torch.Generator().manual_seed(0)).round()


def linear(*, exact, full_covariance=True):
    """A linear program in double precision, its guide at the posterior or beside it."""
    program = LinearGaussian((5,), 2, full_covariance=full_covariance).double()
    x = 2 * torch.randn(20, 5, dtype=torch.float64)
    if not full_covariance:
        program.maximum_likelihood(x)  # whose posterior is diagonal
    program.optimize_guide()
    if not exact:
        with torch.no_grad():
            program.V.mul_(0.7)
            program.D.add_(0.3)
    return program.requires_grad_(False), x


def kl_of_guide(program, x):
    """KL(q(z | x) || p(z | x)), the gap that a posterior of each datum's own can close."""
    q = pyro.poutine.trace(program.guide).get_trace(x).nodes["z"]["fn"]
    p = program.posterior(x)
    if not program.full_covariance:
        p = dist.Normal(p.mean, p.variance.sqrt()).to_event(1)
    return kl_divergence(q, p)


def test_minus_log_likelihood_is_exact_at_the_exact_posterior():
    program, x = linear(exact=True)
    scores = anomaly_scores(program, x, num_particles=3)
    torch.testing.assert_close(scores, -program.log_evidence(x))


@pytest.mark.parametrize("kind", ["bound", "distortion", "rate"])
def test_the_terms_of_the_bound_are_those_of_evaluate(kind):
    program, x = linear(exact=False)
    pyro.set_rng_seed(1)
    scores = anomaly_scores(program, x, kind=kind, num_particles=5)
    pyro.set_rng_seed(1)
    terms = evaluate(program, x, num_particles=5)
    expected = {"bound": -terms.bound, "distortion": terms.distortion, "rate": terms.rate}[kind]
    torch.testing.assert_close(scores, expected)


def test_distortion_and_rate_add_up_to_minus_the_bound_at_the_exact_posterior():
    program, x = linear(exact=True)
    parts = [anomaly_scores(program, x, kind=k, num_particles=400) for k in ("distortion", "rate")]
    difference = sum(parts) + program.log_evidence(x)
    # Two sets of draws, whose means over 400 have errors of some 0.15 each.
    assert difference.abs().max() < 1 and difference.mean().abs() < 0.2


@pytest.mark.parametrize("full_covariance", [True, False])
def test_the_regret_is_the_gap_that_a_posterior_of_its_own_closes(full_covariance):
    program, x = linear(exact=False, full_covariance=full_covariance)
    gap = kl_of_guide(program, x)
    found = likelihood_regret(program, x, steps=150, num_particles=200)
    error = (found - gap).std() / math.sqrt(len(x))
    assert abs((found - gap).mean()) < 4 * error and gap.mean() > 0.3
    torch.testing.assert_close(found, gap, rtol=0, atol=0.5)


def test_there_is_nothing_to_regret_at_the_exact_posterior():
    program, x = linear(exact=True)
    found = likelihood_regret(program, x, steps=200, num_particles=5)
    torch.testing.assert_close(found, torch.zeros(20, dtype=torch.float64), rtol=0, atol=0.01)


def test_no_regret_is_below_zero_after_steps_that_lead_away():
    program, x = linear(exact=False)
    found = likelihood_regret(program, x, steps=3, lr=50.0, num_particles=3)
    assert (found >= 0).all() and (found == 0).any()


def test_the_regret_does_not_depend_on_how_many_data_are_moved_at_once():
    program, x = linear(exact=False)
    gap = kl_of_guide(program, x).mean()
    found = likelihood_regret(program, x, batch_size=12, steps=60, num_particles=100)
    assert abs(found.mean() - gap) < 0.1  # of 2,000 draws


@pytest.mark.parametrize(
    "program",
    [
        VAE((1, 8, 8), **SMALL),
        VAE((1, 8, 8), **SMALL, posterior=FullNormal(2)),
        VAE((1, 8, 8), latent_dim=(2, 2), hidden=(8,), posterior=FullNormal((2, 2))),
        HierarchicalVAE((1, 8, 8), (3, 2), hidden=[(8,), (8,)]),
    ],
    ids=["diagonal", "full", "of a shape", "hierarchy"],
)
def test_the_regret_leaves_a_program_as_it_is(program):
    before = {name: p.clone() for name, p in program.named_parameters()}
    found = likelihood_regret(program, X, steps=40, num_particles=10)
    assert (found > 0).all()
    for name, parameter in program.named_parameters():
        assert torch.equal(parameter, before[name]) and parameter.grad is None


def test_the_regret_of_a_latent_on_which_another_depends_starts_at_the_guide():
    program = HierarchicalVAE((1, 8, 8), (3, 2), hidden=[(8,), (8,)])
    pyro.set_rng_seed(0)
    found = likelihood_regret(program, X, steps=1, lr=1e-12, num_particles=2)
    torch.testing.assert_close(found, torch.zeros(6), rtol=0, atol=1e-3)


def test_typicality_is_the_distance_to_the_mean_of_usual_data():
    program, x = linear(exact=True)
    usual = -program.log_evidence(x[:15]).mean()
    found = typicality(program, x, train=x[:15], num_particles=2)
    torch.testing.assert_close(found, (-program.log_evidence(x) - usual).abs())
    by_kind = anomaly_scores(program, x, kind="typicality", train=x[:15], num_particles=2)
    torch.testing.assert_close(by_kind, found)


def test_a_datum_likelier_than_all_usual_ones_is_strange_by_its_typicality_alone():
    program, x = linear(exact=True)
    likeliest = program.b.detach()[None]
    assert anomaly_scores(program, likeliest) < anomaly_scores(program, x).min()
    scores = anomaly_scores(program, torch.cat([likeliest, x]), kind="typicality", train=x)
    assert scores[0] > scores[1:].mean()


@pytest.mark.parametrize(
    "x, as_written",
    [
        (X, lambda row: np.packbits(row.numpy().astype(np.uint8)).tobytes()),
        (X * 0.7, lambda row: bytes(round(float(level) * 255) for level in row)),
    ],
    ids=["bits", "grey levels"],
)
def test_complexity_takes_off_what_a_compressor_needs(x, as_written):
    program = VAE((1, 8, 8), likelihood=ContinuousBernoulli((1, 8, 8)), **SMALL)
    options = {"num_particles": 5, "batch_size": 4}
    pyro.set_rng_seed(0)
    likelihood = anomaly_scores(program, x, **options)
    pyro.set_rng_seed(0)
    found = likelihood - anomaly_scores(program, x, kind="complexity", **options)
    sizes = [len(zlib.compress(as_written(row), 9)) for row in x.flatten(1)]
    torch.testing.assert_close(found, torch.tensor(sizes) * math.log(256), rtol=1e-4, atol=1e-3)


def test_variation_is_the_likelihood_for_each_unit_of_the_edges():
    program, x = VAE((1, 8, 8), **SMALL), torch.zeros(3, 1, 8, 8)
    x[1, 0, 2:5, 3:7] = 1  # a rectangle of edges 3 + 4 + 3 + 4 long
    x[2, 0, 0, 0] = 1  # in a corner, where two sides of it are seen
    pyro.set_rng_seed(0)
    likelihood = anomaly_scores(program, x, num_particles=5)
    pyro.set_rng_seed(0)
    found = anomaly_scores(program, x, kind="variation", num_particles=5)
    torch.testing.assert_close(found, likelihood / torch.tensor([1.0, 15.0, 3.0]))


def test_data_without_neighbours_have_no_variation():
    program, x = linear(exact=True)
    with pytest.raises(ValueError, match=r"the data are of shape \(5,\); take another kind"):
        anomaly_scores(program, x, kind="variation")


def test_the_complexity_of_numbers_without_levels_is_refused():
    with pytest.raises(ValueError, match="the data are real numbers from -2 to 3; take another"):
        anomaly_scores(
            LinearGaussian((2,), 1), torch.tensor([[-2.0, 3.0], [1.0, 2.0]]), kind="complexity"
        )


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "typicality"])
def test_labels_are_given_to_a_program_that_takes_them(kind):
    program = ConditionalVAE((1, 8, 8), num_classes=3, **SMALL)
    y = torch.tensor([0, 1, 2, 0, 1, 2])
    options = {"kind": kind, "num_particles": 2, "batch_size": 6}
    pyro.set_rng_seed(0)
    found = anomaly_scores(program, X, y, **options)
    pyro.set_rng_seed(0)
    assert torch.equal(anomaly_scores(program, Split(X, y), **options), found)


def test_a_kind_that_is_none_is_refused_with_those_there_are():
    with pytest.raises(ValueError, match="kind must be one of 'log_likelihood', .*but is 'elbo'"):
        anomaly_scores(VAE((1, 8, 8), **SMALL), X, kind="elbo")


def test_typicality_without_usual_data_is_refused():
    with pytest.raises(ValueError, match="give some of the training data as train"):
        anomaly_scores(VAE((1, 8, 8), **SMALL), X, kind="typicality")


@pytest.mark.parametrize(
    "program, sentence",
    [
        (GaussianMixtureVAE((1, 8, 8), num_components=3, **SMALL), "latent 'y' has none"),
        (VAE((1, 8, 8), **SMALL, posterior=InverseAutoregressiveFlow(2)), "those of 'z', a "),
        (BayesianVAE((1, 8, 8), num_data=6, **SMALL), "outside the data plate"),
    ],
    ids=["discrete", "flow", "shared"],
)
def test_posteriors_that_cannot_be_moved_are_refused(program, sentence):
    with pytest.raises(ValueError, match=sentence):
        likelihood_regret(program, X)


def test_the_area_counts_the_pairs_in_the_right_order_and_half_of_the_ties():
    scores = torch.tensor([0.0, 1.0, 2.0, 2.0, 3.0])
    strange = torch.tensor([False, True, False, True, True])
    pairs = [(a, b) for a in scores[strange] for b in scores[~strange]]
    count = sum(float(a > b) + 0.5 * float(a == b) for a, b in pairs)
    assert roc(scores, strange).auroc == pytest.approx(count / len(pairs))


def test_the_areas_are_those_of_scikit_learn():
    scores, strange = torch.randn(200).round(decimals=1), torch.rand(200) < 0.2
    scores += strange.float()
    found = roc(scores, strange)
    arrays = strange.numpy(), scores.numpy()
    assert found.auroc == pytest.approx(roc_auc_score(*arrays))
    assert found.average_precision == pytest.approx(average_precision_score(*arrays))
    assert found.auroc == pytest.approx(
        torch.trapezoid(found.true_positive_rate, found.false_positive_rate).item()
    )


def test_the_error_of_the_area_is_its_deviation_over_samples():
    areas, errors = [], []
    for _ in range(300):
        strange = torch.arange(80) < 20
        found = roc(torch.randn(80) + strange.float(), strange)
        areas.append(found.auroc)
        errors.append(found.error)
    deviation, mean = torch.tensor(areas).std().item(), sum(errors) / len(errors)
    assert mean == pytest.approx(deviation, rel=0.15)  # of 300 samples: 4 %


@pytest.mark.parametrize("kind, what", [(True, "an anomaly"), (False, "usual")])
def test_data_of_one_kind_have_no_curve(kind, what):
    with pytest.raises(ValueError, match=f"each of the 3 data is {what}.*give data of both kinds"):
        roc(torch.zeros(3), torch.full((3,), kind))


def test_scores_without_a_rank_are_refused():
    with pytest.raises(ValueError, match="1 of 2 scores are not finite"):
        roc(torch.tensor([0.0, math.nan]), torch.tensor([True, False]))


def test_as_many_scores_as_booleans_are_needed():
    with pytest.raises(ValueError, match=r"scores are \(2, 1\) and is_anomaly \(2,\)"):
        roc(torch.zeros(2, 1), torch.tensor([True, False]))


def test_a_log_likelihood_is_that_of_the_estimate():
    program, x = linear(exact=False)
    pyro.set_rng_seed(3)
    scores = anomaly_scores(program, x, num_particles=7, batch_size=9)
    pyro.set_rng_seed(3)
    torch.testing.assert_close(scores, -log_likelihood(program, x, 7, batch_size=9))
