"""MNIST, and Fashion-MNIST, which took over its files' names and layout."""

import os
from pathlib import Path

from pyro_vae.likelihoods import ContinuousBernoulli

from .binarization import binarizer
from .conversion import take, to_split
from .dataset import Dataset
from .labels import keep_labels
from .reading import read_idx

__all__ = ["fashion_mnist", "mnist"]


def mnist(
    data_dir: str | os.PathLike[str] = "data",
    binarize: str | None = "dynamic",
    labels: int | None = None,
    valid: int | None = None,
) -> Dataset:
    """Handwritten digits: x is (1, 28, 28), y is 0 to 9.

    50,000 training images, 10,000 validation images, the last of the 60,000 training images of the
    source, and 10,000 test images. Where a paper trains on all 60,000, `valid=1_000` gives 59,000
    of them. Grey levels have a ContinuousBernoulli likelihood: most are
    exactly 0 or near 1, where a Normal is at its worst.

    Args:
        data_dir: Has the four idx files, packed or not, in `MNIST/raw`, as torchvision lays them
            out; what is missing torchvision downloads.
        binarize: See `pyro_vae.datasets.binarization`.
        labels: How many training images keep their label; see `pyro_vae.datasets.labels`.
        valid: How many of the last training images are the validation data, by default a sixth.

    Raises:
        FileNotFoundError: If a file is missing and cannot be downloaded.
        ValueError: If a file is damaged, `binarize` is not one of the four ways, `labels` is no
            multiple of 10 or too large, or `valid` leaves no training or validation images.

    Reference:
        LeCun et al., 1998, https://doi.org/10.1109/5.726791
    """
    return _idx_dataset("mnist", "MNIST", data_dir, binarize, labels, valid)


def fashion_mnist(
    data_dir: str | os.PathLike[str] = "data",
    binarize: str | None = "dynamic",
    labels: int | None = None,
    valid: int | None = None,
) -> Dataset:
    """Pieces of clothing: shapes, sizes, files, likelihood and errors are those of `mnist`.

    Args:
        data_dir: Has the four idx files, packed or not, in `FashionMNIST/raw`, as torchvision lays
            them out; what is missing torchvision downloads.
        binarize: See `pyro_vae.datasets.binarization`.
        labels: How many training images keep their label; see `pyro_vae.datasets.labels`.
        valid: How many of the last training images are the validation data, by default a sixth.

    Reference:
        Xiao, Rasul and Vollgraf, 2017, https://arxiv.org/abs/1708.07747
    """
    return _idx_dataset("fashion_mnist", "FashionMNIST", data_dir, binarize, labels, valid)


def _idx_dataset(
    name: str,
    source: str,
    data_dir: str | os.PathLike[str],
    binarize: str | None,
    labels: int | None,
    valid: int | None,
) -> Dataset:
    binarized, raw = binarizer(binarize), Path(data_dir) / source / "raw"
    kinds = ("images-idx3-ubyte", "labels-idx1-ubyte")
    files = [raw / f"{part}-{kind}" for part in ("train", "t10k") for kind in kinds]
    if missing := [file.name for file in files if not os.path.exists(_packed_or_not(file))]:
        _download(source, raw, missing)
    x, y, x_test, y_test = (read_idx(_packed_or_not(file)) for file in files)
    if x.shape[1:] != (28, 28) or len(x) < 6:
        raise ValueError(f"{files[0]} has shape {x.shape}, but expected (60000, 28, 28)")
    whole = to_split(str(files[0]), x, y, scale=255)
    test = to_split(str(files[2]), x_test, y_test, scale=255)
    end = len(x) - (len(x) // 6 if valid is None else valid)  # 50,000 of 60,000
    if not 0 < end < len(x):
        raise ValueError(
            f"valid is {valid}, but must be from 1 to {len(x) - 1}, of {len(x)} images"
        )
    train, held_out = keep_labels(take(whole, slice(end)), labels), take(whole, slice(end, None))
    return binarized(Dataset(name, train, held_out, test, ContinuousBernoulli))


def _packed_or_not(file: Path) -> Path:
    return file if os.path.exists(file) else file.with_name(f"{file.name}.gz")


def _download(source: str, raw: Path, missing: list[str]) -> None:
    try:  # torchvision raises RuntimeError at import beside a CPU build of torch
        from torchvision import datasets

        getattr(datasets, source)(root=raw.parent.parent, download=True)
    except Exception as error:
        raise FileNotFoundError(
            f"{raw} has no {', '.join(missing)} (as it is or .gz), and torchvision could not "
            f"download it ({type(error).__name__}); put the missing files there"
        ) from error
