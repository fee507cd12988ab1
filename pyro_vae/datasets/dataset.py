"""Training, validation and test data of one shape: `Dataset`."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor, nn

from pyro_vae.likelihoods import Bernoulli

from .split import PARTS, Split

__all__ = ["Dataset"]


@dataclass(frozen=True, eq=False)
class Dataset:
    """Training, validation and test data of one shape.

    Args:
        name: What to call the data.
        train: What to fit.
        valid: What to choose by.
        test: What to report.
        likelihood: The natural p(x | h) of such data: what builds it from `x_shape`.
        notes: What numbers and labels were taken for, in words; see `description`.

    Raises:
        ValueError: If the parts disagree about the shape of a datum or of a label, or labels lack.
    """

    name: str
    train: Split
    valid: Split
    test: Split
    likelihood: Callable[[tuple[int, ...]], nn.Module] = Bernoulli
    notes: str = ""

    def __post_init__(self) -> None:
        for part in PARTS:
            x, y = getattr(self, part).x, getattr(self, part).y
            found = tuple(x.shape[1:])
            if found != self.x_shape:
                raise ValueError(
                    f"{self.name}: an item of train has shape {self.x_shape}, but of {part} "
                    f"{found}; bring them to one shape"
                )
            if y is not None and len(y) != len(x):
                raise ValueError(
                    f"{self.name}: {part} has {len(x)} items, but {len(y)} labels; give each one"
                )
        kinds = {(y.is_floating_point(), tuple(y.shape[1:])) for y in self._labels}
        if len(kinds) > 1:
            raise ValueError(
                f"{self.name}: the parts have labels of different kinds or shapes; number the "
                "classes from 0 on in all of them, or give all conditions of one shape"
            )

    @property
    def x_shape(self) -> tuple[int, ...]:
        """The shape of one datum."""
        return tuple(self.train.x.shape[1:])

    @property
    def y_shape(self) -> tuple[int, ...] | None:
        """The shape of one label: () of a class; None without labels."""
        return tuple(self._labels[0].shape[1:]) if self._labels else None

    @property
    def num_classes(self) -> int | None:
        """One more than the largest class; None without labels or if they are conditions."""
        if not self._labels or self._labels[0].is_floating_point():
            return None
        return 1 + max(int(y.max()) for y in self._labels)

    @property
    def description(self) -> str:
        """The data in a sentence: how many, of what shape, and what they were taken for."""
        train, valid, test = (f"{len(getattr(self, part)):,}" for part in PARTS)
        return (
            f"{self.name}: {train} + {valid} + {test} items (train, valid, test) of shape "
            f"{self.x_shape}; {self.notes or self._about_labels}; natural likelihood "
            f"{self._likelihood_name}"
        )

    def to(self, device: torch.device | str) -> "Dataset":
        """Returns the same data set on `device`."""
        moved = {part: getattr(self, part).to(device) for part in PARTS}
        return replace(self, **moved)

    @property
    def _about_labels(self) -> str:
        if self.y_shape is None:
            return "no labels"
        return (
            f"conditions of shape {self.y_shape}" if self.y_shape else f"{self.num_classes} classes"
        )

    @property
    def _likelihood_name(self) -> str:
        built = self.likelihood
        while isinstance(built, partial) and isinstance(built.func, partial | type):
            built = built.func
        return built.__name__ if isinstance(built, type) else type(built(self.x_shape)).__name__

    @property
    def _labels(self) -> list[Tensor]:
        return [s.y for s in (self.train, self.valid, self.test) if s.y is not None]
