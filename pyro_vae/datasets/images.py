"""Data sets: functions that return real data as tensors, already split for training and testing.

`binarize` says what becomes of grey levels in [0, 1]:

- `"dynamic"`: training images are drawn afresh from Bernoulli(x) whenever they are used, with
  torch's global generator; validation and test images once, so that evaluations repeat.
- `"static"`: every image is drawn once.
- `"threshold"`: x > 0.5.
- `None`: grey levels stay as they are.

What is drawn once, and every split made here, has a fixed seed of its own.
"""

import gzip
import math
import os
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

__all__ = [
    "Dataset",
    "Split",
    "arrays",
    "binarized_mnist",
    "digits",
    "fashion_mnist",
    "folder",
    "mnist",
]

Array: TypeAlias = NDArray[Any]

_PARTS = ("train", "valid", "test")
_PICTURES = {".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"}


@dataclass(frozen=True, eq=False)
class Split:
    """One part of a data set.

    Args:
        x: The data, (N, *x_shape).
        y: The labels, (N,), counted from 0.
        draw: Applied to each batch afresh; None leaves the data as they are.
    """

    x: Tensor
    y: Tensor | None = None
    draw: Callable[[Tensor], Tensor] | None = None

    def __len__(self) -> int:
        return len(self.x)

    def batches(
        self, batch_size: int, *, shuffle: bool = False, generator: torch.Generator | None = None
    ) -> Iterator[tuple[Tensor, ...]]:
        """Passes once over the data in tuples `(x,)`; the last batch may be smaller.

        Args:
            batch_size: The items of a batch.
            shuffle: Whether to take the items in random order.
            generator: The source of that order; None is torch's global generator.

        Raises:
            ValueError: If `batch_size` is below 1.
        """
        if batch_size < 1:
            raise ValueError(f"batch_size must be at least 1, but is {batch_size}")
        batches: Any = self.x.split(batch_size)
        if shuffle:
            device = "cpu" if generator is None else generator.device
            order = torch.randperm(len(self), generator=generator, device=device)
            batches = (self.x[index] for index in order.to(self.x.device).split(batch_size))
        return ((x if self.draw is None else self.draw(x),) for x in batches)

    def to(self, device: torch.device | str) -> "Split":
        """Returns the same split on `device`."""
        return replace(self, x=self.x.to(device), y=None if self.y is None else self.y.to(device))


@dataclass(frozen=True, eq=False)
class Dataset:
    """Training, validation and test data of one shape.

    Raises:
        ValueError: If the parts disagree about the shape of a datum.
    """

    name: str
    train: Split
    valid: Split
    test: Split

    def __post_init__(self) -> None:
        for part in _PARTS:
            found = tuple(getattr(self, part).x.shape[1:])
            if found != self.x_shape:
                raise ValueError(
                    f"{self.name}: an item of train has shape {self.x_shape}, but of {part} "
                    f"{found}; bring them to one shape"
                )

    @property
    def x_shape(self) -> tuple[int, ...]:
        """The shape of one datum."""
        return tuple(self.train.x.shape[1:])

    @property
    def num_classes(self) -> int | None:
        """One more than the largest label; None without labels."""
        labels = [s.y for s in (self.train, self.valid, self.test) if s.y is not None]
        return 1 + max(int(y.max()) for y in labels) if labels else None

    def to(self, device: torch.device | str) -> "Dataset":
        """Returns the same data set on `device`."""
        moved = {part: getattr(self, part).to(device) for part in _PARTS}
        return replace(self, **moved)


def digits(binarize: str | None = "dynamic") -> Dataset:
    """The 8x8 handwritten digits that come with scikit-learn: nothing is downloaded.

    x is (1, 8, 8), levels 0 to 16 divided by 16, y is 0 to 9; a fixed permutation gives 1,297
    training, 200 validation and 300 test images.

    Raises:
        ValueError: If `binarize` is not one of the four ways.

    Reference:
        Alpaydin and Kaynak, 1998, https://doi.org/10.24432/C50P49

    Example:
        >>> data = digits()
        >>> len(data.train), data.x_shape, data.num_classes
        (1297, (1, 8, 8), 10)
    """
    binarized = _binarizer(binarize)
    from sklearn.datasets import load_digits

    found = load_digits()
    whole = _split("digits", found.images, found.target, scale=16)
    return binarized(Dataset("digits", *_cut(whole, 1297, 200, 300)))


def mnist(data_dir: str | os.PathLike[str] = "data", binarize: str | None = "dynamic") -> Dataset:
    """Handwritten digits: x is (1, 28, 28), y is 0 to 9.

    50,000 training images, 10,000 validation images, the last of the 60,000 training images of the
    source, and 10,000 test images.

    Args:
        data_dir: Has the four idx files, packed or not, in `MNIST/raw`, as torchvision lays them
            out; what is missing torchvision downloads.
        binarize: See this module's first lines.

    Raises:
        FileNotFoundError: If a file is missing and cannot be downloaded.
        ValueError: If a file is damaged or `binarize` is not one of the four ways.

    Reference:
        LeCun et al., 1998, https://doi.org/10.1109/5.726791
    """
    return _idx_dataset("mnist", "MNIST", data_dir, binarize)


def fashion_mnist(
    data_dir: str | os.PathLike[str] = "data", binarize: str | None = "dynamic"
) -> Dataset:
    """Pieces of clothing: shapes, sizes, files and errors are those of `mnist`.

    Args:
        data_dir: Has the four idx files, packed or not, in `FashionMNIST/raw`, as torchvision lays
            them out; what is missing torchvision downloads.
        binarize: See this module's first lines.

    Reference:
        Xiao, Rasul and Vollgraf, 2017, https://arxiv.org/abs/1708.07747
    """
    return _idx_dataset("fashion_mnist", "FashionMNIST", data_dir, binarize)


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
    texts = {part: home / f"binarized_mnist_{part}.amat" for part in _PARTS}
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
    splits = [_split(f"{home}, {part}", bits[part].reshape(-1, 28, 28), scale=1) for part in _PARTS]
    return Dataset("binarized_mnist", *splits)


def arrays(
    path: str | os.PathLike[str], *, binarize: str | None = None, scale: float | None = None
) -> Dataset:
    """Your own data from an `.npy`, `.npz` or `.pt` file; pickled objects are never read.

    The file has one array (of any name, or named `x` or `images`, with labels `y`), which a fixed
    permutation splits 80/10/10; or `x_train` and `x_test`, or `train` and `test`, with labels
    `y_train` and `y_test`. Then `x_valid` or `valid` is the validation part, or a fixed tenth of
    the training data where there is none.

    (N, D) stays so; (N, H, W) becomes (N, 1, H, W), and (N, H, W, 1 or 3) becomes
    (N, 1 or 3, H, W). Numbers become float32: uint8 is divided by 255, others stay as they are.

    Args:
        path: The file.
        binarize: See this module's first lines; the data must then lie in [0, 1].
        scale: Divides the data, in place of the rule above.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file does not hold such arrays, or an argument is wrong.
    """
    binarized, path = _binarizer(binarize), Path(path)
    if scale is not None and not 0 < scale < math.inf:
        raise ValueError(f"scale must be a positive number, but is {scale}")
    found = _load(path)
    x = {part: found.get(f"x_{part}", found.get(part)) for part in _PARTS}
    whole = next(iter(found.values())) if len(found) == 1 else found.get("x", found.get("images"))
    if x["train"] is not None and x["test"] is not None:
        splits = [
            _split(f"{path}, {part}", array, found.get(f"y_{part}"), scale=scale)
            for part, array in x.items()
            if array is not None
        ]
        if len(splits) == 2:
            splits[:1] = _hold_out(str(path), splits[0], 1)
    elif whole is not None:
        splits = _hold_out(str(path), _split(str(path), whole, found.get("y"), scale=scale), 2)
    else:
        names = ", ".join(list(found)[:10]) or "nothing"
        raise ValueError(
            f"{path} holds {names}; expected one array, or x (with y), or x_train and x_test "
            "(with x_valid, y_train, y_valid, y_test), or train and test (with valid)"
        )
    return binarized(Dataset(path.stem, *splits))


def folder(
    path: str | os.PathLike[str],
    *,
    size: int | None = None,
    grey: bool = False,
    binarize: str | None = None,
) -> Dataset:
    """A folder of pictures: x is (3, H, W), or (1, H, W) if `grey`, from 0 to 1.

    If the pictures lie in subfolders, these are the classes, in alphabetical order. A fixed
    permutation splits 80/10/10. Transparency is dropped.

    Args:
        path: The folder; hidden files and what is not a picture by its name are passed over.
        size: Every picture is cropped to its central square and resized to (size, size); None takes
            them as they are, and all must have one size.
        grey: Whether to drop the colours.
        binarize: See this module's first lines.

    Raises:
        FileNotFoundError: If there is no such folder or no picture in it.
        ValueError: If a picture is damaged, has more than 8 bits a channel or another size than the
            first, or an argument is wrong.
    """
    binarized, path = _binarizer(binarize), Path(path)
    if size is not None and size < 1:
        raise ValueError(f"size must be at least 1, but is {size}")
    files, labels = _find_pictures(path)
    pixels = [_picture(file, size, "L" if grey else "RGB") for file in files]
    for file, picture in zip(files, pixels, strict=True):
        if picture.shape != pixels[0].shape:
            raise ValueError(
                f"{file} is {picture.shape[1:]}, but {files[0]} is {pixels[0].shape[1:]} (height, "
                "width); give size= to bring all pictures to one size"
            )
    whole = _split(str(path), np.stack(pixels), labels, scale=255)
    return binarized(Dataset(path.resolve().name, *_hold_out(str(path), whole, 2)))


def _binarizer(binarize: str | None) -> Callable[[Dataset], Dataset]:
    ways = {"dynamic": _dynamic, "static": _static, "threshold": _threshold, None: _grey}
    if binarize not in ways:
        known = ", ".join(map(repr, ways))
        raise ValueError(f"binarize must be one of {known}, but is {binarize!r}")
    return ways[binarize]


def _static(data: Dataset) -> Dataset:
    drawn = {}
    for seed, part in enumerate(_PARTS):
        x = _levels(data, part)
        generator = torch.Generator().manual_seed(seed)
        drawn[part] = replace(getattr(data, part), x=torch.bernoulli(x, generator=generator))
    return replace(data, **drawn)


def _dynamic(data: Dataset) -> Dataset:
    return replace(_static(data), train=replace(data.train, draw=torch.bernoulli))


def _threshold(data: Dataset) -> Dataset:
    cut = {}
    for part in _PARTS:
        x = _levels(data, part)
        cut[part] = replace(getattr(data, part), x=(x > 0.5).to(x.dtype))
    return replace(data, **cut)


def _grey(data: Dataset) -> Dataset:
    return data


def _levels(data: Dataset, part: str) -> Tensor:
    x: Tensor = getattr(data, part).x
    if x.min() < 0 or x.max() > 1:
        raise ValueError(
            f"{data.name}: {part} lies in [{x.min():g}, {x.max():g}], but only grey levels in "
            "[0, 1] can be binarized; give the scale that brings them there, or binarize=None"
        )
    return x


def _split(source: str, x: Array, y: Array | None = None, *, scale: float | None = None) -> Split:
    """Checks and converts arrays; `source` names them in the sentence of an error."""
    return Split(_data(source, x, scale), None if y is None else _labels(source, y, len(x)))


def _data(source: str, found: Array, scale: float | None) -> Tensor:
    if found.dtype.kind not in "buif":
        raise ValueError(f"{source} has dtype {found.dtype}, but expected real numbers")
    if found.ndim < 2 or found.size == 0:
        raise ValueError(
            f"{source} has shape {found.shape}, but expected (items, ...) with at least one item "
            "and one feature"
        )
    if scale is None and found.dtype == np.uint8:
        if found.max() <= 1:  # bits would silently become 0 and 1/255
            raise ValueError(
                f"{source} has only zeros and ones as uint8, where 255 is expected for white; "
                "give scale=1 if they are bits, or scale=255"
            )
        scale = 255
    with np.errstate(over="ignore"):  # what float32 cannot hold is reported as infinite
        x = torch.from_numpy(found.astype(np.float32, order="C"))
    bad = ~x.isfinite().flatten(1)
    if bad.any():
        raise ValueError(
            f"{source} has {int(bad.sum())} NaN or infinite values, the first in item "
            f"{int(bad.any(1).int().argmax())}; remove or fill them"
        )
    if scale is not None:
        x /= scale
    if x.dim() == 4 and x.shape[3] in (1, 3) and x.shape[1] not in (1, 3):
        return x.movedim(3, 1).contiguous()
    return x.unsqueeze(1) if x.dim() == 3 else x


def _labels(source: str, found: Array, count: int) -> Tensor:
    if found.shape != (count,):
        raise ValueError(f"{source} has labels of shape {found.shape}, but expected ({count},)")
    if found.dtype.kind not in "bui" or found.min() < 0:
        raise ValueError(
            f"{source} has labels that are negative or not integers ({found.dtype}); number the "
            "classes from 0 on"
        )
    return torch.from_numpy(found.astype(np.int64))


def _cut(whole: Split, *sizes: int) -> list[Split]:
    order = torch.randperm(len(whole), generator=torch.Generator().manual_seed(0))
    return [_take(whole, index) for index in order.split(list(sizes))]


def _take(whole: Split, index: Tensor | slice) -> Split:
    return Split(whole.x[index], None if whole.y is None else whole.y[index])


def _hold_out(source: str, whole: Split, parts: int) -> list[Split]:
    """Cuts `parts` tenths off."""
    if len(whole) <= parts:
        raise ValueError(f"{source} has {len(whole)} items, but a split needs {parts + 1} or more")
    tenth = max(1, len(whole) // 10)
    return _cut(whole, len(whole) - parts * tenth, *[tenth] * parts)


def _idx_dataset(
    name: str, source: str, data_dir: str | os.PathLike[str], binarize: str | None
) -> Dataset:
    binarized, raw = _binarizer(binarize), Path(data_dir) / source / "raw"
    kinds = ("images-idx3-ubyte", "labels-idx1-ubyte")
    files = [raw / f"{part}-{kind}" for part in ("train", "t10k") for kind in kinds]
    if missing := [file.name for file in files if not os.path.exists(_packed_or_not(file))]:
        _download(source, raw, missing)
    x, y, x_test, y_test = (_idx(_packed_or_not(file)) for file in files)
    if x.shape[1:] != (28, 28) or len(x) < 6:
        raise ValueError(f"{files[0]} has shape {x.shape}, but expected (60000, 28, 28)")
    whole = _split(str(files[0]), x, y, scale=255)
    test = _split(str(files[2]), x_test, y_test, scale=255)
    cut = len(x) * 5 // 6  # 50,000 of 60,000
    train, valid = _take(whole, slice(cut)), _take(whole, slice(cut, None))
    return binarized(Dataset(name, train, valid, test))


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


def _idx(path: Path) -> Array:
    with _reading(path):
        content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
        if content[:3] != b"\0\0\x08":
            raise ValueError("not an idx file of bytes")
        shape = np.frombuffer(content, ">i4", count=content[3], offset=4)
        return np.frombuffer(content, np.uint8, offset=4 + 4 * len(shape)).reshape(shape)


def _unpacked(path: Path) -> dict[str, Array]:
    found = _load(path)
    for part in _PARTS:
        x = found.get(part, np.array(None))
        if x.dtype != np.uint8 or x.shape[1:] != (98,):
            raise ValueError(
                f"{path}: {part} has shape {x.shape} and dtype {x.dtype}, but expected (items, 98) "
                "uint8: 784 pixels, 8 a byte"
            )
    return {part: np.unpackbits(found[part], axis=1) for part in _PARTS}


def _amat(path: Path) -> Array:
    with _reading(path):
        characters = np.frombuffer(path.read_bytes(), np.uint8)
        bits = characters[characters > ord(" ")] - ord("0")
        if bits.max() > 1:
            raise ValueError("not a table of 0 and 1")
        return bits.reshape(-1, 784)


def _load(path: Path) -> dict[str, Array]:
    if path.suffix not in (".npy", ".npz", ".pt"):
        raise ValueError(f"{path} ends in {path.suffix!r}, but expected .npy, .npz or .pt")
    with _reading(path):
        found = _load_torch(path) if path.suffix == ".pt" else _load_numpy(path)
    return found


def _load_numpy(path: Path) -> dict[str, Array]:
    with open(path, "rb") as file:  # np.load leaves a damaged archive open that it opened itself
        found = np.load(file, allow_pickle=False)
        if isinstance(found, np.ndarray):
            return {"x": found}
        return {name: found[name] for name in _known(found.files)}


def _load_torch(path: Path) -> dict[str, Array]:
    found = torch.load(path, map_location="cpu", weights_only=True)
    tensors = {"x": found} if isinstance(found, Tensor) else dict(found)
    return {name: _array(tensors[name]) for name in _known(tensors)}


def _array(x: Tensor) -> Array:
    return (x.float() if x.dtype == torch.bfloat16 else x).numpy(force=True)


def _known(names: Collection[str]) -> list[str]:
    known = {"x", "images", "y", *_PARTS, *(f"{k}_{part}" for k in "xy" for part in _PARTS)}
    return [name for name in names if name in known] or list(names)


def _find_pictures(path: Path) -> tuple[list[Path], Array | None]:
    found = sorted(
        file.relative_to(path)
        for home, _, names in os.walk(path, followlinks=True)
        for file in (Path(home, name) for name in names)
        if file.suffix.lower() in _PICTURES
    )
    found = [file for file in found if not any(part.startswith(".") for part in file.parts)]
    if not found:
        raise FileNotFoundError(
            f"{path} is no folder with pictures; expected a folder with files "
            f"{', '.join(sorted(_PICTURES))}, or with subfolders of them"
        )
    files = [path / file for file in found]
    nested = [len(file.parts) > 1 for file in found]
    if not any(nested):
        return files, None
    if not all(nested):
        raise ValueError(
            f"{path} has pictures beside its subfolders of pictures; put all into subfolders, one "
            "a class, or none"
        )
    classes = sorted({file.parts[0] for file in found})
    return files, np.array([classes.index(file.parts[0]) for file in found])


def _picture(file: Path, size: int | None, mode: str) -> Array:
    from PIL import Image, ImageOps

    with _reading(file), Image.open(file) as opened:
        depth, picture = opened.mode, ImageOps.exif_transpose(opened).convert(mode)
    if depth.startswith(("I", "F")):  # conversion would clip them at 255
        raise ValueError(f"{file} has {depth} pixels; convert it to 8 bits a channel")
    if size is not None:
        picture = ImageOps.fit(picture, (size, size))
    return np.moveaxis(np.atleast_3d(np.asarray(picture)), -1, 0)  # (C, H, W)


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    if os.path.isdir(path):
        raise ValueError(f"{path} is a folder, but expected a file; folder() reads pictures")
    if not os.path.exists(path):
        raise FileNotFoundError(f"there is no file {path}; give the path of one")
    if os.path.getsize(path) == 0:
        raise ValueError(f"{path} is empty; write or fetch it again")
    try:
        yield
    except Exception as error:  # numpy, zipfile, gzip, torch and Pillow have a dozen types for it
        raise ValueError(
            f"{path} cannot be read ({type(error).__name__}): it is damaged, of another kind than "
            "its name says, or holds pickled objects, which are never read; write or fetch it again"
        ) from error
