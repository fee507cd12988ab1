"""What the metrics share: codes and factors made ready, and what is said of them."""

import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

__all__ = ["Array", "Score", "Table", "quietly", "train_and_test"]

Array: TypeAlias = NDArray[Any]


@dataclass(frozen=True)
class Score:
    """What a metric says of codes: a number from 0 to 1, the higher the better.

    It is 0 where all codes are dead, as nothing is coded then.

    Args:
        value: The number.
        of_each: What it is the mean of: of each factor or code by its index. Codes that are dead
            and factors that do not vary are left out.
        dead: The codes that were left out, by index.
        num_codes: How many codes there are, D.
    """

    value: float
    of_each: Mapping[int, float]
    dead: tuple[int, ...]
    num_codes: int

    def __float__(self) -> float:
        return self.value

    def __str__(self) -> str:
        return f"{self.value:.3f}, {len(self.dead)} of {self.num_codes} codes dead"


@dataclass(frozen=True)
class Table:
    """Codes and factors as a metric reads them.

    Args:
        codes: Those that are not dead, float64 (N, L).
        factors: Those that vary, each numbered from 0 without gaps, int64 (N, F).
        live: The indices of the codes, (L,).
        varying: The indices of the factors, (F,).
        dead: The indices of the other codes.
        num_codes: How many codes there are, D.
    """

    codes: Array
    factors: Array
    live: Array
    varying: Array
    dead: tuple[int, ...]
    num_codes: int

    @classmethod
    def of(
        cls,
        codes: Array | Tensor,
        factors: Array | Tensor,
        dead: Sequence[int] | None,
        min_std: float,
        *,
        least: int = 1,
    ) -> "Table":
        """Leaves out what does not vary.

        Args:
            codes: (N, D).
            factors: Whole numbers, (N, K).
            dead: Which codes are dead, by index; None for those of a standard deviation below
                `min_std`. One that does not vary at all is dead in any case.
            min_std: See `dead`.
            least: How many factors must vary.

        Raises:
            TypeError: If the factors are no whole numbers.
            ValueError: If they do not fit each other, are not finite, or no factor varies.
        """
        z, v = _checked(codes, factors)
        deviation = z.std(0)
        out = set(np.flatnonzero(deviation < min_std).tolist() if dead is None else dead)
        if not out <= set(range(z.shape[1])):
            raise ValueError(
                f"dead names the codes {sorted(out)}, but there are 0 to {z.shape[1] - 1}; give "
                "indices of these"
            )
        out |= set(np.flatnonzero(z.max(0) == z.min(0)).tolist())
        varying = np.flatnonzero(v.max(0) > v.min(0))
        if len(varying) < least:
            raise ValueError(
                f"{len(varying)} of {v.shape[1]} factors vary over the data, but this metric needs "
                f"{least} or more; give data of which more is different"
            )
        live = np.array([j for j in range(z.shape[1]) if j not in out], dtype=np.int64)
        numbered = [np.unique(v[:, k], return_inverse=True)[1].ravel() for k in varying]
        return cls(z[:, live], np.stack(numbered, 1), live, varying, tuple(sorted(out)), z.shape[1])

    def sizes(self) -> Array:
        """How many values each factor takes, (F,)."""
        return self.factors.max(0) + 1

    def score(self, value: float, of_each: Mapping[int, float]) -> Score:
        """The score, with what was left out."""
        return Score(float(value), dict(of_each), self.dead, self.num_codes)

    def of_factors(self, each: Array) -> Score:
        """The mean over factors, (F,)."""
        named = zip(self.varying.tolist(), each.tolist(), strict=True)
        return self.score(float(each.mean()), dict(named))

    def nothing(self) -> Score:
        """The score where all codes are dead."""
        return self.score(0.0, {})


def train_and_test(
    number: int, num_train: int, num_test: int, rng: np.random.Generator
) -> tuple[Array, Array]:
    """The rows to learn from and those to judge by: where there are too few, 2/3 and 1/3 of all."""
    order = rng.permutation(number)
    if number < num_train + num_test:
        num_train = max(1, round(number * num_train / (num_train + num_test)))
    return order[:num_train], order[num_train : num_train + num_test]


@contextmanager
def quietly() -> Iterator[None]:
    """Leaves unsaid that a classifier might have gone on learning, as it has a fixed budget."""
    from sklearn.exceptions import ConvergenceWarning

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        yield


def _checked(codes: Array | Tensor, factors: Array | Tensor) -> tuple[Array, Array]:
    z, v = _array(codes), _array(factors)
    if z.ndim != 2 or v.ndim != 2 or len(z) != len(v) or len(z) < 2 or 0 in z.shape + v.shape:
        raise ValueError(
            f"codes have shape {z.shape} and factors {v.shape}, but must be (N, D) and (N, K) for "
            "the same N data, two or more"
        )
    if v.dtype.kind not in "iub":
        raise TypeError(
            f"factors are of type {v.dtype}, but must be whole numbers, as a factor is one of so "
            "many values; number the values, or bin them"
        )
    if z.dtype.kind not in "fiub" or not np.isfinite(z).all():
        raise ValueError(
            f"codes of type {z.dtype} must be finite real numbers, but some are not; leave such "
            "data out"
        )
    return z.astype(np.float64), v.astype(np.int64)


def _array(x: Array | Tensor) -> Array:
    return x.detach().cpu().numpy() if isinstance(x, Tensor) else np.asarray(x)
