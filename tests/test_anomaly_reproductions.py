"""How well digits are told from others: PYRO_VAE_DATA=data pytest -m slow -s -k anomaly.

The folder has `MNIST/raw`; PYRO_VAE_DIGITS=19 takes these digits alone. A program is trained for
each digit: on all others, or on it alone. Which score is best, over all digits, is chosen by
validation data; test data are what is reported.

Published, the mean AUROC over the ten digits: trained on the nine others, a small convolutional VAE
0.762 (AstridLancrey/AbnormalMNISTdigitDetection); trained on one, a VAE 0.969, kernel densities
0.814, a one-class SVM 0.951, an autoencoder 0.877, and LSA, the best, 0.975 (Abati et al., 2019,
https://arxiv.org/abs/1807.01653).
"""

import os
from dataclasses import replace
from functools import cache
from pathlib import Path

import pyro
import pytest
from torch import nn

from pyro_vae.batches import first
from pyro_vae.datasets import mnist, only_labels, without_labels
from pyro_vae.inference import Trace_ELBO, anomaly_scores, cosine, fit, likelihood_regret, roc
from pyro_vae.models import VAE

DATA = Path(os.environ.get("PYRO_VAE_DATA", "data"))
DIGITS = [int(digit) for digit in os.environ.get("PYRO_VAE_DIGITS", "0123456789")]
KINDS = ("log_likelihood", "rate", "typicality", "complexity", "variation", "regret")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore"),  # of torch's compiler, about itself
    pytest.mark.skipif(not (DATA / "MNIST").is_dir(), reason="PYRO_VAE_DATA has no MNIST"),
]


@cache
def digits():
    return mnist(DATA, binarize="threshold")


def trained(data, steps):
    pyro.set_rng_seed(0)
    program = VAE(
        data.x_shape,
        8,
        hidden=(256,),
        activation=nn.ReLU,
        likelihood=data.likelihood(data.x_shape),
    )
    fit(
        program,
        data.train,
        steps=steps,
        batch_size=128,
        loss=Trace_ELBO(),
        optim=pyro.optim.Adam({"lr": 2e-3}),
        lr_schedule=cosine(1, 0.05, steps),
        progress=False,
    )
    return program


def scored(program, data, kind, judged):
    if kind == "regret":
        return likelihood_regret(program, judged, steps=100, lr=0.1, num_particles=5)
    train = first(data.train, 1_000)
    return anomaly_scores(program, judged, kind=kind, train=train, num_particles=20)


def areas(programs, kind, judged, *, alone):
    """The AUROC of each digit."""
    found = {}
    for digit, (program, data) in programs.items():
        is_anomaly = (judged.y != digit) if alone else (judged.y == digit)
        scores = scored(program, data, kind, replace(judged, y=None))
        found[digit] = roc(scores, is_anomaly).auroc
    return found


def chosen_and_reported(choose, steps, *, alone):
    """The mean test AUROC of the score with the best one on validation data, all printed."""
    data = {digit: choose(digits(), digit) for digit in DIGITS}
    programs = {digit: (trained(found, steps), found) for digit, found in data.items()}
    valid = first(digits().valid, 1_500)
    means = {}
    for kind in KINDS:
        by_digit = areas(programs, kind, valid, alone=alone)
        means[kind] = sum(by_digit.values()) / len(by_digit)
        print(f"validation, {kind}: {means[kind]:.3f};", _listed(by_digit))
    kind = max(means, key=means.__getitem__)
    by_digit = areas(programs, kind, digits().test, alone=alone)
    mean = sum(by_digit.values()) / len(by_digit)
    print(f"test, {kind}: {mean:.4f};", _listed(by_digit))
    return mean


def _listed(by_digit):
    return ", ".join(f"{digit}: {area:.3f}" for digit, area in by_digit.items())


def test_a_digit_that_was_left_out_is_an_anomaly():
    assert chosen_and_reported(without_labels, 2_000, alone=False) > 0.80


def test_digits_other_than_the_one_that_was_learned_are_anomalies():
    assert chosen_and_reported(only_labels, 1_000, alone=True) > 0.969
