"""Latents in files, as features and on maps."""

import sys

import numpy as np
import pytest
import torch

from pyro_vae import load, plots
from pyro_vae.datasets import arrays, digits
from pyro_vae.inference import encode, linear_probe, nearest_neighbours, projected
from pyro_vae.inference.applications import latents
from pyro_vae.models import BayesianVAE, HierarchicalVAE

SMALL = {"hidden": (8,)}
Y = torch.arange(60) % 3
CLOUDS = torch.stack([10.0 * Y.cos(), 10.0 * Y.sin()], 1) + torch.randn(60, 2)
PROBES = [linear_probe, nearest_neighbours]


def test_latents_in_batches_are_those_of_encode():
    program, x = HierarchicalVAE((1, 8, 8), (3, 2), hidden=[(8,), (8,)]), digits(None).test.x[:20]
    torch.manual_seed(0)
    expected = encode(program, x)
    torch.manual_seed(0)
    found = latents(program, x)
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], expected[name]) for name in found)
    assert latents(program, x, batch_size=7)["z_1"].shape == expected["z_1"].shape


def test_latents_that_all_data_share_are_left_out():
    program = BayesianVAE((1, 8, 8), 2, num_data=5, **SMALL)
    assert [*latents(program, torch.zeros(5, 1, 8, 8))] == ["z"]


@pytest.mark.parametrize("probe", PROBES)
def test_classes_that_lie_apart_are_all_found(probe):
    assert probe(CLOUDS[:30], Y[:30], CLOUDS[30:], Y[30:]).mean() == 1


@pytest.mark.parametrize("probe", PROBES)
def test_noise_is_a_guess(probe):
    y = torch.arange(600) % 3
    right = probe(torch.randn(600, 4), y, torch.randn(600, 4), y)
    assert right.shape == (600,) and abs(right.mean() - 1 / 3) < 0.08  # four errors of 0.02


@pytest.mark.parametrize("probe", PROBES)
def test_data_without_a_class_are_left_out(probe):
    y = torch.where(torch.arange(60) % 2 == 0, Y, -1)
    assert probe(CLOUDS, y, CLOUDS, y).shape == (30,)


@pytest.mark.parametrize("probe", PROBES)
def test_the_units_of_features_do_not_matter(probe):
    units = torch.tensor([1e-3, 1e4])
    one = probe(CLOUDS[:30], Y[:30], CLOUDS[30:], Y[30:])
    assert torch.equal(probe(CLOUDS[:30] * units, Y[:30], CLOUDS[30:] * units, Y[30:]), one)


@pytest.mark.parametrize("probe", PROBES)
def test_one_class_alone_is_refused(probe):
    with pytest.raises(ValueError, match="60 training data with a label are of 1; give data of"):
        probe(CLOUDS, torch.ones_like(Y), CLOUDS, Y)


def test_labels_that_are_no_classes_are_refused():
    with pytest.raises(ValueError, match=r"labels \(60,\) torch.float32, but expected"):
        linear_probe(CLOUDS, Y.float(), CLOUDS, Y)


def test_the_plane_of_most_variance_keeps_the_distances_in_it():
    plane = torch.linalg.qr(torch.randn(5, 2)).Q
    z = torch.randn(40, 2) @ plane.T
    distances = torch.pdist(projected(z))
    torch.testing.assert_close(distances, torch.pdist(z), rtol=1e-4, atol=1e-4)


def test_neighbours_stay_together_on_a_map():
    points = projected(CLOUDS, kind="tsne")
    assert nearest_neighbours(points, Y, points, Y).mean() > 0.95


@pytest.mark.parametrize(
    "z, kind, sentence",
    [
        (CLOUDS, "lda", "kind must be one of 'pca', 'tsne', 'umap', but is 'lda'"),
        (CLOUDS[:2], "pca", "a map takes three data or more, but there are 2"),
        (CLOUDS, "umap", "pip install umap-learn"),
    ],
)
def test_maps_that_cannot_be_drawn_are_refused(z, kind, sentence, monkeypatch):
    monkeypatch.setitem(sys.modules, "umap", None)
    with pytest.raises(ValueError, match=sentence):
        projected(z, kind=kind)


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 8, 8), (5,)], ids=["grey", "colour", "table"])
def test_a_map_shows_no_picture_upon_another(shape):
    figure = plots.picture_map(CLOUDS, torch.rand(60, *shape), Y, title="a map")
    extents = [image.get_extent() for image in figure.axes[0].images]
    assert 10 < len(extents) <= 60
    for i, (left, right, low, high) in enumerate(extents):
        for other in extents[:i]:
            beside = right <= other[0] or other[1] <= left
            assert beside or high <= other[2] or other[3] <= low


def test_a_map_needs_a_point_for_each_datum():
    with pytest.raises(ValueError, match="there are 60 points, but 3 data"):
        plots.picture_map(CLOUDS, torch.rand(3, 1, 8, 8))


def test_the_command_writes_latents_labels_and_ids(trained, tmp_path):
    code, out, err = trained("encode", "a", "--out", "z.npz", "--limit", 40)
    assert code == 0 and "z.npz" in out, err
    found, test = np.load(tmp_path / "z.npz"), digits().test
    expected = encode(load("a"), test.x[:40])["z"]
    torch.testing.assert_close(torch.from_numpy(found["z"]), expected)
    assert np.array_equal(found["y"], test.y[:40]) and np.array_equal(found["ids"], np.arange(40))
    again = arrays(tmp_path / "z.npz", x="z")
    assert again.x_shape == (2,) and again.num_classes == 10


def test_the_command_prints_probes_beside_those_of_the_data(trained, tmp_path):
    code, out, err = trained("encode", "a", "--probe", "--map", "pca")
    assert code == 0, err
    numbers = [word for word in out.split() if word.startswith(("0.", "1."))]
    assert len(numbers) == 8 and float(numbers[2]) > 0.8  # of pixels, by logistic regression
    assert (tmp_path / "a" / "map.png").stat().st_size > 1000


def test_the_command_refuses_probes_without_labels(trained, tmp_path):
    np.save(tmp_path / "x.npy", (np.random.rand(60, 1, 8, 8) > 0.5).astype(np.float32))
    code, _, err = trained("encode", "a", "--probe", "--data", "arrays('x.npy')")
    assert code == 2 and "the data have no labels; leave it out" in err
