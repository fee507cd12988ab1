"""Weights by the names of sites, numbers and schedules, such as those of training factors."""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from types import MappingProxyType
from typing import Any

from torch import Tensor

__all__ = [
    "ByName",
    "FactorWeights",
    "Weight",
    "check_names",
    "check_not_negative",
    "is_weight",
    "is_zero",
    "number",
]

Weight = float | Callable[[int], float]  # a number or a schedule


class ByName(Mapping[str, Weight]):
    """Weights by the names of sites: a mapping that cannot be changed and is hashed."""

    def __init__(self, weights: Mapping[str, Weight]) -> None:
        self._weights = dict(weights)

    def __getitem__(self, name: str) -> Weight:
        return self._weights[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._weights)

    def __len__(self) -> int:
        return len(self._weights)

    def __hash__(self) -> int:
        return hash(frozenset(self._weights.items()))

    def __repr__(self) -> str:
        return repr(self._weights)


class FactorWeights(ByName):
    """What an estimator weighs training factors by.

    Args:
        weights: A number or a schedule for each name. What is not named weighs 1.
        user: Whose they are, for the sentence of an error.

    Raises:
        TypeError: If they are no mapping.
        ValueError: If a name is no text, or a weight neither a finite number nor a schedule.
    """

    def __init__(
        self, weights: Mapping[str, Weight] = MappingProxyType({}), user: str = "the estimator"
    ) -> None:
        if not isinstance(weights, Mapping):
            raise TypeError(
                f"factors of {user} is {weights!r:.80}, but must be a mapping of names to weights, "
                'such as {"label": 50.0}'
            )
        super().__init__(weights)
        for name, weight in self.items():
            if not isinstance(name, str) or not is_weight(weight):
                raise ValueError(
                    f"{user} weighs the factor {name!r} by {weight!r:.80}, but names are texts, "
                    "and weights finite numbers or schedules"
                )


def check_names(weights: Iterable[str], stated: Iterable[str], user: str) -> None:
    """Refuses weights for names that are none of the training factors that a program states.

    Args:
        weights: The names that are weighed.
        stated: The names of the program's training factors.
        user: Who weighs them, for the sentence.
    """
    names = list(stated)
    unknown = [name for name in weights if name not in names]
    if unknown and not names:
        raise ValueError(
            f"{user} weighs the factors {unknown}, but the program has no training factors; leave "
            "the weights out, or state factors with pyro_vae.training_factor"
        )
    if unknown:
        raise ValueError(
            f"{user} weighs the factors {unknown}, but the training factors of the program are "
            f"{names}; name these, and state others with pyro_vae.training_factor"
        )


def number(weight: Weight) -> float:
    """The weight, which must not be a schedule any more."""
    if callable(weight):
        raise ValueError(
            f"{weight!r} is a schedule, which needs the step: train with pyro_vae.inference.SVI, "
            "which counts them, or take `estimator.at(step)`"
        )
    return weight


def is_zero(weight: Any) -> bool:
    """Whether it is the number 0, or 0 for each name; a schedule and its value may be anything."""
    if isinstance(weight, ByName):
        return all(map(is_zero, weight.values()))
    return isinstance(weight, int | float) and weight == 0


def check_not_negative(what: str, weight: Any) -> None:
    """Refuses a number that is negative or not finite; a schedule may be anything."""
    if isinstance(weight, int | float) and not 0 <= weight < math.inf:
        raise ValueError(f"{what} must be finite and not negative, but is {weight}")


def is_weight(weight: Any) -> bool:
    """Whether it is a finite number, a schedule, or a schedule's value in a graph."""
    if isinstance(weight, int | float) and not isinstance(weight, bool):
        return math.isfinite(weight)
    return isinstance(weight, Tensor) or callable(weight)
