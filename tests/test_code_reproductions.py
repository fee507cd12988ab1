"""What codes reach on pictures, in minutes each: PYRO_VAE_DATA=data pytest -m slow -s -k codes.

The folder has `cifar10_subset` and `MNIST/raw`; tests whose data are missing are skipped.
"""

import math
import os
from functools import partial
from pathlib import Path

import pyro
import pytest
import torch
import torch.nn.functional as F

from pyro_vae.datasets import cifar10, mnist
from pyro_vae.inference import Trace_ELBO, cosine, evaluate, fit, sample
from pyro_vae.inference.evaluation import code_usage
from pyro_vae.likelihoods import DiscretizedLogistic
from pyro_vae.models import VAE, VQVAE, Refit
from pyro_vae.networks import ConvEncoder, ResidualDecoder, ResidualEncoder
from pyro_vae.posteriors import FSQ, NearestCode
from pyro_vae.priors import TransformerPrior

DATA = Path(os.environ.get("PYRO_VAE_DATA", "data"))
PHOTOGRAPHS, DIGITS = (3, 32, 32), (1, 28, 28)

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore"),  # of torch's compiler, about itself
]


def needs(folder):
    return pytest.mark.skipif(not (DATA / folder).is_dir(), reason=f"PYRO_VAE_DATA has no {folder}")


def trained(program, data, epochs, *, lr=2e-3, loss=None, **options):
    steps = epochs * math.ceil(len(data.train) / 128)
    options |= {"lr_schedule": cosine(1, 0.02, steps), "loss": loss or Trace_ELBO()}
    optim = pyro.optim.Adam({"lr": lr})
    fit(program, data.train, epochs=epochs, batch_size=128, optim=optim, **options)
    return program


def report(name, program, x):
    """Prints the mean rate and bound of data, in nats and in bits per dimension; returns both."""
    found = evaluate(program, x)
    rate, bound = found.rate.mean().item(), found.bound.mean().item()
    bits = -bound / x[0].numel() / math.log(2)
    print(f"{name}: bound {bound:.2f}, rate {rate:.2f} nats, {bits:.3f} bits per dimension")
    return rate, bits


@needs("cifar10_subset")
def test_codes_of_photographs_are_near_a_vae_and_their_prior_takes_a_tenth_off_the_rate():
    """The paper has 4.67 bits for a VQ-VAE and 4.51 for a VAE, on all of CIFAR-10."""
    data = cifar10(DATA)
    x, likelihood = data.test.x, DiscretizedLogistic(PHOTOGRAPHS)

    def vqvae(**settings):
        pyro.set_rng_seed(0)
        posterior = NearestCode(512, 32, **settings)
        program = VQVAE(PHOTOGRAPHS, likelihood=likelihood, posterior=posterior, channels=(16, 32))
        return trained(program, data, 30, loss=Trace_ELBO(factors={"commitment": 0.25}))

    pyro.set_rng_seed(0)
    encoder, decoder = (
        partial(net, channels=(16, 32)) for net in (ResidualEncoder, ResidualDecoder)
    )
    parts = {"likelihood": likelihood, "encoder": encoder, "decoder": decoder}
    _, of_vae = report("VAE", trained(VAE(PHOTOGRAPHS, (8, 8, 8), **parts), data, 30), x)
    first = vqvae()
    used = code_usage(first, x)["z"]
    rate, of_codes = report("VQ-VAE", first, x)
    print(f"  {used}")
    program = Refit(first, prior=TransformerPrior(width=64, layers=2, dropout=0.1))
    learned, _ = report("  with a learned prior", trained(program, data, 30), x)
    plain = vqvae(restart_below=0, decay=None)
    report("VQ-VAE, codes by gradient, no restarts", plain, x)
    print(f"  {code_usage(plain, x)['z']}")
    assert abs(of_codes - of_vae) < 0.2
    assert learned < 0.9 * rate
    assert used.used >= 0.8 * 512


def confidence(x, y, samples):
    """The mean largest probability that a classifier of real digits gives to each of samples."""
    torch.manual_seed(0)
    classifier = ConvEncoder(DIGITS, (10,), channels=(32, 64), batch_norm=False)
    optim = torch.optim.Adam(classifier.parameters(), 1e-3)
    for _ in range(3):
        for index in torch.randperm(len(x)).split(128):
            optim.zero_grad()
            F.cross_entropy(classifier(x[index]), y[index]).backward()
            optim.step()
    with torch.no_grad():
        return [classifier(s).softmax(-1).amax(-1).mean().item() for s in samples]


@needs("MNIST")
def test_codes_of_digits_have_a_prior_whose_samples_are_digits():
    data = mnist(DATA, binarize="static")
    pyro.set_rng_seed(0)
    vqvae = VQVAE(DIGITS, posterior=FSQ((4, 4)), channels=(32, 64))
    _, uniform = report("uniform prior", trained(vqvae, data, 10, bfloat16=True), data.test.x)
    program = Refit(vqvae, prior=TransformerPrior(width=64, layers=4))
    _, learned = report("learned prior", trained(program, data, 12, bfloat16=True), data.test.x)
    cold, warm = (sample(program, 1000, DIGITS, mean=False, temperature=t) for t in (0.9, 1.0))
    found = confidence(data.train.x, data.train.y, [data.test.x, cold, warm])
    print("largest probability of a class, of test digits and of samples at temperature 0.9 and 1:")
    print(*(f"{value:.4f}" for value in found))
    assert learned < uniform
    assert found[1] >= 0.9 * found[0]
