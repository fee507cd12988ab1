"""The metrics of disentanglement, on codes of which the score is known by reasoning."""

import math

import numpy as np
import pytest
import torch
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.ensemble import RandomForestClassifier
from torch.distributions import Normal, kl_divergence

from pyro_vae.datasets import Split, Sprites, Tensors
from pyro_vae.inference import (
    beta_vae_score,
    codes_and_factors,
    dci,
    explicitness,
    factor_information,
    factor_vae_score,
    modularity,
    mutual_information_gap,
    sap,
)
from pyro_vae.models import VAE, VQVAE, HierarchicalVAE, LinearGaussian

SPRITES = Sprites(32, asymmetric=True, scale=3, orientation=8, x=4, y=4)
FACTORS = SPRITES.grid.values(torch.arange(len(SPRITES))).numpy()  # each combination once
FEW = {"num_train": 600, "num_test": 300}


def rng():
    return np.random.default_rng(0)


def of_trees(codes, factors, **options):
    forest = RandomForestClassifier(5, max_features=None, random_state=0)
    return dci(codes, factors, classifier=forest, **options)


def disentanglement(codes, factors, **options):
    return of_trees(codes, factors, **options).disentanglement


def completeness(codes, factors, **options):
    return of_trees(codes, factors, **options).completeness


def informativeness(codes, factors, **options):
    return of_trees(codes, factors, **options).informativeness


def beta_vae(codes, factors, **options):
    return beta_vae_score(codes, factors, num_train=2_000, num_test=1_000, **options)


def squared_correlation(codes, factors, **options):
    return sap(codes, factors, continuous=True, **options)


OF_CODES = [
    mutual_information_gap,
    disentanglement,
    completeness,
    informativeness,
    modularity,
    factor_vae_score,
    beta_vae,
    squared_correlation,
]
EVERY = [*OF_CODES, sap, explicitness]


@pytest.mark.parametrize("metric", OF_CODES)
def test_perfect_codes_of_the_asymmetric_sprites_have_1(metric):
    found = metric(FACTORS.astype(float), FACTORS)
    assert float(found) == pytest.approx(1, abs=0.01 if metric is beta_vae else 1e-9)
    assert found.dead == () and found.num_codes == 5
    assert all(each == pytest.approx(1, abs=0.05) for each in found.of_each.values())


@pytest.mark.parametrize("metric", OF_CODES)
def test_order_sign_and_scale_of_codes_do_not_count(metric):
    codes = FACTORS[:, [3, 0, 4, 2, 1]] * np.array([-2.0, 0.5, 10, 1, -1]) + 3
    assert float(metric(codes, FACTORS)) == pytest.approx(1, abs=0.01)


def test_codes_that_are_rotated_by_45_degrees_have_a_gap_of_nothing():
    """Both numbers of a pair say the same of both factors; no linear classifier minds."""
    sprites = Sprites(32, asymmetric=True, shape=1, scale=6, orientation=6, x=6, y=6)
    factors = sprites.grid.values(torch.arange(len(sprites))).numpy()
    codes = factors - factors.mean(0)
    turn = np.array([[1, 1], [1, -1]]) / math.sqrt(2)
    rotated = np.concatenate([codes[:, :1], codes[:, 1:3] @ turn, codes[:, 3:] @ turn], 1)
    found = mutual_information_gap(rotated, factors)
    assert 0 <= float(found) < 0.01 and set(found.of_each) == {1, 2, 3, 4}
    assert float(mutual_information_gap(codes, factors)) == pytest.approx(1)
    straight, turned = (float(explicitness(z, factors)) for z in (codes, rotated))
    assert turned == pytest.approx(straight, abs=0.02)


@pytest.mark.parametrize("metric", EVERY)
def test_constant_codes_have_0_and_all_are_dead(metric):
    found = metric(np.full((len(FACTORS), 4), 0.7), FACTORS)
    assert (
        float(found) == 0
        and found.dead == (0, 1, 2, 3)
        and str(found).endswith("4 of 4 codes dead")
    )


@pytest.mark.parametrize("metric", EVERY)
def test_dead_codes_beside_perfect_ones_are_named_and_change_nothing(metric):
    noise = rng().normal(size=(len(FACTORS), 2)) * [0.01, 1e-9]
    codes = np.concatenate([noise[:, :1], FACTORS, noise[:, 1:]], 1)
    found = metric(codes, FACTORS)
    assert found.dead == (0, 6) and np.isfinite(float(found))
    alone = float(metric(FACTORS.astype(float), FACTORS))
    assert float(found) == pytest.approx(alone, abs=0.01)


@pytest.mark.parametrize("metric", EVERY)
def test_which_codes_are_dead_may_be_said(metric):
    codes = np.concatenate([FACTORS, FACTORS[:, :1]], 1) * 0.001
    assert metric(codes, FACTORS, dead=[5]).dead == (5,)
    assert metric(codes, FACTORS).dead == (0, 1, 2, 3, 4, 5)


@pytest.mark.parametrize("metric", EVERY)
def test_a_factor_that_does_not_vary_is_left_out(metric):
    factors = FACTORS.copy()
    factors[:, 2] = 3
    found = metric(FACTORS[:, [0, 1, 3, 4]].astype(float), factors)
    assert (
        np.isfinite(float(found))
        and 2 not in found.of_each
        or metric in (disentanglement, modularity)
    )


@pytest.mark.parametrize("metric", EVERY)
def test_tensors_are_taken_and_the_score_is_the_same_each_time(metric):
    codes = FACTORS + rng().normal(size=FACTORS.shape)
    one = metric(codes, FACTORS)
    before = np.random.get_state()[1].copy()
    other = metric(torch.from_numpy(codes), torch.from_numpy(FACTORS))
    assert one == other and (np.random.get_state()[1] == before).all()


# Mutual information.


def test_the_information_of_a_code_that_is_the_factor_is_its_entropy():
    values = np.repeat(np.arange(4), [10, 20, 30, 40])[:, None]
    p = np.array([0.1, 0.2, 0.3, 0.4])
    found = factor_information(values * 2.5, values)
    assert found.shape == (1, 1) and found[0, 0] == pytest.approx(-(p * np.log(p)).sum())


def test_the_information_of_a_channel_that_flips_a_bit_is_known():
    bits = np.repeat([0, 1], 100)
    sent = bits.copy()
    sent[:11], sent[100:111] = 1, 0
    p = 0.11
    exact = math.log(2) + p * math.log(p) + (1 - p) * math.log(1 - p)
    assert factor_information(sent[:, None], bits[:, None])[0, 0] == pytest.approx(exact)


def test_twenty_bins_cannot_tell_forty_values_apart():
    values = np.tile(np.arange(40), 50)[:, None]
    exact = math.log(20) / math.log(40)
    assert float(mutual_information_gap(values, values)) == pytest.approx(exact)
    assert float(mutual_information_gap(values, values, bins=40)) == pytest.approx(1)


def test_a_code_that_says_nothing_has_the_information_of_the_bias():
    """(bins - 1)(values - 1) / 2N, which is why dead codes are left out of modularity."""
    drawn = rng().integers([20] * 20 + [8] * 20, size=(4000, 40))
    found = factor_information(drawn[:, :20], drawn[:, 20:]).mean()
    assert found == pytest.approx(19 * 7 / 2 / 4000, rel=0.1)


def test_two_copies_of_a_code_leave_no_gap_and_are_modular_all_the_same():
    codes = np.concatenate([FACTORS, FACTORS], 1).astype(float)
    assert float(mutual_information_gap(codes, FACTORS)) == pytest.approx(0, abs=1e-12)
    assert float(modularity(codes, FACTORS)) == pytest.approx(1)
    assert float(factor_vae_score(codes, FACTORS, **FEW)) == 1


def test_one_code_alone_has_the_whole_gap_of_its_factor():
    found = mutual_information_gap(FACTORS[:, [1]], FACTORS)
    assert found.of_each == pytest.approx({0: 0, 1: 1, 2: 0, 3: 0, 4: 0})


def test_a_code_of_two_factors_alike_is_not_modular_at_all():
    factors = np.stack(np.meshgrid([0, 1], [0, 1], range(25), indexing="ij"), -1).reshape(-1, 3)
    codes = (2 * factors[:, :1] + factors[:, 1:2]).astype(float)
    assert float(modularity(codes, factors[:, :2])) == pytest.approx(0)


def test_modularity_is_its_formula():
    """A code that tells one bit of two, and the other through a channel that flips it."""
    a, b = np.repeat([0, 1], 200), np.tile(np.repeat([0, 1], 100), 2)
    seen = b.copy()
    for start, value in ((0, 1), (100, 0), (200, 1), (300, 0)):
        seen[start : start + 20] = value
    p = 0.2
    other = math.log(2) + p * math.log(p) + (1 - p) * math.log(1 - p)
    found = modularity((2 * a + seen)[:, None].astype(float), np.stack([a, b], 1))
    assert float(found) == pytest.approx(1 - (other / math.log(2)) ** 2)


# Classifiers.


class Fixed(ClassifierMixin, BaseEstimator):
    """Says of whatever it learns the same importances, in turn."""

    turns = []

    def fit(self, x, y):
        self.classes_, self.feature_importances_ = np.unique(y), self.turns.pop(0)
        return self

    def predict(self, x):
        return np.full(len(x), self.classes_[0])


def test_dci_is_its_formulas_of_the_importances():
    r = np.array([[0.5, 0.5], [0.25, 0.0], [0.25, 0.5]])  # codes x factors
    Fixed.turns = [r[:, 0], r[:, 1]]
    factors = np.stack([np.tile([0, 0, 1], 40), np.repeat([0, 0, 0, 1], 30)], 1)
    found = dci(rng().normal(size=(120, 3)), factors, classifier=Fixed())

    def entropy(p, base):
        return -sum(x * math.log(x, base) for x in p if x)

    shares = [1.0, 0.25, 0.75]
    rows = [1 - entropy(row / row.sum(), 2) for row in r]
    columns = [1 - entropy(column, 3) for column in r.T]
    assert (found.importances == r).all()
    weighted = sum(s * e for s, e in zip(shares, rows, strict=True)) / 2
    assert float(found.disentanglement) == pytest.approx(weighted)
    assert found.disentanglement.of_each == pytest.approx(dict(enumerate(rows)))
    assert float(found.completeness) == pytest.approx(sum(columns) / 2)
    assert found.completeness.of_each == pytest.approx(dict(enumerate(columns)))
    assert 0.3 < float(found.informativeness) < 0.9


def test_the_forest_looks_at_all_codes_and_finds_those_that_two_factors_are_made_of():
    bits = rng().integers(2, size=(900, 4))
    factors = np.stack([2 * bits[:, 0] + bits[:, 1], 2 * bits[:, 2] + bits[:, 3]], 1)
    found = dci(bits.astype(float), factors)
    assert float(found.disentanglement) == pytest.approx(1)  # each code is of one factor
    assert float(found.completeness) == pytest.approx(0.5, abs=0.02)  # 1 - log 2 / log 4
    assert float(found.informativeness) == 1


def test_sap_of_one_bit_is_what_its_code_gains_over_guessing():
    bits = np.repeat([0, 1], [300, 600])[:, None]
    found = sap(bits.astype(float), bits, num_train=600, num_test=300)
    assert float(found) == pytest.approx(1 - 600 / 900, abs=0.1)


def test_sap_of_a_rare_value_is_the_gap_of_codes_and_not_of_a_constant():
    """A constant is right of 90 %, a machine of balanced classes on noise of about half."""
    rare = (rng().random(1200) < 0.1).astype(int)[:, None]
    noise = rng().normal(size=(1200, 3))
    told = np.concatenate([rare, noise[:, 1:]], 1)
    few = {"num_train": 800, "num_test": 400}
    assert float(sap(noise, rare, **few)) < 0.15
    assert float(sap(noise * [1, 1, 0], rare, **few)) < 0.15
    assert 0.3 < float(sap(told, rare, **few)) < 0.7


@pytest.mark.parametrize("metric", [factor_vae_score, beta_vae_score])
def test_codes_of_noise_guess_the_factor(metric):
    """One in five; that few data have the same values again is a little better than guessing."""
    codes = rng().normal(size=FACTORS.shape)
    assert float(metric(codes, FACTORS)) == pytest.approx(0.2, abs=0.06)


def test_the_areas_of_noise_are_one_half_and_of_bits_that_are_coded_one():
    factors = rng().integers(2, size=(3000, 2))
    assert float(explicitness(rng().normal(size=(3000, 3)), factors)) == pytest.approx(
        0.5, abs=0.04
    )
    assert float(explicitness(factors @ np.array([[1, 1], [1, -1]]), factors)) == 1


# A program's codes.


def linear():
    program = LinearGaussian((4,), 3).double()
    with torch.no_grad():
        program.V[1] = 0  # this number says nothing of x
        program.D[:] = torch.tensor([-1.0, 0.0, 0.5])
    return program


def test_the_codes_of_a_program_are_the_means_of_its_guide_with_rates_in_closed_form():
    program, x = linear(), torch.randn(70, 4).double()
    data = Tensors(x=x, factors=torch.arange(140).view(70, 2))
    found = codes_and_factors(program, data, batch_size=32)
    rows = found.factors[:, 0] // 2  # in random order
    assert sorted(rows.tolist()) == list(range(70)) and rows.tolist() != list(range(70))
    means = (x - program.b) @ program.V.mT
    torch.testing.assert_close(found.values, means[rows].detach())
    q = Normal(means, program.D.exp())
    torch.testing.assert_close(found.rates, kl_divergence(q, Normal(0.0, 1.0)).mean(0).detach())
    assert found.dead == (1,) and found.site == "z"


def test_the_number_of_data_and_the_seed_choose_which():
    program = linear()
    data = Tensors(x=torch.randn(70, 4).double(), factors=torch.arange(70)[:, None])
    one, again, other = (
        codes_and_factors(program, data, num_data=40, batch_size=32, seed=s).factors
        for s in (0, 0, 1)
    )
    assert len(one) == 40 and torch.equal(one, again) and not torch.equal(one, other)


def test_sprites_give_codes_and_a_trained_mode_is_left_alone():
    program = VAE((1, 32, 32), 3, hidden=(4,)).train()
    found = codes_and_factors(program, SPRITES, num_data=60)
    assert found.values.shape == (60, 3) and found.factors.shape == (60, 5) and program.training


def test_one_of_several_latents_is_named():
    program = HierarchicalVAE((8,), (3, 2), hidden=(5,))
    data = Tensors(x=torch.zeros(20, 8), factors=torch.arange(20)[:, None])
    with pytest.raises(ValueError, match=r"latents of the program are \['z_1', 'z_2'\], but one"):
        codes_and_factors(program, data)
    assert codes_and_factors(program, data, site="z_2").values.shape == (20, 2)
    with pytest.raises(ValueError, match="the program has no latent 'z_3' of a datum"):
        codes_and_factors(program, data, site="z_3")


def test_data_without_factors_are_refused():
    program, x = VAE((8,), 2, hidden=(4,)), torch.zeros(20, 8)
    with pytest.raises(ValueError, match=r"no known factors, but x; take sprites\(...\), or a"):
        codes_and_factors(program, Tensors(x=x))
    with pytest.raises(ValueError, match="no known factors, but x"):
        codes_and_factors(program, Split(x))


def test_codes_of_a_codebook_are_refused():
    program = VQVAE((1, 8, 8), channels=(4, 4))
    data = Tensors(x=torch.zeros(20, 1, 8, 8), factors=torch.arange(20)[:, None])
    with pytest.raises(ValueError, match=r"continuous latents of the program are \[\], but one"):
        codes_and_factors(program, data)


# What cannot be.

CODES = FACTORS.astype(float)


@pytest.mark.parametrize("metric", [*EVERY, factor_information])
@pytest.mark.parametrize(
    ("codes", "factors", "error", "sentence"),
    [
        (CODES[:9], FACTORS, ValueError, r"shape \(9, 5\) and factors \(1152, 5\), but must be"),
        (CODES[:, 0], FACTORS, ValueError, r"must be \(N, D\) and \(N, K\)"),
        (CODES, FACTORS + 0.5, TypeError, "factors are of type float64, but must be whole"),
        (CODES * np.nan, FACTORS, ValueError, "finite real numbers, but some are not; leave such"),
        (
            CODES,
            FACTORS * 0,
            ValueError,
            "0 of 5 factors vary over the data, but this met",
        ),
    ],
)
def test_what_are_no_codes_and_factors_is_refused(metric, codes, factors, error, sentence):
    with pytest.raises(error, match=sentence):
        metric(codes, factors)


@pytest.mark.parametrize("metric", [disentanglement, modularity, beta_vae])
def test_one_factor_is_not_enough_for_some(metric):
    with pytest.raises(ValueError, match="1 of 1 factors vary .* needs 2 or more"):
        metric(CODES, FACTORS[:, :1])


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda: mutual_information_gap(CODES, FACTORS, bins=1), "bins must be a whole number, 2"),
        (
            lambda: modularity(CODES, FACTORS, dead=[7]),
            r"dead names the codes \[7\], but there",
        ),
        (
            lambda: factor_vae_score(CODES, FACTORS, batch_size=1),
            "batch_size must be .*, 2 or mor",
        ),
        (lambda: beta_vae_score(CODES, FACTORS, num_test=0), "num_test must be a whole number, 1"),
    ],
)
def test_a_constant_that_cannot_be_is_refused(call, sentence):
    with pytest.raises(ValueError, match=sentence):
        call()
