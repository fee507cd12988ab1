"""A run of an objective and its gradient as one graph: the program's Python runs no more.

The graph reads the parameters and buffers where they are, so that an optimizer may go on changing
them. It draws fresh random numbers at every call. Arguments and schedules are its inputs.
"""

import gc
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import pyro
import torch
from torch import Tensor
from torch.fx import GraphModule

from .building import graph_of
from .call import Call
from .objective import Objective, Outcome, Parameters
from .recording import Name, Recording, recorded
from .recurrent import keep_workspaces
from .restoring import python_generators, restoring
from .uncapturable import UncapturableError, reason_of
from .watch import Watch

__all__ = ["Captured", "Source", "capture", "check", "put_gradients", "uncollected"]

Gradients = Sequence[Tensor | None]


@dataclass(frozen=True)
class Source:
    """What a graph is made from: an objective, its parameters, and the arguments of one call."""

    objective: Objective
    watch: Watch
    parameters: Parameters
    call: Call

    def run(self, tensors: Sequence[Tensor]) -> tuple[Tensor, Gradients]:
        """The value for these inputs, and its gradient by each parameter; None where it has none.

        This is an eager run of the program, but without Pyro's checks, which read numbers.
        """
        args, kwargs, weights = self.call.with_tensors(tensors).arguments()
        parameters = self.parameters.tensors
        with pyro.validation_enabled(False), torch.set_grad_enabled(bool(parameters)):
            value = self.objective.value(args, kwargs, weights)
            gradients: Gradients = ()
            if parameters:
                gradients = torch.autograd.grad(value, parameters, allow_unused=True)
        return value.detach(), gradients

    def restored(self, others: Sequence[Tensor] = ()) -> AbstractContextManager[None]:
        """Leaves what a run changes, and other tensors, as they were."""
        return restoring([*self.watch.buffers(), *others])


@dataclass(frozen=True)
class Captured:
    """A graph that runs operation by operation: the kernels of an eager run, in the same order.

    What it saves are the program's Python, Pyro's messages and autograd.

    Args:
        graph: From the inputs of a call to the value and the gradients.
        reached: The places of the parameters that the gradients are by.
        failure: Why the compiler could not compile it, if it was tried.
    """

    graph: GraphModule
    reached: Sequence[int]
    failure: str | None = None

    mode: ClassVar[str] = "captured"

    def run(self, inputs: Sequence[Tensor], parameters: Sequence[Tensor]) -> Outcome:
        """The value; the gradients are put into the parameters."""
        with torch.no_grad():
            value, *gradients = self.graph(*inputs)
        put_gradients(parameters, self.reached, gradients)
        return Outcome(value, updated=False)


class _Run(NamedTuple):
    """A recorded run, with the names of its value and gradients."""

    recording: Recording
    value: Name
    gradients: Sequence[Name | None]


def capture(source: Source) -> Captured:
    """The graph of a call, checked against the program.

    Raises:
        UncapturableError: If the program does what no graph can do, or not the same each time.
    """
    values, generators = source.watch.values(), python_generators()
    with source.restored(), uncollected():
        try:
            # Twice: a second run shows what depends on a counter or on the clock.
            run, again = _run_of(source), _run_of(source)
        except Exception as error:  # whatever no graph can do
            raise UncapturableError(reason_of(error)) from error
        changed = [name for name, new in source.watch.values().items() if new != values.get(name)]
        if changed:
            raise UncapturableError(f"each run changes {changed[0]!r}, which a graph cannot")
        if generators != python_generators():
            raise UncapturableError("it draws random numbers of Python or numpy; draw torch's")
        if not _are_same(run, again, [*source.parameters.tensors, *source.watch.buffers()]):
            raise UncapturableError("two runs with the same data do different things")
        by_place = {place: name for place, name in enumerate(run.gradients) if name is not None}
        graph = graph_of(run.recording, (run.value, *by_place.values()))
    keep_workspaces(graph)
    captured = Captured(graph, list(by_place))
    check(captured, source)
    return captured


def check(captured: Captured, source: Source) -> None:
    """Compares the graph with a run of the program itself, for the same random numbers.

    Raises:
        UncapturableError: If they differ by more than the order of float32 sums does.
    """
    inputs = source.call.tensors
    with source.restored(), torch.no_grad():
        found = captured.graph(*inputs)
    with source.restored():
        value, gradients = source.run(inputs)
    expected = (value, *(g for g in gradients if g is not None))
    close = (torch.allclose(a, b, 1e-3, 1e-5) for a, b in zip(found, expected, strict=False))
    if len(found) != len(expected) or not all(close):
        raise UncapturableError("the program no longer does what it did when it was captured")


def put_gradients(
    parameters: Sequence[Tensor], reached: Sequence[int], gradients: Sequence[Tensor]
) -> None:
    """Makes gradients those of the parameters at these places."""
    for place, gradient in zip(reached, gradients, strict=True):
        parameter = parameters[place]
        if gradient.stride() != parameter.stride():
            # Fused optimizers read both from end to end, as if they were laid out alike.
            gradient = torch.empty_like(parameter).copy_(gradient)
        parameter.grad = gradient


@contextmanager
def uncollected() -> Iterator[None]:
    """Turns Python's garbage collector off: a quarter of a capture's time, which leaves none."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def _run_of(source: Source) -> _Run:
    """A run of the program, recorded."""
    inputs = source.call.tensors
    with recorded(inputs) as recording:
        value, gradients = source.run(inputs)
        named = [None if g is None else recording.name(g) for g in gradients]
        return _Run(recording, recording.name(value), named)


def _are_same(one: _Run, other: _Run, kept: Sequence[Tensor]) -> bool:
    return one[1:] == other[1:] and one.recording.is_same_as(other.recording, kept)
