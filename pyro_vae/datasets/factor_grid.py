"""All combinations of the values of some factors, numbered: `FactorGrid`."""

import math
from collections.abc import Mapping

import torch
from torch import Tensor

__all__ = ["FactorGrid"]


class FactorGrid:
    """Factors that each take the values 0, 1, ..., and the number of each combination of them.

    The numbers are in mixed radix, the last factor changing fastest.

    Args:
        sizes: How many values each factor takes, by its name.

    Raises:
        ValueError: If one takes none.

    Example:
        >>> grid = FactorGrid({"shape": 3, "x": 16})
        >>> len(grid), grid.values(torch.tensor([17])).tolist()
        (48, [[1, 1]])
    """

    def __init__(self, sizes: Mapping[str, int]) -> None:
        for name, size in sizes.items():
            if isinstance(size, bool) or not isinstance(size, int) or size < 1:
                raise ValueError(
                    f"the factor {name} must take a whole number of values, 1 or more, but takes "
                    f"{size!r}"
                )
        self.names, self.sizes = tuple(sizes), tuple(sizes.values())
        strides = [math.prod(self.sizes[k + 1 :]) for k in range(len(self.sizes))]
        self._sizes, self._strides = torch.tensor(self.sizes), torch.tensor(strides)

    def __len__(self) -> int:
        return math.prod(self.sizes)

    def values(self, index: Tensor) -> Tensor:
        """The values of the factors, int64 (N, K), of numbers of combinations, (N,)."""
        return index.unsqueeze(-1) // self._strides % self._sizes

    def index(self, values: Tensor) -> Tensor:
        """The numbers of combinations, int64 (N,), of values of the factors, (N, K).

        Raises:
            ValueError: If these are no values of the factors.
        """
        if values.shape[-1:] != self._sizes.shape:
            raise ValueError(
                f"values of factors have shape {tuple(values.shape)}, but must be "
                f"(N, {len(self.names)}): {', '.join(self.names)}"
            )
        for name, size, found in zip(self.names, self.sizes, values.unbind(-1), strict=True):
            if found.numel() and not 0 <= int(found.min()) <= int(found.max()) < size:
                raise ValueError(
                    f"the factor {name} takes the values 0 to {size - 1}, but is given "
                    f"{int(found.min())} to {int(found.max())}"
                )
        return (values * self._strides).sum(-1)
