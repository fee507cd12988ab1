"""What codes reach on images, in minutes each: PYRO_VAE_DATA=data pytest -m slow -s -k codes.

The folder has `MNIST/raw` and `cifar10_subset`; tests whose data are missing are skipped.
"""

import math
import os
from pathlib import Path

import pyro
import pytest
import torch
import torch.nn.functional as F

from pyro_vae.datasets import mnist
from pyro_vae.inference import Trace_ELBO, cosine, evaluate, fit, sample
from pyro_vae.models import VQVAE, Refit
from pyro_vae.networks import ConvEncoder
from pyro_vae.posteriors import FSQ
from pyro_vae.priors import TransformerPrior

DATA = Path(os.environ.get("PYRO_VAE_DATA", "data"))

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore"),  # of torch's compiler, about itself
]


def needs(folder):
    return pytest.mark.skipif(not (DATA / folder).is_dir(), reason=f"PYRO_VAE_DATA has no {folder}")


def trained(program, data, epochs, *, lr=1e-3, loss=None, batch_size=128):
    steps = epochs * math.ceil(len(data.train) / batch_size)
    fit(
        program,
        data.train,
        valid=data.valid,
        epochs=epochs,
        batch_size=batch_size,
        optim=pyro.optim.Adam({"lr": lr}),
        lr_schedule=cosine(1, 0.02, steps),
        loss=Trace_ELBO() if loss is None else loss,
        clip_norm=100.0,
    )
    return program


def report(name, evaluation, size=None):
    rate, distortion = evaluation.rate.mean().item(), evaluation.distortion.mean().item()
    bits = "" if size is None else f", {(rate + distortion) / size / math.log(2):.3f} bits per dim"
    print(f"{name}: bound {-rate - distortion:.2f}, rate {rate:.2f}{bits}")
    return rate, rate + distortion


def confidence(x, y, samples):
    """The mean largest probability that a classifier of real digits gives to samples."""
    torch.manual_seed(0)
    classifier = ConvEncoder((1, 28, 28), (10,), channels=(32, 64), batch_norm=False)
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
    vqvae = VQVAE((1, 28, 28), posterior=FSQ((4, 4)), channels=(32, 64))
    trained(vqvae, data, 10)
    uniform = evaluate(vqvae, data.test.x)
    refit = trained(Refit(vqvae, prior=TransformerPrior()), data, 15)
    learned = evaluate(refit, data.test.x)
    _, before = report("uniform prior", uniform)
    _, after = report("learned prior", learned)
    assert after < before
    train, test = data.train, data.test
    digits = sample(refit, 500, (1, 28, 28), mean=False)
    real, drawn = confidence(train.x, train.y, [test.x[:5000], digits])
    print(f"largest probability of a class: {real:.4f} for test digits, {drawn:.4f} for samples")
    assert drawn >= 0.9 * real
