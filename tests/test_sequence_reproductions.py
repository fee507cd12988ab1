"""What sequences reach, up to half an hour each: PYRO_VAE_DATA=data pytest -m slow -s -k sequence.

The King James Bible comes from its package; molecules need `zinc` in the folder. The commands of
the pages on collapse and on molecules are the same trainings.
"""

import math
import os
from functools import partial
from pathlib import Path

import pyro
import pytest

from pyro_vae.datasets import kjv, zinc
from pyro_vae.inference import (
    Aggressive,
    Trace_ELBO,
    TraceMeanField_ELBO,
    cosine,
    cyclical,
    evaluate,
    fit,
    linear,
    log_likelihood,
    sample,
)
from pyro_vae.likelihoods import RecurrentTokens
from pyro_vae.models import VAE, AutoregressiveModel
from pyro_vae.molecules import NOTATIONS, uniqueness, valid_share
from pyro_vae.networks import MLP, RecurrentEncoder
from pyro_vae.posteriors import BatchNormNormal

DATA = Path(os.environ.get("PYRO_VAE_DATA", "data"))

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]

CURES = {
    "annealing": {"loss": Trace_ELBO(beta=linear(0, 1, 2_500))},
    "cyclical annealing": {"loss": Trace_ELBO(beta=cyclical(0, 1, 944))},
    "free bits": {"loss": TraceMeanField_ELBO(free_bits_per_dimension=0.2)},
    "word dropout": {"word_dropout": 0.4},
    "batch-normalized means": {"posterior": partial(BatchNormNormal, 32, gamma=0.6)},
    "aggressive": {"guide_steps": Aggressive(max_steps=6, check_every=3)},
}


@pytest.fixture(scope="module")
def bible():
    return kjv(max_words=3_000, max_length=40)


@pytest.fixture(scope="module")
def language_model(bible):
    """Its mean log p(x) of the first 300 test clauses."""
    program = AutoregressiveModel(bible.x_shape, likelihood=tokens(bible))
    trained(program, bible)
    return log_likelihood(program, bible.test.x[:300], 1).mean().item()


def tokens(data, units=128, **options):
    size = {"num_tokens": data.num_tokens, "embedding_dim": 64}
    return RecurrentTokens(data.x_shape, units=units, **size, **options)


def program_of(data, latent_dim, *, units=128, posterior=None, **options):
    encoder = partial(RecurrentEncoder, units=128, num_tokens=data.num_tokens, embedding_dim=64)
    return VAE(
        data.x_shape,
        latent_dim=latent_dim,
        posterior=posterior and posterior(),
        likelihood=tokens(data, units, **options),
        encoder=encoder,
        decoder=partial(MLP, hidden=()),
    )


def trained(program, data, *, epochs=6, batch_size=64, **options):
    pyro.set_rng_seed(0)
    schedule = cosine(1, 0.05, epochs * math.ceil(len(data.train) / batch_size))
    options |= {"epochs": epochs, "batch_size": batch_size, "lr_schedule": schedule}
    optim = pyro.optim.Adam({"lr": 2e-3})
    fit(program, data.train, valid=data.valid, optim=optim, **options)
    return program


def judged(program, data):
    """The rate, the active units and the mean log p(x), K = 500, of the first 300 test clauses."""
    found = evaluate(program, data.test.x)
    rate, units = found.rate.mean().item(), found.active_units["z"].active
    log_px = log_likelihood(program, data.test.x[:300], 500).mean().item()
    print(f"rate {rate:.2f}, {found.information['z']}, {units} active, log p(x) {log_px:.2f}")
    return rate, units, log_px


def test_without_a_cure_a_sequence_model_ignores_its_latents(bible):
    pyro.set_rng_seed(0)
    rate, units, _ = judged(trained(program_of(bible, 32), bible), bible)
    assert rate < 0.5 and units == 0


@pytest.mark.parametrize("name", CURES)
def test_two_cures_keep_a_sequence_models_latents_and_its_likelihood(name, bible, language_model):
    """Of the others, whose rates are printed, nothing is claimed."""
    options = CURES[name]
    parts = {key: options[key] for key in ("posterior", "word_dropout") if key in options}
    training = {key: options[key] for key in ("loss", "guide_steps") if key in options}
    pyro.set_rng_seed(0)
    program = program_of(bible, 32, **parts)
    trained(program, bible, recompute_batch_statistics="posterior" in options, **training)
    rate, units, log_px = judged(program, bible)
    print(f"{name}: the language model has {language_model:.2f}")
    if name in ("free bits", "batch-normalized means"):
        assert rate > 3 and units >= 5 and log_px > 1.01 * language_model


@pytest.mark.skipif(not (DATA / "zinc").is_dir(), reason="PYRO_VAE_DATA has no zinc")
@pytest.mark.parametrize(
    ("notation", "epochs", "warm_up", "fewest_valid"),
    [("smiles", 2, 1_500, 0.7), ("selfies", 1, 800, 1.0)],
)
def test_a_sequence_model_of_molecules_draws_valid_and_different_ones(
    notation, epochs, warm_up, fewest_valid
):
    """The likeliest token each, of z's that the prior draws."""
    data = zinc(DATA, tokens=notation)
    pyro.set_rng_seed(0)
    program = program_of(data, 64, units=256, context_dim=64)
    loss = Trace_ELBO(beta=linear(0, 0.3, warm_up))
    trained(program, data, epochs=epochs, batch_size=128, loss=loss)
    x = sample(program, 1000, data.x_shape)
    smiles = [NOTATIONS[notation].smiles(text) for text in data.vocabulary.texts(x)]
    print(f"{valid_share(smiles):.1%} valid, {uniqueness(smiles, 1000):.1%} different")
    assert valid_share(smiles) >= fewest_valid and uniqueness(smiles, 1000) >= 0.99
