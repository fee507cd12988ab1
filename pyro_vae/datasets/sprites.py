"""Sprites of known factors, as in dSprites, drawn when they are read: nothing is downloaded."""

import math
from copy import copy
from functools import cached_property

import torch
from torch import Tensor

from .binarization import bernoulli_of
from .data_source import DataSource
from .dataset import Dataset
from .factor_grid import FactorGrid
from .outlines import ASYMMETRIC, SYMMETRIC, picture
from .split import Split

__all__ = ["Sprites", "sprites"]

_MOST_STENCILS = 50_000  # of 33 x 33 pixels these take 54 MB and 20 s
_JUDGED = 5_000  # pictures whose mean the likelihood starts at


class Sprites(DataSource):
    """One white shape on black for each combination of five factors, drawn when it is read.

    A datum is x, (1, size, size), zeros and ones; `factors`, its values of shape, scale,
    orientation, x and y, int64 (5,), counted from 0; and y, the shape as a class. Row n of all is
    combination n of `grid`.

    The shape lies in a disc whose radius is the scale, from half to all of size / 4 pixels. The
    orientation is a share of a full turn, counterclockwise, the end left out. x goes to the right
    and y down, by whole pixels. A pixel is lit if more than half of 7 x 7 points in it are inside.

    Args:
        size: Pixels on each side, a multiple of 4 from 16 on.
        asymmetric: Whether to take heart, half-disc and letter L, none of which a turn brings upon
            itself, in place of square, ellipse and heart. Only with them does a picture have one
            orientation.
        shape: How many of the three shapes.
        scale: How many scales.
        orientation: How many angles.
        x: How many columns for the centre; None for all size / 2 of them.
        y: How many rows, likewise.
        rows: Which of the combinations these are, in which order, (N,); None for all.

    Raises:
        ValueError: If there are no such sprites.

    Example:
        >>> source = Sprites(32)
        >>> source.grid.values(torch.tensor([100])).tolist()
        [[0, 0, 0, 6, 4]]
        >>> len(source), source.read(torch.tensor([100]))["x"].shape
        (184320, torch.Size([1, 1, 32, 32]))
    """

    def __init__(
        self,
        size: int = 64,
        *,
        asymmetric: bool = False,
        shape: int = 3,
        scale: int = 6,
        orientation: int = 40,
        x: int | None = None,
        y: int | None = None,
        rows: Tensor | None = None,
    ) -> None:
        if not isinstance(size, int) or size < 16 or size % 4:
            raise ValueError(
                f"size of sprites must be a multiple of 4, 16 or more, such as 32 or 64, but is "
                f"{size!r}"
            )
        self.size, self.asymmetric = size, asymmetric
        places = size // 2
        x, y = (places if number is None else number for number in (x, y))
        self.grid = FactorGrid(
            {"shape": shape, "scale": scale, "orientation": orientation, "x": x, "y": y}
        )
        for name, number, most in (("shape", shape, 3), ("x", x, places), ("y", y, places)):
            if number > most:
                raise ValueError(
                    f"{name} of sprites of {size} pixels takes at most {most} values, but is "
                    f"{number}; give fewer{'' if name == 'shape' else ', or a larger size'}"
                )
        if shape * scale * orientation > _MOST_STENCILS:
            raise ValueError(
                f"sprites of {shape} shapes, {scale} scales and {orientation} orientations are "
                f"{shape * scale * orientation:,} shapes to draw, but may be {_MOST_STENCILS:,}; "
                "give fewer"
            )
        self.rows = rows

    def __len__(self) -> int:
        return len(self.grid) if self.rows is None else len(self.rows)

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """The shape of one datum of each tensor, by name."""
        return {"x": (1, self.size, self.size), "y": (), "factors": (len(self.grid.names),)}

    @property
    def dtypes(self) -> dict[str, torch.dtype]:
        """The type of each tensor, by name."""
        return {"x": torch.float32, "y": torch.int64, "factors": torch.int64}

    def read(self, rows: Tensor) -> dict[str, Tensor]:
        """The data of some rows, by name."""
        factors = self.grid.values(rows if self.rows is None else self.rows[rows])
        return {"x": self.draw(factors), "y": factors[:, 0], "factors": factors}

    def draw(self, factors: Tensor) -> Tensor:
        """The pictures, (N, 1, size, size), of values of the factors, int64 (N, 5).

        Raises:
            ValueError: If these are no values of the factors.
        """
        self.grid.index(factors)  # refuses others
        stencils = self._stencils[tuple(factors[:, :3].T)]  # (N, W, W)
        span = torch.arange(stencils.shape[-1])
        column, row = (
            _place(factors[:, k], self.grid.sizes[k], self.size // 2)[:, None] + span
            for k in (3, 4)
        )
        found = torch.zeros(len(factors), self.size, self.size)
        each = torch.arange(len(factors))[:, None, None]
        found[each, row[:, :, None], column[:, None, :]] = stencils.float()
        return found.unsqueeze(1)

    def of_rows(self, rows: Tensor) -> "Sprites":
        """The sprites of some combinations alone, (N,), with the shapes that are drawn already."""
        part = copy(self)
        part.rows = rows
        return part

    @cached_property
    def _stencils(self) -> Tensor:
        """Each shape at each scale and angle, in the middle: booleans (shape, scale, angle, W, W).

        A picture is one of them, moved, so that there are 720 to draw and not 737,280.
        """
        outlines = list((ASYMMETRIC if self.asymmetric else SYMMETRIC).values())
        shape, scale, orientation, *_ = self.grid.sizes
        scales = torch.linspace(0.5, 1, scale).tolist() if scale > 1 else [1.0]
        angles = torch.arange(orientation, dtype=torch.float64) * (2 * math.pi / orientation)
        widest = self.size // 4
        found = [picture(o, s * widest, angles, widest) for o in outlines[:shape] for s in scales]
        return torch.stack(found).unflatten(0, (shape, scale))


def sprites(
    size: int = 64,
    *,
    asymmetric: bool = False,
    shape: int = 3,
    scale: int = 6,
    orientation: int = 40,
    x: int | None = None,
    y: int | None = None,
) -> Dataset:
    """Squares, ellipses and hearts of known scale, orientation and place: nothing is downloaded.

    Each combination of the factors is one picture, black and white, (1, size, size): 737,280 of 64
    pixels, 184,320 of 32. Each part is a source that draws when it is read, and gives `factors`,
    the values of the five factors, int64 (N, 5), beside x and the shape as a class y.
    `Dataset.factors` has their names. A fixed permutation parts them: a tenth is for testing, at
    most 15,000, and a tenth for validation, at most 2,000. `Sprites` says what each factor does.

    Squares and ellipses look the same at several orientations, so that of no picture of them the
    orientation can be told for sure, and no code of pictures has it; `asymmetric=True` has shapes
    of which it can.

    Args:
        size: Pixels on each side, such as 64 or 32.
        asymmetric: Whether to take heart, half-disc and letter L.
        shape: How many of the three shapes.
        scale: How many scales, from half to full.
        orientation: How many angles of a full turn.
        x: How many columns for the centre; None for all size / 2 of them.
        y: How many rows, likewise.

    Raises:
        ValueError: If there are no such sprites.

    Example:
        >>> data = sprites(32)
        >>> data.factors, len(data.train)
        (('shape', 'scale', 'orientation', 'x', 'y'), 167320)
        >>> data.test.read(torch.arange(2))["factors"].shape
        torch.Size([2, 5])

    Reference:
        Matthey et al., 2017, https://github.com/google-deepmind/dsprites-dataset
    """
    whole = Sprites(
        size, asymmetric=asymmetric, shape=shape, scale=scale, orientation=orientation, x=x, y=y
    )
    order = torch.randperm(len(whole), generator=torch.Generator().manual_seed(0))
    sizes = zip(whole.grid.names, whole.grid.sizes, strict=True)
    words = ", ".join(f"{name} {number}" for name, number in sizes)
    if len(whole) < 10:
        raise ValueError(
            f"sprites of {words} are {len(whole)}, but must be ten or more to be parted; give the "
            "factors more values"
        )
    tenth = len(whole) // 10
    held_out = (min(tenth, 15_000), min(tenth, 2_000))
    test, valid, train = order.split([*held_out, len(whole) - sum(held_out)])
    seen = whole.draw(whole.grid.values(train[:_JUDGED]))
    return Dataset(
        "sprites",
        train=whole.of_rows(train),
        valid=whole.of_rows(valid),
        test=whole.of_rows(test),
        likelihood=bernoulli_of(Split(seen)),
        notes=f"black and white, drawn when they are read; of the factors {words}",
        classes=shape,
        factors=whole.grid.names,
    )


def _place(values: Tensor, size: int, places: int) -> Tensor:
    """The first pixel of a stencil, from 0 to places - 1, spread evenly over the values."""
    if size == 1:
        return torch.full_like(values, (places - 1) // 2)
    return (values * (places - 1) + (size - 1) // 2) // (size - 1)
