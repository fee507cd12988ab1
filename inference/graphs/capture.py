"""A run of an objective and its gradient as one graph: the program runs once.

The graph reads the parameters and buffers where they are, so that an optimizer may go on changing
them. It draws fresh random numbers at every call. Arguments and schedules are its inputs.
"""

import gc
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any, ClassVar

import pyro
import torch
from torch import Tensor
from torch._guards import TracingContext, tracing
from torch._subclasses import FakeTensorMode
from torch.fx import GraphModule
from torch.fx.experimental.proxy_tensor import make_fx

from .call import Call
from .objective import Objective, Outcome, Parameters
from .recurrent import keep_workspaces
from .restoring import python_generators, restoring
from .uncapturable import RefuseChangingSizes, UncapturableError, reason_of
from .watch import Watch

__all__ = ["Captured", "Source", "capture", "check", "one_fake_mode", "put_gradients"]

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
        spare: The same graph once more. The compiler changes the one that it is given.
        reached: The places of the parameters that the gradients are by.
        failure: Why the compiler could not compile it, if it was tried.
    """

    graph: GraphModule
    spare: GraphModule
    reached: Sequence[int]
    failure: str | None = None

    mode: ClassVar[str] = "captured"

    def run(self, inputs: Sequence[Tensor], parameters: Sequence[Tensor]) -> Outcome:
        """The value; the gradients are put into the parameters."""
        with torch.no_grad():
            value, *gradients = self.graph(*inputs)
        put_gradients(parameters, self.reached, gradients)
        return Outcome(value, updated=False)


def capture(source: Source) -> Captured:
    """The graph of a call, checked against the program.

    Raises:
        UncapturableError: If the program does what no graph can do, or not the same each time.
    """
    reached: list[int] = []

    def step(*tensors: Tensor) -> tuple[Tensor, ...]:
        with RefuseChangingSizes():
            value, gradients = source.run(tensors)
        by_place = {place: g for place, g in enumerate(gradients) if g is not None}
        reached[:] = by_place
        return (value, *by_place.values())

    values, generators = source.watch.values(), python_generators()
    with source.restored(), tracing(one_fake_mode()), _uncollected():
        try:
            # Twice: a second run shows what depends on a counter or on the clock.
            graph, spare = (make_fx(step)(*source.call.tensors) for _ in range(2))
        except Exception as error:  # whatever torch cannot trace
            raise UncapturableError(reason_of(error)) from error
    changed = [name for name, new in source.watch.values().items() if new != values.get(name)]
    if changed:
        raise UncapturableError(f"each run changes {changed[0]!r}, which a graph cannot")
    if generators != python_generators():
        raise UncapturableError("it draws random numbers of Python or numpy; draw torch's")
    if not _are_same(graph, spare):
        raise UncapturableError("two runs with the same data do different things")
    for each in (graph, spare):
        keep_workspaces(each)
    captured = Captured(graph, spare, reached)
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


def one_fake_mode() -> TracingContext:
    """One fake mode for all shapes that are noted.

    By itself make_fx makes one for each, in 60 % of its time, and the compiler refuses several.
    """
    return TracingContext(FakeTensorMode(allow_fallback_kernels=True))


@contextmanager
def _uncollected() -> Iterator[None]:
    """Turns Python's garbage collector off: a fifth of the time of tracing, which leaves none."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def _are_same(one: GraphModule, other: GraphModule) -> bool:
    """Whether two graphs do the same with the same tensors; numbers stand in the code."""
    pairs = zip(one.graph.nodes, other.graph.nodes, strict=False)
    constants = ((a, b) for a, b in pairs if a.op == "get_attr")
    return one.code == other.code and all(
        _are_alike(getattr(one, a.target), getattr(other, b.target)) for a, b in constants
    )


def _are_alike(one: Any, other: Any) -> bool:
    if one is other or not isinstance(one, Tensor):
        return one is other
    # Constants made by the run itself, such as torch.zeros(3), are new tensors of the same values.
    return one.shape == other.shape and torch.equal(one, other)
