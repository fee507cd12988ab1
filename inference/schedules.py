"""Schedules: numbers that change with the training step, such as the beta of a KL warm-up.

A schedule is a function from the step (0, 1, ...) to a number; any such function serves.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

__all__ = ["constant", "cosine", "cyclical", "delayed", "linear", "warm_up"]


@dataclass(frozen=True)
class constant:
    """The same value at every step.

    Example:
        >>> constant(4.0)(1000)
        4.0
    """

    value: float

    def __call__(self, step: int) -> float:
        """Returns the value at a step."""
        return self.value


@dataclass(frozen=True)
class linear:
    """From `start` to `stop` in a straight line over `steps` steps, then `stop`.

    With `linear(0, 1, steps)` as beta this is KL warm-up
    (Bowman et al., 2016, https://arxiv.org/abs/1511.06349).

    Example:
        >>> [linear(0, 1, steps=4)(step) for step in (0, 1, 4, 9)]
        [0.0, 0.25, 1.0, 1.0]
    """

    start: float
    stop: float
    steps: int

    def __post_init__(self) -> None:
        _at_least_one("linear", "steps", self.steps)

    def __call__(self, step: int) -> float:
        """Returns the value at a step."""
        return self.start + (self.stop - self.start) * min(step / self.steps, 1.0)


@dataclass(frozen=True)
class cosine:
    """From `start` to `stop` along half a cosine over `steps` steps, then `stop`.

    The usual decay of a learning rate (Loshchilov and Hutter, 2017,
    https://arxiv.org/abs/1608.03983).

    Example:
        >>> [round(cosine(1, 0, steps=4)(step), 2) for step in (0, 1, 2, 4, 9)]
        [1.0, 0.85, 0.5, 0.0, 0.0]
    """

    start: float
    stop: float
    steps: int

    def __post_init__(self) -> None:
        _at_least_one("cosine", "steps", self.steps)

    def __call__(self, step: int) -> float:
        """Returns the value at a step."""
        done = min(step / self.steps, 1.0)
        return self.stop + (self.start - self.stop) * (1 + math.cos(math.pi * done)) / 2


@dataclass(frozen=True)
class cyclical:
    """Again and again from `start` to `stop`: up for a `ratio` of the period, then held.

    Reference:
        Fu et al., 2019, https://arxiv.org/abs/1903.10145

    Example:
        >>> [cyclical(0, 1, period=4)(step) for step in range(6)]
        [0.0, 0.5, 1.0, 1.0, 0.0, 0.5]
    """

    start: float
    stop: float
    period: int
    ratio: float = 0.5

    def __post_init__(self) -> None:
        _at_least_one("cyclical", "period", self.period)
        if not 0 < self.ratio <= 1:
            raise ValueError(f"the ratio of cyclical must be in (0, 1], but is {self.ratio}")

    def __call__(self, step: int) -> float:
        """Returns the value at a step."""
        rise = (step % self.period) / (self.ratio * self.period)
        return self.start + (self.stop - self.start) * min(rise, 1.0)


@dataclass(frozen=True)
class delayed:
    """0 for the first `steps` steps, then `value`.

    With `delayed(0.5, steps)` as its weight an adversary waits until there are images to judge
    (Esser et al., 2021, https://arxiv.org/abs/2012.09841, appendix A).

    Example:
        >>> [delayed(0.5, steps=4)(step) for step in (0, 3, 4, 9)]
        [0.0, 0.0, 0.5, 0.5]
    """

    value: float
    steps: int

    def __post_init__(self) -> None:
        _at_least_one("delayed", "steps", self.steps)

    def __call__(self, step: int) -> float:
        """Returns the value at a step."""
        return self.value if step >= self.steps else 0.0


@dataclass(frozen=True)
class warm_up:
    """Up to the value that `then` begins with, in `steps` equal steps, and on by `then`.

    With `warm_up(1000, cosine(1, 0.01, 30_000))` as its schedule the learning rate rises to its
    full height in 1,000 steps, and falls to a hundredth of it in the 30,000 after these
    (Goyal et al., 2017, https://arxiv.org/abs/1706.02677, section 2.2). The first step already has
    1 / `steps` of the height, as a step of rate 0 would be none.

    Args:
        steps: The steps of the rise.
        then: The schedule that follows, which counts from the end of the rise.

    Example:
        >>> [warm_up(4, linear(1, 0, steps=2))(step) for step in (0, 1, 3, 4, 5, 6)]
        [0.25, 0.5, 1.0, 1.0, 0.5, 0.0]
    """

    steps: int
    then: Callable[[int], float] = constant(1.0)

    def __post_init__(self) -> None:
        _at_least_one("warm_up", "steps", self.steps)
        if not callable(self.then):
            raise ValueError(
                f"then of warm_up is {self.then!r}, but must be a schedule, such as constant(0.5) "
                "or cosine(1, 0.01, steps=30_000)"
            )

    def __call__(self, step: int) -> float:
        """Returns the value at a step."""
        if step < self.steps:
            return self.then(0) * (step + 1) / self.steps
        return self.then(step - self.steps)


def _at_least_one(schedule: str, argument: str, value: int) -> None:
    if value < 1:
        raise ValueError(f"the {argument} of {schedule} must be at least 1, but is {value}")
