"""What judges and samples programs refuses what is no data, no number and no estimator."""

import numpy as np
import pytest
import torch

from pyro_vae import check
from pyro_vae.inference import (
    IWAE,
    Trace_ELBO,
    compare,
    decode,
    encode,
    evaluate,
    log_likelihood,
    reconstruct,
    sample,
)
from pyro_vae.inference.evaluation import discrete_latents
from pyro_vae.models import VAE, ConditionalVAE

X = torch.zeros(3, 4)
PROGRAM = VAE((4,), latent_dim=2)


def compared(program, x):
    return compare(program, x, [Trace_ELBO()], progress=False, repeats=2)


READERS = [evaluate, log_likelihood, encode, reconstruct, check, compared, discrete_latents]


@pytest.mark.parametrize("read", READERS)
def test_no_data_are_refused(read):
    with pytest.raises(ValueError, match=r"there are no data: x has shape \(0, 4\)"):
        read(PROGRAM, torch.zeros(0, 4))


@pytest.mark.parametrize("read", READERS)
def test_arrays_are_refused(read):
    with pytest.raises(TypeError, match=r"x is of type ndarray; give torch.as_tensor\(x\)"):
        read(PROGRAM, np.zeros((3, 4)))


@pytest.mark.parametrize("read", [evaluate, encode, reconstruct, check])
def test_labels_for_other_data_are_refused(read):
    with pytest.raises(ValueError, match=r"there are 3 data, but labels of shape \(2,\)"):
        read(ConditionalVAE((4,), 2, num_classes=3), X, y=torch.zeros(2, dtype=torch.long))


@pytest.mark.parametrize(
    "judge, options",
    [
        (evaluate, {"num_particles": 0}),
        (evaluate, {"batch_size": 0}),
        (log_likelihood, {"num_particles": 2.5}),
        (log_likelihood, {"max_rows": 0}),
    ],
)
def test_numbers_that_are_no_counts_are_refused(judge, options):
    (name,) = options
    with pytest.raises(ValueError, match=f"{name} must be a whole number of at least 1"):
        judge(PROGRAM, X, **options)


def test_no_samples_are_refused():
    with pytest.raises(ValueError, match="num_samples must be at least 1, but is 0"):
        sample(PROGRAM, 0, (4,))


def test_labels_for_a_program_without_them_are_refused():
    with pytest.raises(ValueError, match=r"^the program is model\(x\), so it takes no labels y$"):
        sample(PROGRAM, 3, (4,), y=torch.zeros(3))


def test_latents_for_another_number_of_samples_are_refused():
    with pytest.raises(ValueError, match=r"fails on 3 data.*3 vs 5; shape, dtype, labels and lat"):
        decode(PROGRAM, {"z": torch.zeros(5, 2)}, 3, (4,))


def test_data_of_another_shape_are_one_sentence():
    for judge in (evaluate, lambda program, x: compare(program, x, [IWAE()])):
        with pytest.raises(ValueError, match=r"on data of shape \(3, 5\): this MLP") as caught:
            judge(PROGRAM, torch.zeros(3, 5))
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "estimators, sentence",
    [
        (IWAE(), r"compare takes several estimators, such as \[IWAE"),
        ("IWAE", r"compare takes several estimators"),
        ([IWAE], r"IWAE is a class; write IWAE\(\)"),
        (["IWAE"], r"but one is 'IWAE'"),
        ({"A": lambda model, guide, x: 0.0}, r"but one is <function"),
    ],
)
def test_what_is_no_estimator_is_refused(estimators, sentence):
    with pytest.raises(TypeError, match=sentence):
        compare(PROGRAM, X, estimators, progress=False)
