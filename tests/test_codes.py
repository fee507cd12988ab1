"""Grids of codes: quantizers as posteriors, priors over their numbers, all against enumeration."""

import copy
import math
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from pyro_vae.networks import MLP
from pyro_vae.posteriors import FSQ, Delta, NearestCode, ResidualCodes, SimVQ, StochasticCode
from pyro_vae.priors import PixelCNNPrior, TransformerPrior, UniformCodes
from pyro_vae.repetition import repetition
from pyro_vae.sampling import sampling

QUANTIZERS = {
    "FSQ": lambda: FSQ((4, 3)),
    "NearestCode": lambda: NearestCode(5, 3),
    "by gradient": lambda: NearestCode(5, 3, decay=None),
    "rotation": lambda: NearestCode(5, 3, rotation=True),
    "SimVQ": lambda: SimVQ(5, 3),
    "ResidualCodes": lambda: ResidualCodes(4, 3, choices=2),
    "StochasticCode": lambda: StochasticCode(5, 3),
}
PRIORS = {
    "UniformCodes": UniformCodes,
    "PixelCNNPrior": lambda: PixelCNNPrior(channels=8, layers=3),
    "TransformerPrior": lambda: TransformerPrior(width=8, layers=2, heads=2),
}


@pytest.fixture(params=QUANTIZERS)
def quantizer(request):
    torch.manual_seed(0)
    return QUANTIZERS[request.param]().eval()


@pytest.fixture(params=PRIORS)
def prior(request):
    torch.manual_seed(0)
    return PRIORS[request.param]()


def attached(prior, quantizer, height=1, width=2):
    prior.attach(SimpleNamespace(out_shape=(quantizer.param_dim, height, width)), quantizer)
    return prior


def all_grids(num_codes, rows, width):
    """Every grid of numbers of codes, (num_codes^(rows width), rows, width)."""
    return torch.cartesian_prod(*[torch.arange(num_codes)] * (rows * width)).view(-1, rows, width)


def test_a_draw_is_a_grid_of_codes_to_the_last_bit(quantizer):
    h = torch.randn(7, quantizer.param_dim, 2, 3)
    z = quantizer(h).sample()
    assert z.shape == (7, quantizer.code_dim, 2, 3)
    assert torch.equal(quantizer.vectors(quantizer.indices(z)), z)


def test_numbers_and_codes_lead_to_each_other(quantizer):
    indices = torch.randint(quantizer.num_codes, (6, quantizer.choices * 2, 3))
    assert torch.equal(quantizer.indices(quantizer.vectors(indices)), indices)


def test_the_nearest_of_all_codes_is_chosen():
    quantizer = NearestCode(50, 3)
    h = torch.randn(20, 3, 2, 2)
    distances = torch.cdist(h.movedim(1, -1), quantizer.codes.expand(20, 2, 50, 3))
    assert torch.equal(quantizer.indices(h), distances.argmin(-1))


def test_finite_scalar_quantization_uses_all_its_levels_and_no_others():
    quantizer = FSQ((4, 3))
    h = torch.linspace(-9, 9, 1000).expand(2, 1, 1000)
    z = quantizer(h).rsample()
    assert z[0].unique().tolist() == [-1.0, -0.5, 0.0, 0.5] and z[1].unique().tolist() == [-1, 0, 1]


@pytest.mark.parametrize("levels", [1000, 1001, 2048, 4001])
def test_however_many_levels_there_are_the_outermost_are_codes(levels):
    quantizer = FSQ((levels,))
    z = quantizer(torch.tensor([-99.0, 99.0]).view(1, 1, 2)).rsample()
    assert quantizer.indices(z).tolist() == [[0, levels - 1]]
    assert torch.equal(quantizer.vectors(quantizer.indices(z)), z)


@pytest.mark.parametrize("kind", [kind for kind in QUANTIZERS if kind != "StochasticCode"])
def test_a_training_step_takes_the_codes_that_were_there_before_it(kind):
    torch.manual_seed(0)
    quantizer = QUANTIZERS[kind]()
    h = torch.randn(7, quantizer.param_dim, 2, 3)
    for _ in range(2):  # at the first step, most codes start again
        expected = copy.deepcopy(quantizer).eval()(h)
        point = quantizer.train()(h)
        assert torch.equal(point.codes, expected.codes)
        for name, value in expected.penalties.items():
            assert torch.equal(point.penalties[name], value)


@pytest.mark.parametrize("name", ["NearestCode", "by gradient", "SimVQ"])
def test_the_encoders_gradient_is_that_of_the_code(name):
    quantizer = QUANTIZERS[name]()
    h = torch.randn(4, 3, 2, 2, requires_grad=True)
    weight = torch.randn(4, 3, 2, 2)
    (weight * quantizer(h).rsample()).sum().backward()
    assert torch.equal(h.grad, weight)


def test_the_gradient_of_finite_scalar_quantization_is_that_before_rounding():
    quantizer = FSQ((4, 3))
    h = torch.randn(4, 2, 2, 2, requires_grad=True)
    weight = torch.randn(4, 2, 2, 2)
    (weight * quantizer(h).rsample()).sum().backward()
    half = torch.tensor([3 * 1.001 / 2, 2 * 1.001 / 2])[:, None, None]
    shift = torch.tensor([0.5, 0.0])[:, None, None]
    slope = half * (1 - (h.detach() + (shift / half).atanh()).tanh() ** 2)
    torch.testing.assert_close(h.grad, weight * slope / torch.tensor([2.0, 1.0])[:, None, None])


def test_the_rotated_gradient_keeps_its_angle_to_the_code():
    quantizer = NearestCode(5, 3, rotation=True)
    h = torch.randn(4, 3, 2, 2, requires_grad=True)
    weight = torch.randn(4, 3, 2, 2)
    z = quantizer(h).rsample()
    (weight * z).sum().backward()
    # d h = (|e| / |h|) R^T weight, where R turns h onto e
    norm, h_norm = z.norm(dim=1), h.norm(dim=1)
    torch.testing.assert_close(h.grad.norm(dim=1), norm / h_norm * weight.norm(dim=1))
    along = (h.grad * h).sum(1) / h_norm / (norm / h_norm)
    torch.testing.assert_close(along, (weight * z).sum(1) / norm)


def test_penalties_are_sums_over_channels_and_means_over_positions():
    quantizer = NearestCode(5, 3, decay=None).eval()
    h = torch.randn(4, 3, 2, 2)
    q = quantizer(h)
    expected = torch.stack(
        [((h - q.codes) ** 2)[:, :, i, j].sum(1) for i in (0, 1) for j in (0, 1)]
    )
    for name in ("commitment", "codebook"):
        torch.testing.assert_close(q.penalties[name], expected.mean(0))


def test_commitment_moves_the_encoder_alone_and_the_codebook_term_the_codes_alone():
    quantizer = NearestCode(5, 3, decay=None).eval()
    h = torch.randn(4, 3, 2, 2, requires_grad=True)
    for name, moved, still in (
        ("commitment", h, quantizer.codes),
        ("codebook", quantizer.codes, h),
    ):
        gradients = torch.autograd.grad(
            quantizer(h).penalties[name].sum(), (moved, still), allow_unused=True
        )
        assert gradients[0].abs().sum() > 0 and gradients[1] is None


def test_codes_are_moving_averages_of_what_chose_them():
    quantizer = NearestCode(3, 2, decay=0.9, restart_below=0)
    batches = torch.randn(4, 6, 2, 1, 1)
    count, total = torch.zeros(3), torch.zeros(3, 2)
    for h in batches:
        chosen = quantizer.indices(h).flatten()
        quantizer(h)
        count, total = 0.9 * count, 0.9 * total
        for k, row in zip(chosen, h.flatten(1), strict=True):
            count[k] += 0.1
            total[k] += 0.1 * row
        smooth = (count + 1e-5) / (count.sum() + 3e-5) * count.sum()
        seen = count > 0
        torch.testing.assert_close(quantizer.codes[seen], (total / smooth[:, None])[seen])


def test_a_code_that_nothing_chooses_starts_again_at_an_output():
    quantizer = NearestCode(4, 2)
    quantizer.codes[3] = 100.0
    rows = torch.randn(500, 2)
    quantizer(rows[:, :, None, None])
    assert (quantizer.codes[3] - rows).norm(dim=1).min() < 1e-3


def test_averages_rest_in_evaluation_and_in_a_repeated_run():
    quantizer = NearestCode(4, 2)
    before = {name: value.clone() for name, value in quantizer.state_dict().items()}
    h = torch.randn(9, 2, 2, 2)
    with repetition():
        quantizer(h)
    quantizer.eval()(h)
    assert all(torch.equal(before[name], value) for name, value in quantizer.state_dict().items())
    quantizer.train()(h)
    assert not torch.equal(before["codebook"], quantizer.codes)


def test_a_code_that_is_not_chosen_starts_again_at_an_output_of_each_batch_until_it_is():
    quantizer = NearestCode(3, 2, decay=0.9, restart_below=0.5)
    far = torch.tensor([[0.0, 0.0], [1.0, 1.0], [90.0, 90.0]])
    quantizer.codebook.copy_(far)
    quantizer.count.copy_(torch.tensor([50.0, 50.0, 0.0]))
    quantizer.total.copy_(far * quantizer.count[:, None])
    for center in (0.5, 0.6):  # both within reach of the two other codes
        rows = torch.randn(40, 2, generator=torch.Generator().manual_seed(0)) * 0.01 + center
        quantizer(rows.T.reshape(1, 2, 5, 8))
        gap = (quantizer.codebook[2] - rows).abs().sum(1).min()
        assert gap < 1e-4 and quantizer.count[2] == 0.5
        quantizer.codebook[2] = quantizer.total[2] = 90.0  # nothing will choose it
    start = quantizer.codebook[2] = torch.tensor([0.5, 0.5])
    quantizer.total[2] = 0.5 * start
    quantizer(torch.full((1, 2, 5, 8), 0.5))
    torch.testing.assert_close(quantizer.codebook[2], start)
    assert quantizer.count[2] == pytest.approx(0.9 * 0.5 + 0.1 * 40)


@pytest.mark.parametrize("name", ["FSQ", "NearestCode", "ResidualCodes"])
def test_a_prior_sums_to_one_over_all_grids(prior, name):
    quantizer = QUANTIZERS[name]()
    attached(prior, quantizer, 1, 2)
    grids = all_grids(quantizer.num_codes, *prior.code_grid)
    log_p = prior().log_prob(quantizer.vectors(grids))
    assert log_p.shape == (len(grids),)
    torch.testing.assert_close(log_p.exp().sum(), torch.tensor(1.0))


def test_draws_come_as_often_as_their_probability_says(prior):
    quantizer = FSQ((2,))
    attached(prior, quantizer, 2, 2)
    grids = all_grids(2, 2, 2)
    p = prior.log_prob_of(grids).exp()
    z = prior().sample((8, 1000))
    assert z.shape == (8, 1000, 1, 2, 2)
    number = (quantizer.indices(z).flatten(-2) * torch.tensor([8, 4, 2, 1])).sum(-1).flatten()
    share = torch.bincount(number, minlength=16) / 8000
    assert ((share - p) / (p * (1 - p) / 8000).sqrt()).abs().max() < 4


@pytest.mark.parametrize("name", ["PixelCNNPrior", "TransformerPrior"])
def test_codes_one_by_one_have_the_logits_of_all_at_once(name):
    prior = attached(PRIORS[name](), FSQ((3, 2)), 3, 2)
    indices = torch.randint(6, (5, 3, 2))
    logits = torch.stack(list(prior.conditionals(indices)), 1).unflatten(1, (3, 2))
    torch.testing.assert_close(logits, prior.logits(indices))


def test_a_low_temperature_draws_the_most_probable_code():
    prior = attached(PRIORS["TransformerPrior"](), FSQ((3, 2)), 1, 1)
    (logits,) = prior.conditionals(torch.zeros(1, 1, 1, dtype=torch.int64))
    with torch.no_grad(), sampling(temperature=1e-4):
        assert (prior.draw(torch.Size((20,))) == logits.argmax()).all()


def test_top_k_draws_the_k_most_probable_codes():
    prior = attached(PRIORS["TransformerPrior"](), FSQ((3, 2)), 1, 1)
    (logits,) = prior.conditionals(torch.zeros(1, 1, 1, dtype=torch.int64))
    with torch.no_grad(), sampling(top_k=2):
        drawn = prior.draw(torch.Size((200,)))
    assert sorted(drawn.unique().tolist()) == sorted(logits[0].topk(2).indices.tolist())


def test_a_soft_code_has_the_probabilities_of_its_formula():
    quantizer = StochasticCode(4, 2, scale=0.7).eval()
    h = torch.randn(3, 2, 1, 1)
    score = -(torch.cdist(h.flatten(1), quantizer.codes) ** 2) / (2 * 0.7**2)
    for k in range(4):
        z = quantizer.vectors(torch.full((3, 1, 1), k))
        torch.testing.assert_close(quantizer(h).log_prob(z), score.log_softmax(-1)[:, k])


def test_soft_codes_are_drawn_as_often_as_their_probability_says():
    quantizer = StochasticCode(4, 2).eval()
    q = quantizer(torch.randn(2, 1, 1))
    share = torch.bincount(quantizer.indices(q.sample((8000,))).flatten(), minlength=4) / 8000
    p = q.logits.softmax(-1).flatten()
    assert ((share - p) / (p * (1 - p) / 8000).sqrt()).abs().max() < 4


def test_in_training_the_log_density_of_soft_codes_is_minus_their_entropy():
    q = StochasticCode(4, 2)(torch.randn(5, 2, 2, 3))
    entropy = torch.distributions.Categorical(logits=q.logits).entropy().sum((-2, -1))
    torch.testing.assert_close(q.log_prob(q.rsample()), -entropy)


def test_soft_codes_tend_to_the_nearest_as_their_scale_falls():
    quantizer = StochasticCode(4, 2, scale=1e-3).eval()
    h = torch.randn(5, 2, 2, 3)
    z = quantizer(h).sample()
    assert torch.equal(quantizer.indices(z), quantizer.indices(h))
    assert quantizer(h).log_prob(z).abs().max() < 1e-4


def test_a_grid_that_is_not_the_chosen_one_has_no_probability():
    quantizer = NearestCode(5, 3).eval()
    q = quantizer(torch.randn(4, 3, 2, 2))
    assert q.log_prob(q.rsample()).tolist() == [0.0] * 4
    assert (q.log_prob(q.rsample() + 1) == -math.inf).all()


@pytest.mark.parametrize(
    "make, sentence",
    [
        (lambda: FSQ((8, 1)), r"at least 2 levels for each channel, but got \(8, 1\)"),
        (lambda: FSQ(8), "whole numbers, one for each channel, such as .* but got 8"),
        (lambda: FSQ((8, 2.5)), r"whole numbers, one for each channel, .* but got \(8, 2.5\)"),
        (lambda: FSQ("86"), "whole numbers, one for each channel, .* but got '86'"),
        (lambda: FSQ((16,) * 16), "more than 64 bits can number"),
        (lambda: NearestCode(0, 3), "num_codes must be at least 1"),
        (lambda: NearestCode(2.5, 3), "num_codes must be a whole number, but is 2.5"),
        (lambda: NearestCode(10**12), "1000000000000 codes of 64 numbers take 238,419 GB"),
        (
            lambda: SimVQ(10**12, 2),
            "take 7,451 GB, but at most 16 are taken; give fewer codes, or FSQ",
        ),
        (lambda: NearestCode(decay=1.0), "decay must be from 0 to below 1"),
        (lambda: ResidualCodes(choices=0), "choices must be at least 1"),
        (lambda: TransformerPrior(width=10, heads=4), "4 do not divide 10"),
        (lambda: StochasticCode(scale=0.0), "scale must be positive"),
        (lambda: UniformCodes().attach(nn.Identity(), Delta(3)), "but Delta has none"),
        (
            lambda: UniformCodes().attach(nn.Identity(), FSQ()),
            r"of this Identity is not declared; set encoder.out_shape",
        ),
        (
            lambda: UniformCodes().attach(MLP((4,), (3,)), FSQ()),
            r"\(channels, height, width\), but that of this MLP is \(3,\)",
        ),
    ],
)
def test_bad_sizes_are_refused_in_a_sentence(make, sentence):
    with pytest.raises(ValueError, match=sentence):
        make()


def test_a_prior_of_one_program_is_not_for_codes_of_other_numbers():
    prior = attached(PixelCNNPrior(channels=8, layers=2), FSQ((3,)))
    with pytest.raises(ValueError, match="for 3 codes on a grid of"):
        attached(prior, FSQ((4,)))


def test_temperature_without_a_prior_that_takes_it_is_refused():
    prior = attached(UniformCodes(), FSQ((3,)))
    with pytest.raises(ValueError, match="this program has none"), sampling(temperature=0.5):
        prior().sample()


def test_every_order_of_residual_codes_is_a_grid_of_its_own():
    quantizer = ResidualCodes(3, 2, choices=2)
    grids = all_grids(3, 2, 1)
    assert len(quantizer.vectors(grids).unique(dim=0)) == 9
