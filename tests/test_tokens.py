"""Sequences of tokens: likelihoods that draw one after the other, and encoders that read them."""

import copy
from functools import partial

import pyro
import pytest
import torch

from pyro_vae import check
from pyro_vae.inference import SVI, Compile, Trace_ELBO, evaluate, log_likelihood
from pyro_vae.likelihoods import (
    Bernoulli,
    Nominal,
    PixelCNNLikelihood,
    RecurrentTokens,
    TransformerTokens,
)
from pyro_vae.models import VAE, AutoregressiveModel
from pyro_vae.networks import MLP, ConvTokensEncoder, RecurrentEncoder, TransformerEncoder
from pyro_vae.sampling import sampling

from .token_parts import TOKEN_LIKELIHOODS, all_sequences, likelihood_of_tokens

KINDS = [
    partial(RecurrentTokens, embedding_dim=4, units=6),
    partial(RecurrentTokens, embedding_dim=4, units=6, cell="gru", layers=2, context="inputs"),
    partial(RecurrentTokens, embedding_dim=4, units=6, context=()),
    partial(TransformerTokens, width=4, heads=2),
    partial(TransformerTokens, width=4, heads=2, context=("state", "inputs")),
]
NAMES = ["LSTM", "GRU of two layers", "LSTM without h", "memory", "transformer without memory"]
ENCODERS = [
    partial(RecurrentEncoder, embedding_dim=4, units=5),
    partial(RecurrentEncoder, embedding_dim=4, units=5, cell="gru", layers=2, bidirectional=False),
    partial(TransformerEncoder, width=4, heads=2),
    partial(ConvTokensEncoder, embedding_dim=4, channels=(6, 5), kernel_size=3),
]


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


def built(kind, end, length=3):
    return kind((length,), num_tokens=3, end=end, context_dim=5).eval()


@pytest.mark.parametrize("end", [0, 2, None])
@pytest.mark.parametrize("kind", KINDS, ids=NAMES)
class TestDensity:
    def test_sums_to_1_over_all_sequences(self, kind, end):
        x = all_sequences(3, 3, end)
        assert len(x) == (27 if end is None else 15)
        p = built(kind, end)(3 * torch.randn(2, 5))
        total = p.log_prob(x.unsqueeze(1)).exp().sum(0)
        torch.testing.assert_close(total, torch.ones(2), rtol=0, atol=1e-5)
        assert p.support.check(x).all()

    def test_is_the_product_of_the_steps_by_which_it_draws(self, kind, end):
        likelihood, h = built(kind, end, length=4), torch.randn(1, 5)
        x = likelihood(h).sample((20,)).squeeze(1)
        steps = likelihood.conditionals(h.expand(20, -1), x)
        log_p = torch.zeros(20)
        with torch.no_grad():
            for t, logits in enumerate(steps):
                log_p += torch.where(
                    x[:, t] < 0,
                    0.0,
                    logits.log_softmax(-1).gather(1, x[:, t : t + 1].clamp(min=0))[:, 0],
                )
        torch.testing.assert_close(likelihood(h).log_prob(x), log_p, rtol=1e-5, atol=1e-5)

    def test_is_the_frequency_of_draws(self, kind, end):
        num, x = 20_000, all_sequences(3, 3, end)
        p = built(kind, end)(torch.randn(5))
        draws = p.sample((num,))
        assert p.support.check(draws).all()
        found = (draws.unsqueeze(1) == x).all(-1).float().mean(0)
        expected = p.log_prob(x).exp().detach()
        error = (expected * (1 - expected) / num).sqrt()
        assert ((found - expected).abs() < 5 * error + 1e-6).all()

    def test_is_the_same_however_far_the_batch_reaches(self, kind, end):
        p = built(kind, end, length=6)(torch.randn(2, 5))
        x = torch.tensor([[1, 1], [1, 0 if end is None else end]])
        wide = torch.cat([x, torch.full((2, 4), -1)], 1)
        torch.testing.assert_close(p.log_prob(wide), p.log_prob(x), rtol=0, atol=1e-5)

    def test_of_a_beginning_is_the_sum_over_all_that_follows(self, kind, end):
        p = built(kind, end)(torch.randn(5))
        every = all_sequences(3, 3, end)
        follow = every[every[:, 0] == 1]
        beginning = torch.tensor([1, -1, -1])
        total = p.log_prob(follow).logsumexp(0)
        torch.testing.assert_close(p.log_prob(beginning), total, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("part", TOKEN_LIKELIHOODS)
def test_its_mean_is_the_most_probable_token_after_each_other(part):
    likelihood, h = likelihood_of_tokens(part), torch.randn(5)
    x, p = likelihood(h).mean, likelihood(h)
    for t in range(len(x)):
        beginnings = torch.cat([x[:t].expand(3, t), torch.arange(3).unsqueeze(1)], 1)
        assert x[t] == p.log_prob(beginnings).argmax()
        if x[t] == 0:
            assert (x[t + 1 :] == -1).all()
            break


@pytest.mark.parametrize(
    "x",
    [[3, 0, -1], [0, 1, -1], [1, -1, 1], [1, 0, 0], [-2, -1, -1]],
    ids=["no token", "behind the end", "a hole", "two ends", "a number below -1"],
)
def test_what_is_no_sequence_is_outside_of_the_support(x):
    p = likelihood_of_tokens(RecurrentTokens, length=3)(torch.zeros(5))
    assert not p.support.check(torch.tensor(x))


def test_top_p_draws_from_the_nucleus_alone():
    likelihood = likelihood_of_tokens(RecurrentTokens, length=1, end=None)
    with torch.no_grad():
        likelihood.read.weight.zero_()
        likelihood.read.bias.copy_(torch.tensor([0.5, 0.3, 0.2]).log())
    for top_p, kept in ((0.5, [0]), (0.6, [0, 1]), (0.81, [0, 1, 2]), (1, [0, 1, 2])):
        with sampling(top_p=top_p):
            draws = likelihood(torch.zeros(5)).sample((400,))
        assert draws.unique().tolist() == kept
    with pytest.raises(ValueError, match="top_p must be above 0 and at most 1, but is 0"):
        sampling(top_p=0).__enter__()


def test_word_dropout_hides_tokens_in_training_alone():
    likelihood = likelihood_of_tokens(RecurrentTokens, word_dropout=1.0)
    tokens = torch.tensor([[1, 2, 1, 0]])
    assert likelihood.before(tokens).tolist() == [[3, 4, 4, 4]]
    assert likelihood.eval().before(tokens).tolist() == [[3, 1, 2, 1]]


def test_half_of_the_tokens_are_hidden_whole():
    likelihood = likelihood_of_tokens(RecurrentTokens, length=101, word_dropout=0.5)
    hidden = (likelihood.before(torch.ones(200, 101, dtype=torch.int64))[:, 1:] == 4).float()
    assert abs(hidden.mean() - 0.5) < 5 * 0.5 / 20_000**0.5


@pytest.mark.parametrize("encoder", ENCODERS)
class TestEncoders:
    def test_reads_no_further_than_the_end(self, encoder):
        net = encoder((7,), (2, 3), num_tokens=4).eval()
        x = torch.tensor([[1, 2, 0, -1, -1, -1, -1], [3, 3, 2, 1, 2, 0, -1]])
        alone = torch.cat([net(x[:1, :3]), net(x[1:, :6])])
        torch.testing.assert_close(net(x), alone, rtol=0, atol=1e-6)

    def test_reads_all_up_to_the_end(self, encoder):
        net = encoder((4,), (3,), num_tokens=4).eval()
        x = torch.tensor([1, 2, 3, 0])
        for t in range(4):
            other = x.clone()
            other[t] = (x[t] + 1) % 4
            assert not torch.allclose(net(x), net(other))

    def test_takes_any_leading_dimensions_and_a_sequence_of_nothing(self, encoder):
        net = encoder((5,), (2, 3), num_tokens=4).eval()
        assert net(torch.ones(6, 7, 4, dtype=torch.int64)).shape == (6, 7, 2, 3)
        assert net(torch.full((2, 5), -1)).isfinite().all()

    def test_refuses_longer_sequences(self, encoder):
        with pytest.raises(ValueError, match=r"takes \(..., t\) with t up to 5, but got \(2, 6\)"):
            encoder((5,), (2, 3), num_tokens=4)(torch.ones(2, 6, dtype=torch.int64))


def vae(**options):
    likelihood = likelihood_of_tokens(RecurrentTokens, length=5, **options)
    encoder = partial(RecurrentEncoder, embedding_dim=4, units=6)
    return VAE((5,), 2, likelihood=likelihood, encoder=encoder, decoder=partial(MLP, hidden=()))


def words(num=16):
    """Sequences of 1 to 4 ones and twos, closed by 0."""
    x = torch.randint(1, 3, (num, 5))
    ends = torch.randint(1, 5, (num, 1))
    place = torch.arange(5)
    return torch.where(place < ends, x, torch.where(place == ends, 0, -1))


def test_a_network_is_given_the_number_of_tokens():
    assert vae().encoder.embedding.num_embeddings == 3


def test_the_step_of_a_recurrent_program_is_captured_bit_for_bit():
    # its batches, too, that are cut to their longest sequences
    _captured_like_eager(vae(word_dropout=0.3), Compile(mode="captured"), rel=0)


@pytest.mark.filterwarnings("ignore")  # of torch's compiler, about itself
def test_the_gradient_of_a_compiled_lstm_is_the_eager_one():
    _captured_like_eager(vae(), Compile(), rel=1e-5)


def _captured_like_eager(program, compile, rel):
    twin, x, runs = copy.deepcopy(program), words(), []
    for each, mode in ((program, False), (twin, compile)):
        sgd = pyro.optim.SGD({"lr": 0.01})
        svi = SVI(each.model, each.guide, sgd, Trace_ELBO(), compile=mode)
        pyro.set_rng_seed(1)
        runs.append([svi.step(x).item() for _ in range(6)])
    assert svi.mode == (compile.mode if rel else "captured")
    assert runs[1] == pytest.approx(runs[0], rel=rel)
    for one, other in zip(program.parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=rel, atol=rel / 10)


def test_the_evaluation_of_a_language_model_is_its_density():
    x, model = (
        words(),
        AutoregressiveModel((5,), likelihood=likelihood_of_tokens(RecurrentTokens, length=5)),
    )
    assert check(model, x)
    expected = model.likelihood(model.h).log_prob(x)
    torch.testing.assert_close(log_likelihood(model, x, num_particles=3), expected)
    torch.testing.assert_close(evaluate(model, x).bound, expected)


@pytest.mark.parametrize(
    "options, sentence",
    [
        ({"num_tokens": 0}, "num_tokens must be at least 1, but is 0"),
        ({"end": 3}, "end is 3, but the tokens are 0 to 2"),
        ({"context": ("z",)}, "context has 'z', but a RecurrentTokens knows 'state', 'inputs'"),
        ({"cell": "rnn"}, "cell is 'rnn', but must be 'lstm' or 'gru'"),
        ({"word_dropout": 1.5}, "word_dropout must be from 0 to 1, but is 1.5"),
        ({"x_shape": (1, 4)}, r"x_shape is \(1, 4\), but a RecurrentTokens is of sequences"),
    ],
)
def test_a_likelihood_that_cannot_be_is_refused(options, sentence):
    with pytest.raises(ValueError, match=sentence):
        RecurrentTokens(**{"x_shape": (4,), "num_tokens": 3} | options)


@pytest.mark.parametrize("pixel, values", [(Bernoulli, 2), (partial(Nominal, num_classes=3), 3)])
def test_an_image_is_drawn_pixel_by_pixel_as_often_as_its_density_says(pixel, values):
    likelihood = PixelCNNLikelihood((1, 2, 2), pixel=pixel, features=3, channels=4, layers=2)
    p, num = likelihood(2 * torch.randn(3, 2, 2)), 10_000
    images = torch.cartesian_prod(*[torch.arange(values)] * 4).float().view(-1, 1, 2, 2)
    probabilities = p.log_prob(images).exp().detach()
    assert abs(probabilities.sum() - 1) < 1e-5
    draws = p.sample((num,)).unsqueeze(1)
    found = (draws == images).flatten(2).all(-1).float().mean(0)
    error = (probabilities * (1 - probabilities) / num).sqrt()
    assert ((found - probabilities).abs() < 5 * error + 1e-6).all()
    mean = torch.stack([p.mean for _ in range(2000)]).mean(0)
    if values == 2:
        exact = (probabilities.view(-1, 1, 1, 1) * images).sum(0)
        torch.testing.assert_close(mean, exact, rtol=0, atol=0.05)
