"""What adversaries reach on digits, in minutes: PYRO_VAE_DATA=data pytest -m slow -s -k adversary.

The folder has `MNIST/raw`; without it these tests are skipped. PYRO_VAE_PICTURES names a folder for
the pictures.
"""

import os
from functools import partial
from pathlib import Path

import pyro
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from pyro_vae import plots
from pyro_vae.datasets import mnist
from pyro_vae.inference import (
    VAEGAN,
    TraceMeanField_ELBO,
    cosine,
    diversity,
    evaluate,
    fit,
    frechet_distance,
    sample,
    sharpness,
)
from pyro_vae.likelihoods import Normal
from pyro_vae.models import VAE
from pyro_vae.networks import ConvDecoder, ConvEncoder, Discriminator

DATA = Path(os.environ.get("PYRO_VAE_DATA", "data"))
PICTURES = os.environ.get("PYRO_VAE_PICTURES")
SHAPE, CHANNELS, EPOCHS, BATCH = (1, 28, 28), (32, 64), 10, 64

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not (DATA / "MNIST").is_dir(), reason="PYRO_VAE_DATA has no MNIST"),
    pytest.mark.filterwarnings("ignore"),  # of torch's compiler, about itself
]


def classifier(x, y, epochs=2):
    """A convolutional classifier of real digits; all but its last layer gives features."""
    torch.manual_seed(0)
    net = nn.Sequential(ConvEncoder(SHAPE, (64,), channels=CHANNELS), nn.ReLU(), nn.Linear(64, 10))
    optim = torch.optim.Adam(net.parameters(), 1e-3)
    for _ in range(epochs):
        for index in torch.randperm(len(x)).split(128):
            optim.zero_grad()
            F.cross_entropy(net(x[index]), y[index]).backward()
            optim.step()
    return net.eval()


def trained(data, loss, **options):
    pyro.set_rng_seed(0)
    encoder, decoder = (partial(net, channels=CHANNELS) for net in (ConvEncoder, ConvDecoder))
    likelihood = Normal(SHAPE, initial_scale=0.2)
    program = VAE(SHAPE, 32, likelihood=likelihood, encoder=encoder, decoder=decoder)
    steps = EPOCHS * (len(data.train) // BATCH)
    optim = pyro.optim.Adam({"lr": 1e-3})
    options |= {"epochs": EPOCHS, "batch_size": BATCH, "lr_schedule": cosine(1, 0.05, steps)}
    fit(program, data.train, optim=optim, loss=loss, **options)
    return program


def test_an_adversary_makes_samples_sharper_and_nearer_to_the_data_than_pixels_do():
    data = mnist(DATA, binarize=None)
    net, test = classifier(data.train.x, data.train.y), data.test.x[:5000]
    with torch.no_grad():
        right = (net(data.test.x).argmax(-1) == data.test.y).float().mean()
    print(f"classifier: {right:.4f} of the test digits right")
    losses = {
        "pixels": TraceMeanField_ELBO(),
        "VAEGAN": VAEGAN(discriminator=Discriminator(SHAPE, channels=CHANNELS)),
    }
    found, pictures = {}, {}
    for name, loss in losses.items():
        program = trained(data, loss)
        torch.manual_seed(0)
        drawn = sample(program, 5000, SHAPE)
        found[name] = sharpness(drawn).mean(), frechet_distance(drawn, test, features=net[:2])
        spread, bound = diversity(drawn[:2000]), evaluate(program, data.test.x).bound.mean()
        sharp, distance = found[name]
        print(f"{name}: {sharp:.4f} sharp, Frechet {distance:.1f}, {spread:.2f} apart, {bound:.1f}")
        pictures[name] = drawn[:64]
    real = sharpness(test).mean(), diversity(data.test.x[:2000])
    print(f"test digits: {real[0]:.4f} sharp, {real[1]:.2f} apart")
    if PICTURES is not None:
        for name, drawn in pictures.items():
            plots.grid(drawn).savefig(Path(PICTURES) / f"{name}.png")
    assert found["VAEGAN"][0] > found["pixels"][0]
    assert found["VAEGAN"][1] < found["pixels"][1]
