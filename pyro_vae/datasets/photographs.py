"""Photographs from files that you have put there: CIFAR-10, and two sets of faces."""

import os
from functools import partial
from pathlib import Path

import numpy as np

from pyro_vae.likelihoods import Normal

from .archives import named, read_arrays
from .conversion import cut, hold_out, to_split
from .dataset import Dataset
from .reading import Array, reading, required

__all__ = ["FINE_NORMAL", "cifar10", "frey_faces", "lfw_faces"]


# On 9,000 images of CIFAR-10, 700 steps of Adam lead from a scale of 0.1 to a bound of 1,666 nats,
# but from 1 only to -855. (`DiscretizedLogistic`, a scale for each pixel and a decoder of twice the
# size, leads to 2,091.)
FINE_NORMAL = partial(Normal, initial_scale=0.1)


def cifar10(data_dir: str | os.PathLike[str] = "data") -> Dataset:
    """Small colour photographs of 10 kinds of things: x is (3, 32, 32), from 0 to 1, y is 0 to 9.

    The 50,000 training images lend a fixed tenth for validation; 10,000 are for testing. Numbers on
    a subset cannot be compared with those on all.

    Args:
        data_dir: Has the binary version of the source, `cifar-10-batches-bin/*.bin`, or else a
            subset, `cifar10_subset/cifar10_subset.npz`: uint8 x_train, x_test (N, 32, 32, 3) and
            y_train, y_test (N,). The version for Python is pickled, and never read.

    Raises:
        FileNotFoundError: If neither is there.
        ValueError: If a file is damaged.

    Reference:
        Krizhevsky, 2009, https://www.cs.toronto.edu/~kriz/cifar.html
    """
    full = Path(data_dir) / "cifar-10-batches-bin"
    subset = Path(data_dir) / "cifar10_subset" / "cifar10_subset.npz"
    if os.path.exists(full):
        y, x = _records([full / f"data_batch_{i}.bin" for i in range(1, 6)])
        y_test, x_test = _records([full / "test_batch.bin"])
        return _dataset("cifar10", full, x, x_test, y, y_test)
    if os.path.exists(subset):
        return _dataset(
            "cifar10", subset, *_named(subset, "x_train", "x_test", "y_train", "y_test")
        )
    raise FileNotFoundError(
        f"{data_dir} has neither {full.name} nor {subset.relative_to(data_dir)}; unpack there "
        "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz, or name another data_dir"
    )


def lfw_faces(data_dir: str | os.PathLike[str] = "data") -> Dataset:
    """Faces of the Labeled Faces in the Wild: x is (1, 64, 64), from 0 to 1, y is 1 for a smile.

    The training images lend a fixed tenth for validation. One person can be in several parts.

    Args:
        data_dir: Has `lfw_faces64/lfw_faces64.npz`: uint8 x_train, x_test (N, 64, 64) and
            smile_train, smile_test (N,), 0 or 1.

    Raises:
        FileNotFoundError: If the file is not there.
        ValueError: If it is damaged.

    Reference:
        Huang et al., 2007, https://vis-www.cs.umass.edu/lfw
    """
    path = Path(data_dir) / "lfw_faces64" / "lfw_faces64.npz"
    names = ("x_train", "x_test", "smile_train", "smile_test")
    return _dataset("lfw_faces", path, *_named(path, *names))


def frey_faces(data_dir: str | os.PathLike[str] = "data") -> Dataset:
    """1,965 frames of a film of one face, Brendan Frey's: x is (1, 28, 20), from 0 to 1.

    A fixed permutation gives 1,565 training, 200 validation and 200 test images, so that a test
    image has neighbours in time among the training images.

    Args:
        data_dir: Has `frey_faces/frey_faces.npz`: uint8 images (1965, 28, 20).

    Raises:
        FileNotFoundError: If the file is not there.
        ValueError: If it is damaged or has too few images.

    Reference:
        Kingma and Welling, 2014, https://arxiv.org/abs/1312.6114
    """
    path = Path(data_dir) / "frey_faces" / "frey_faces.npz"
    whole = to_split(str(path), *_named(path, "images"), scale=255)
    if len(whole) <= 400:
        raise ValueError(f"{path} has {len(whole)} images, but expected 1965")
    train, valid, test = cut(whole, len(whole) - 400, 200, 200)
    return Dataset("frey_faces", train, valid, test, FINE_NORMAL)


def _dataset(name: str, source: Path, x: Array, x_test: Array, y: Array, y_test: Array) -> Dataset:
    train, valid = hold_out(str(source), to_split(f"{source}, train", x, y, scale=255), 1)
    test = to_split(f"{source}, test", x_test, y_test, scale=255)
    return Dataset(name, train, valid, test, FINE_NORMAL)


def _named(path: Path, *names: str) -> list[Array]:
    required(path, f"an archive of {', '.join(names)}")
    found, held = read_arrays(path, named(names))
    if lacking := [name for name in names if name not in found]:
        raise ValueError(f"{path} has no {', '.join(lacking)}, but {', '.join(held) or 'nothing'}")
    return [found[name] for name in names]


def _records(paths: list[Path]) -> tuple[Array, Array]:
    """The labels (N,) and images (N, 3, 32, 32) of files of records: a label and its pixels."""
    records = []
    for path in paths:
        with reading(path):
            records.append(np.frombuffer(path.read_bytes(), np.uint8).reshape(-1, 3073))
    whole = np.concatenate(records)
    return whole[:, 0], whole[:, 1:].reshape(-1, 3, 32, 32)
