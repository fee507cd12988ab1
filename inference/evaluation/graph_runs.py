"""A statistic of a program's runs on many batches, as a graph."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn

from pyro_vae.inference.graphs import Compile, Graphs
from pyro_vae.program import Program

__all__ = ["Runs", "Statistic", "captured"]

_WORTH_CAPTURING = 50  # runs, some of which capturing takes the time of
_TIMED = 100  # captured runs, after which compiling is decided on
_COMPILING, _SAVED = 15.0, 0.4  # seconds in the background; of a captured run


@dataclass(frozen=True)
class Statistic:
    """A function of a batch as graphs take it, without schedules and modules of its own."""

    model: Callable[..., Any]
    guide: Callable[..., Any]
    function: Callable[[Any, Any], Tensor]
    modules: Mapping[str, nn.Module] = field(default_factory=dict)

    def weights(self, step: int) -> dict[str, float]:
        """No schedules."""
        return {}

    def value(self, args: Any, kwargs: Any, weights: Any) -> Tensor:
        """The function's value."""
        return self.function(args, kwargs)


def captured(
    program: Program,
    function: Callable[[Any, Any], Tensor],
    user: str,
    runs: int,
    *,
    may_compile: bool = False,
) -> Callable[[Any, Any], Tensor]:
    """The function of (args, kwargs), as a graph where so many runs earn it back.

    With draws as in eager runs, whether it is compiled or not.
    """
    if runs < _WORTH_CAPTURING:
        return function
    options = Compile(mode="captured", background=may_compile)
    graphs = Graphs(Statistic(program.model, program.guide, function), options, user)
    return Runs(graphs, function, left=runs if may_compile else 0)


@dataclass
class Runs:
    """Runs of a graph, which is compiled where those that are left pay for it.

    Args:
        graphs: The graph's.
        function: What it is a graph of, for what no graph can run.
        left: The number of runs to come; 0 where it is not to be compiled.
    """

    graphs: Graphs
    function: Callable[[Any, Any], Tensor]
    left: int
    timed: int = -1  # the first captured run makes the graph
    seconds: float = 0.0

    def __call__(self, args: Any, kwargs: Any) -> Tensor:
        """The function's value, by the graph where it has one."""
        began = time.perf_counter()
        outcome = self.graphs.run(args, kwargs)
        value = self.function(args, kwargs) if outcome is None else outcome.value
        self.left -= 1
        if self.timed < _TIMED and self.graphs.mode == "captured":
            self.seconds += time.perf_counter() - began if self.timed >= 0 else 0.0
            self.timed += 1
            if self.timed == _TIMED and self.left * self.seconds / _TIMED * _SAVED > _COMPILING:
                self.graphs.compile_next()
        return value
