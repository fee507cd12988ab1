"""Whether generated digits help a classifier: PYRO_VAE_DATA=data pytest -m slow -s -k augmentation.

The folder has `MNIST/raw`. A program and a classifier learn from the same few labelled digits,
drawn five times; the classifier learns without and with what the program makes. Size and steps of
the program are those that did best on validation data, of the first draw.
"""

import os
from dataclasses import replace
from functools import cache
from pathlib import Path

import pyro
import pytest
import torch
from sklearn.neural_network import MLPClassifier

from pyro_vae.batches import first
from pyro_vae.datasets import Split, mnist
from pyro_vae.inference import TraceMeanField_ELBO, augment, cosine, fit, mean_and_error
from pyro_vae.likelihoods import Bernoulli
from pyro_vae.models import ConditionalVAE
from pyro_vae.posteriors import DiagonalNormal

DATA = Path(os.environ.get("PYRO_VAE_DATA", "data"))
DRAWS, TESTED, STEPS = 5, 10_000, 4_000

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore"),  # of torch's compiler, about itself
    pytest.mark.skipif(not (DATA / "MNIST").is_dir(), reason="PYRO_VAE_DATA has no MNIST"),
]


@cache
def digits():
    return mnist(DATA, binarize=None)


def labelled(size, seed):
    """As many of each class, by a draw of its own."""
    train = digits().train
    order = torch.randperm(len(train), generator=torch.Generator().manual_seed(seed))
    rows = torch.cat([order[train.y[order] == y][: size // 10] for y in range(10)])
    return Split(train.x[rows], train.y[rows], draw=torch.bernoulli)


def conditional(few):
    """A program of p(x given y) that knows these digits alone."""
    program = ConditionalVAE(
        (1, 28, 28),
        5,
        hidden=(256,),
        prior=DiagonalNormal(5),  # p(z given y)
        likelihood=Bernoulli((1, 28, 28), few.x.mean(0)),
    )
    fit(
        program,
        few,
        steps=STEPS,
        batch_size=50,
        loss=TraceMeanField_ELBO(),
        optim=pyro.optim.Adam({"lr": 2e-3}),
        lr_schedule=cosine(1, 0.02, STEPS),
        progress=False,
    )
    return program


def accuracy(train, seed):
    """Of a classifier of one hidden layer, on test digits."""
    test = first(digits().test, TESTED)
    classifier = MLPClassifier((128,), alpha=1e-3, max_iter=300, random_state=seed)
    classifier.fit(train.x.flatten(1).numpy(), train.y.numpy())
    return classifier.score(test.x.flatten(1).numpy(), test.y.numpy())


@pytest.mark.parametrize("size", [100, 500])
def test_a_classifier_of_few_digits_with_and_without_augmentation(size):
    kinds = ("near", "prior", "between")
    found = {name: [] for name in ("without", *kinds)}
    for seed in range(DRAWS):
        pyro.set_rng_seed(seed)
        few = labelled(size, seed)
        found["without"].append(accuracy(few, seed))
        program = conditional(few)
        for kind in kinds:
            more = augment(program, few, 2 * size, kind=kind)
            both = replace(few, x=torch.cat([few.x, more.x]), y=torch.cat([few.y, more.y]))
            found[kind].append(accuracy(both, seed))
    accuracies = {name: torch.tensor(values) for name, values in found.items()}
    for name, values in accuracies.items():
        mean, error = mean_and_error(values)
        gain, of_gain = mean_and_error(values - accuracies["without"])
        print(f"{size} digits, {name}: {mean:.4f} ± {error:.4f}, gain {gain:+.4f} ± {of_gain:.4f}")
    assert accuracies["without"].mean() > (0.65 if size == 100 else 0.85)  # the classifier learns
