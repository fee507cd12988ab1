"""Sharpness, Frechet distance and diversity, against closed forms."""

import math

import numpy as np
import pytest
import torch
from scipy import linalg
from torch import nn

from pyro_vae.inference import diversity, frechet_distance, peak_snr, sharpness


def test_an_image_that_is_a_plane_has_no_laplacian():
    rows, columns = torch.meshgrid(torch.arange(6.0), torch.arange(5.0), indexing="ij")
    assert sharpness((2 * rows - columns)[None, None]).tolist() == [0.0]


def test_the_laplacian_of_one_white_pixel():
    """-4 at the pixel, 1 at its four neighbours, 0 at the 20 others: mean 0, variance 20 / 25."""
    image = torch.zeros(1, 1, 7, 7)
    image[..., 3, 3] = 1.0
    assert sharpness(image).item() == pytest.approx(20 / 25)


def test_noise_of_variance_1_has_sharpness_20_and_a_mean_of_neighbours_less():
    noise = torch.randn(4, 3, 200, 200, generator=torch.Generator().manual_seed(0))
    # the variance of 120,000 values of variance 20, correlated over a few neighbours
    assert sharpness(noise).tolist() == pytest.approx([20.0] * 4, rel=0.03)
    blurred = nn.functional.avg_pool2d(noise, 3, stride=1)
    assert sharpness(blurred).max() < 20 / 9


def test_the_distance_of_two_samples_is_that_of_their_means_and_covariances_by_scipy():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(200, 5)) @ rng.normal(size=(5, 5)) + rng.normal(size=5)
    y = rng.normal(size=(300, 5)) @ rng.normal(size=(5, 5))
    one, other = np.cov(x.T), np.cov(y.T)
    root = linalg.sqrtm(one @ other).real
    expected = ((x.mean(0) - y.mean(0)) ** 2).sum() + np.trace(one + other - 2 * root)
    found = frechet_distance(torch.tensor(x), torch.tensor(y))
    assert found == pytest.approx(expected, rel=1e-8)


def test_the_distance_of_two_normals_with_commuting_covariances():
    """|m_1 - m_2|^2 + sum_j (s_1j - s_2j)^2; the error of a mean is 1 / sqrt(N)."""
    generator = torch.Generator().manual_seed(0)
    x, y = (torch.randn(200_000, 2, generator=generator) for _ in range(2))
    scales = torch.tensor([1.0, 3.0]), torch.tensor([2.0, 0.5])
    found = frechet_distance(x * scales[0] + 1.0, y * scales[1])
    assert found == pytest.approx(2.0 + 1.0 + 2.5**2, rel=0.01)


def test_a_sample_is_at_no_distance_from_itself_though_its_covariance_is_singular():
    x = torch.randn(10, 1, 6, 6, generator=torch.Generator().manual_seed(0))
    assert frechet_distance(x, x) == pytest.approx(0.0, abs=1e-6)


def test_the_features_are_a_networks_in_evaluation_mode():
    network = nn.Sequential(nn.Flatten(), nn.Linear(4, 3), nn.BatchNorm1d(3), nn.Dropout(0.5))
    x, y = torch.randn(2, 50, 1, 2, 2, generator=torch.Generator().manual_seed(0))
    found = frechet_distance(x, y, network)
    assert network.training and network[3].training and network[2].num_batches_tracked == 0
    network.eval()
    assert found == pytest.approx(frechet_distance(network(x).detach(), network(y).detach()))
    assert diversity(x, network) == pytest.approx(diversity(network(x).detach()), rel=1e-6)


def test_identical_images_have_no_diversity():
    assert diversity(torch.rand(1, 1, 8, 8).expand(600, 1, 8, 8)) == 0.0


def test_the_diversity_of_points_on_a_line():
    """0, 1, 3, 7: the nearest others are at 1, 1, 2 and 4."""
    x = torch.tensor([0.0, 1.0, 3.0, 7.0]).reshape(4, 1, 1, 1)
    assert diversity(x) == pytest.approx(2.0)


def test_pairs_of_copies_have_none_either_though_the_pairs_differ():
    x = torch.rand(700, 4, generator=torch.Generator().manual_seed(0))
    assert diversity(x.repeat(2, 1)) == 0.0 and diversity(x) > 0.01


@pytest.mark.parametrize(
    ("run", "sentence"),
    [
        (lambda: sharpness(torch.zeros(5, 1, 2, 8)), r"at least 3 x 3 pixels, .* \(5, 1, 2, 8\)"),
        (lambda: diversity(torch.zeros(1, 4)), r"diversity is of two images or more, .* \(1, 4\)"),
        (lambda: frechet_distance(torch.zeros(5), torch.zeros(5)), "frechet_distance is of two"),
        (
            lambda: diversity(torch.zeros(6, 4), lambda x: x.reshape(2, -1)),
            "2 rows for 6 images, but must be a row for each",
        ),
    ],
)
def test_what_is_no_set_of_images_is_refused(run, sentence):
    with pytest.raises(ValueError, match=sentence):
        run()


def test_the_distance_is_symmetric():
    x, y = torch.randn(2, 40, 3, generator=torch.Generator().manual_seed(0))
    assert math.isclose(frechet_distance(x, y), frechet_distance(y, x), rel_tol=1e-9)


def test_an_error_of_a_tenth_everywhere_is_20_decibels_below_the_peak_and_half_of_it_6_more():
    x = torch.rand(3, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    assert peak_snr(x, x + 0.1).tolist() == pytest.approx([20.0] * 3, abs=1e-4)
    halves = torch.tensor([0.05, 0.025, 0.0])[:, None, None, None]
    expected = [20 + 20 * math.log10(2), 20 + 40 * math.log10(2), math.inf]
    assert peak_snr(x, x + halves).tolist() == pytest.approx(expected, abs=1e-3)


def test_the_ratio_is_the_same_for_images_of_other_levels():
    x, y = torch.rand(2, 3, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(peak_snr(255 * x, 255 * y, peak=255), peak_snr(x, y), atol=1e-4)


def test_pairs_of_two_shapes_have_no_ratio():
    with pytest.raises(ValueError, match=r"\(2, 1, 4, 4\) and \(1, 4, 4\)"):
        peak_snr(torch.zeros(2, 1, 4, 4), torch.zeros(1, 4, 4))
