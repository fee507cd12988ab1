"""MNIST as binarized once for all (Larochelle and Murray, 2011)."""

import os
from pathlib import Path

import numpy as np

from .archives import named, read_arrays
from .binarization import bernoulli_of
from .conversion import to_split
from .dataset import Dataset
from .reading import Array, reading
from .split import PARTS

__all__ = ["binarized_mnist"]


def binarized_mnist(data_dir: str | os.PathLike[str] = "data") -> Dataset:
    """MNIST as Larochelle binarized it once for all: the "fixed binarization" of published tables.

    x is (1, 28, 28), 0 or 1; 50,000 training, 10,000 validation and 10,000 test images without
    labels. The test images may be sorted by digit: shuffle them or average over all.

    Args:
        data_dir: Has, in `binarized_mnist`, either `binarized_mnist.npz` (train, valid and test,
            uint8 (N, 98), 8 pixels a byte) or the three original files
            `binarized_mnist_{train,valid,test}.amat`.

    Raises:
        FileNotFoundError: If neither is there.
        ValueError: If a file is damaged.

    Reference:
        Larochelle and Murray, 2011, https://proceedings.mlr.press/v15/larochelle11a.html
    """
    home = Path(data_dir) / "binarized_mnist"
    packed = home / "binarized_mnist.npz"
    texts = {part: home / f"binarized_mnist_{part}.amat" for part in PARTS}
    if os.path.exists(packed):
        bits = _unpacked(packed)
    elif all(os.path.exists(path) for path in texts.values()):
        bits = {part: _amat(path) for part, path in texts.items()}
    else:
        raise FileNotFoundError(
            f"{home} has neither {packed.name} nor all of "
            f"{', '.join(path.name for path in texts.values())}; put there these three, "
            "Larochelle's fixed binarization of MNIST, published beside the paper on NADE"
        )
    train, valid, test = (
        to_split(f"{home}, {part}", bits[part].reshape(-1, 28, 28), scale=1) for part in PARTS
    )
    return Dataset("binarized_mnist", train, valid, test, bernoulli_of(train))


def _unpacked(path: Path) -> dict[str, Array]:
    found, _ = read_arrays(path, named(PARTS))
    for part in PARTS:
        x = found.get(part, np.array(None))
        if x.dtype != np.uint8 or x.shape[1:] != (98,):
            raise ValueError(
                f"{path}: {part} has shape {x.shape} and dtype {x.dtype}, but expected (items, 98) "
                "uint8: 784 pixels, 8 a byte"
            )
    return {part: np.unpackbits(found[part], axis=1) for part in PARTS}


def _amat(path: Path) -> Array:
    with reading(path):
        characters = np.frombuffer(path.read_bytes(), np.uint8)
        bits = characters[characters > ord(" ")] - ord("0")
        if bits.max() > 1:
            raise ValueError("not a table of 0 and 1")
        return bits.reshape(-1, 784)
