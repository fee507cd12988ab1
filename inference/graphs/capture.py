"""A function of a program, with its gradient, as one graph: the program runs once.

    eager     Python, Pyro's messages and autograd at every step
    captured  the same kernels in the same order, bit for bit, without the three
    compiled  the captured graph, fused by torch's compiler

The graph reads the parameters and buffers where they are, so that an optimizer may go on changing
them. It draws fresh random numbers at every call. Schedules are inputs.
"""

import gc
import random
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyro
import torch
from torch import Tensor
from torch._guards import TracingContext, tracing
from torch._subclasses import FakeTensorMode
from torch.fx import GraphModule
from torch.fx.experimental.proxy_tensor import get_proxy_mode, make_fx

from .call import Call
from .options import Compile
from .passes import prepare
from .report import GraphReport, KindOfCall
from .uncapturable import RefuseChangingSizes, UncapturableError, first_line, reason_of
from .update import Update
from .watch import Watch

__all__ = ["Function", "Graphs"]

Function = Callable[[Any, Any, Mapping[str, Any]], Tensor]
_MOST_GRAPHS = 8
_CHECKS = {4**power for power in range(3, 15)}  # the calls at which a graph is checked again


@dataclass
class _Entry:
    """What is known of one kind of call."""

    arguments: str  # of its calls, for people
    calls: int = 0
    failure: str | None = None  # why the compiler could not compile the graph
    graph: Callable[..., Any] | None = None
    spare: GraphModule | None = None  # the same graph, for the compiler
    fused: Callable[..., Any] | None = None
    update: Update | None = None  # what the compiled graph does after its gradients
    reached: list[int] = field(default_factory=list)

    def due(self, *, first: bool) -> bool:
        """Whether a graph pays: not before lazy parts are made, nor for a rare last batch."""
        return self.calls >= (2 if first else 10)


class Graphs:
    """The graphs of one function: one for each kind of call and each state of the program.

    Args:
        model: The model.
        guide: Its guide.
        function: A function of (args, kwargs, weights), where the weights are schedules' values.
        options: How to run it.
        user: Who runs it, for the sentence of a warning.
        state: The tensors beside the program's buffers that a run changes.
        update: What a compiled graph is to do to the parameters that it has gradients of.
    """

    def __init__(
        self,
        model: Callable[..., Any],
        guide: Callable[..., Any],
        function: Function,
        options: Compile,
        user: str = "SVI",
        state: Callable[[], Sequence[Tensor]] = tuple,
        update: Callable[[Sequence[Tensor]], Update | None] = lambda _: None,
    ) -> None:
        self.update = update
        self.updated = False  # whether the last run has done so
        self.model, self.guide = model, guide
        self.function, self.options, self.user, self.state = function, options, user, state
        self.version: int | None = None
        self.entries: dict[Any, _Entry] = {}
        self.values: dict[str, Any] = {}
        self.last: tuple[Any, _Entry] | None = None  # the key of the last call, and its entry
        self.refusal: str | None = None
        self.asked = False  # to compile the graph of the next call

    def refuse(self, reason: str) -> None:
        """Runs eagerly from now on, and says why."""
        self.refusal = reason
        warnings.warn(f"{self.user} runs eagerly, uncompiled: {reason}", stacklevel=4)

    def run(
        self,
        parameters: Sequence[Tensor],
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
        weights: Mapping[str, float],
        version: int = 0,
    ) -> Tensor | None:
        """The function's value, detached, with its gradient put into the parameters.

        Or it has stepped them already, if the value is finite; then `updated` is True.

        Args:
            parameters: What to differentiate the value by.
            args: Positional arguments of model and guide.
            kwargs: Keyword arguments of both.
            weights: The schedules' values.
            version: A number that differs where other tensors are the parameters.

        Returns:
            The value, or None, which asks to run eagerly.
        """
        asked, self.asked = self.asked, False
        if self.refusal is not None:
            return None
        try:
            # the schedules' values are as exact as what they weigh
            dtype = parameters[0].dtype if parameters else torch.get_default_dtype()
            call = Call.of(args, kwargs, weights, dtype)
            if version != self.version:
                self._look_around(version)
            entry = self._entry(call, version)
            if entry.graph is None and not entry.due(first=len(self.entries) == 1):
                return None
            if entry.graph is None:
                self._capture(entry, parameters, call)
            elif entry.calls in _CHECKS:
                self._check(entry, parameters, call)
        except UncapturableError as reason:
            self.refuse(str(reason))
            return None
        if asked and entry.fused is None:
            self._fuse(entry, parameters, call)
        if entry.update is not None and not entry.update.holds():
            self.update = lambda _: None  # the compiler is asked once more, but not again and again
            self._fuse(entry, parameters, call)
        self.updated = entry.update is not None
        numbers = [] if entry.update is None else [entry.update.numbers()]
        run = entry.graph if entry.fused is None else entry.fused
        with torch.no_grad():
            value, *gradients = run(*call.tensors, *numbers)  # type: ignore[misc]
        if entry.update is not None:
            return value
        for index, gradient in zip(entry.reached, gradients, strict=True):
            parameters[index].grad = _laid_out_like(parameters[index], gradient)
        return value

    @property
    def mode(self) -> str:
        """How the calls run for which a graph was made."""
        graphs = [entry for entry in self.entries.values() if entry.graph is not None]
        if self.refusal is not None or not graphs:
            return "eager"
        return "captured" if any(entry.fused is None for entry in graphs) else "compiled"

    def report(self) -> GraphReport:
        """How each kind of call runs."""
        kinds = tuple(_report_of(entry, self.refusal) for entry in self.entries.values())
        return GraphReport(self.mode, kinds, self.refusal)

    def _look_around(self, version: int) -> None:
        """Finds what to watch, and the buffers: a program may make modules when it first runs."""
        self.version, self.last = version, None
        self.watch = Watch(self.model, self.guide)
        self.buffers = [b for _, module in self.watch.modules for b in module.buffers(False)]

    def _entry(self, call: Call, version: int) -> _Entry:
        key = (call.key, version)
        if self.last is None or self.last[0] != key or not self.watch.unchanged():
            self.last = key, self._find(key, call)
        entry = self.last[1]
        entry.calls += 1
        return entry

    def _find(self, key: Any, call: Call) -> _Entry:
        values = self.watch.values()
        key = (key, tuple(values.items()))
        if key not in self.entries:
            if len(self.entries) >= _MOST_GRAPHS:
                raise UncapturableError(f"{self._what_changes(key, values)} between steps")
            self.entries[key] = _Entry(str(call))
        self.values = values
        return self.entries[key]

    def _what_changes(self, key: Any, values: Mapping[str, Any]) -> str:
        changed = [name for name in values if values[name] != self.values.get(name)]
        if changed:
            return f"{changed[0]!r} changes again and again"
        (call, version), _ = key
        calls = [(other_call, other) for ((other_call, other), _) in self.entries]
        if len({other for _, other in calls}) > 1:
            return "its parameters are replaced again and again"
        if len({other[0] for other, _ in calls}) < len(self.entries):
            numbers = ", ".join(repr(n) for n in call[1] if n is not ...)
            return (
                f"an argument that is no tensor changes again and again (now {numbers}; give it as "
                "a tensor)"
            )
        return "the shapes of its data change again and again"

    def _capture(self, entry: _Entry, parameters: Sequence[Tensor], call: Call) -> None:
        def step(*tensors: Tensor) -> tuple[Tensor, ...]:
            return self._eager(entry, parameters, call.with_tensors(tensors))

        before, python = self.watch.values(), (random.getstate(), _numpy_state())
        with self._unchanged(), tracing(_one_fake_mode()), _uncollected():
            try:
                graphs = [make_fx(step)(*call.tensors) for _ in range(2)]
            except Exception as error:  # whatever torch cannot trace
                raise UncapturableError(reason_of(error)) from error
        changed = [name for name, value in self.watch.values().items() if value != before.get(name)]
        if changed:
            raise UncapturableError(f"each run changes {changed[0]!r}, which a graph cannot")
        if python != (random.getstate(), _numpy_state()):
            raise UncapturableError("it draws random numbers of Python or numpy; draw torch's")
        if not _same(*graphs):
            raise UncapturableError("two runs with the same data do different things")
        entry.graph, entry.spare = graphs
        self._check(entry, parameters, call)
        if self.options.mode == "compiled":
            self._fuse(entry, parameters, call)

    def _check(self, entry: _Entry, parameters: Sequence[Tensor], call: Call) -> None:
        """Compares the graph with a run of the program itself, for the same random numbers."""
        found = []
        for run in (entry.graph, lambda *_: self._eager(entry, parameters, call)):
            with self._unchanged(), torch.set_grad_enabled(run is not entry.graph):
                found.append(run(*call.tensors))  # type: ignore[misc]
        close = (torch.allclose(a, b, 1e-3, 1e-5) for a, b in zip(*found, strict=False))
        if len(found[0]) != len(found[1]) or not all(close):
            raise UncapturableError("the program no longer does what it did when it was captured")

    def _fuse(self, entry: _Entry, parameters: Sequence[Tensor], call: Call) -> None:
        """Compiles the spare graph, with the optimizer's step after it if that can be."""
        entry.update = self.update([parameters[index] for index in entry.reached])
        inputs: list[Any] = list(call.tensors)
        graph: Any = entry.spare  # the compiler may change it, but is asked again only of a step
        changed: list[Tensor] = []
        if entry.update is not None:
            inputs.append(entry.update.numbers())
            changed = list(entry.update.state)
        in_cpp = all(tensor.device.type == "cpu" for tensor in inputs)  # saves 0.2 ms a call
        options: Any = {"fallback_random": self.options.eager_random, "cpp_wrapper": in_cpp}
        fused: Any
        try:
            with self._unchanged(changed), torch.no_grad():
                if entry.update is not None:
                    with tracing(_one_fake_mode()):
                        graph = make_fx(_with(entry.update, graph))(*inputs)
                # Without torch.compile's guards, which cost 0.4 ms at 60 parameters: here `Watch`
                # and the key of the call stand guard.
                fused = torch._inductor.compile(prepare(graph), inputs, options=options)
                fused(*inputs)
        except Exception as error:  # no C++ compiler, or what it cannot do
            entry.fused = entry.update = None
            entry.failure = first_line(error)
            warnings.warn(
                f"{self.user} runs the captured graph uncompiled: {entry.failure}",
                stacklevel=5,
            )
        else:
            entry.fused, entry.failure = fused, None

    def _eager(self, entry: _Entry, parameters: Sequence[Tensor], call: Call) -> tuple[Tensor, ...]:
        args, kwargs, weights = call.arguments()
        refusing = RefuseChangingSizes() if get_proxy_mode() is not None else nullcontext()
        with pyro.validation_enabled(False), torch.set_grad_enabled(bool(parameters)), refusing:
            value = self.function(args, kwargs, weights)
            gradients: Any = ()
            if parameters:
                gradients = torch.autograd.grad(value, parameters, allow_unused=True)
        entry.reached = [i for i, gradient in enumerate(gradients) if gradient is not None]
        return (value.detach(), *(gradient for gradient in gradients if gradient is not None))

    @contextmanager
    def _unchanged(self, others: Sequence[Tensor] = ()) -> Iterator[None]:
        """Leaves the random generators, the buffers, the state and other tensors as they were."""
        tensors = [*self.buffers, *self.state(), *(tensor.detach() for tensor in others)]
        values = [tensor.clone() for tensor in tensors]
        try:
            with torch.random.fork_rng():
                yield
        finally:
            for tensor, value in zip(tensors, values, strict=True):
                tensor.copy_(value)


def _report_of(entry: _Entry, refusal: str | None) -> KindOfCall:
    if refusal is not None or entry.graph is None:
        return KindOfCall(entry.arguments, "eager", entry.calls)
    if entry.fused is None:
        return KindOfCall(entry.arguments, "captured", entry.calls, reason=entry.failure)
    return KindOfCall(entry.arguments, "compiled", entry.calls, entry.update is not None)


def _one_fake_mode() -> TracingContext:
    """One fake mode for all shapes that are noted.

    By itself make_fx makes one for each, in 60 % of its time, and the compiler refuses several.
    """
    return TracingContext(FakeTensorMode(allow_fallback_kernels=True))


@contextmanager
def _uncollected() -> Iterator[None]:
    """Holds Python's garbage collector back: a fifth of the time of tracing, which leaves none."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def _with(update: Update, graph: Callable[..., Any]) -> Callable[..., Any]:
    """The graph, and the step by its gradients after it, but for a value that is not finite."""

    def step(*tensors: Tensor) -> tuple[Tensor]:
        *inputs, numbers = tensors
        value, *gradients = graph(*inputs)
        update.apply(gradients, numbers, value.isfinite().all())
        return (value,)

    return step


def _laid_out_like(parameter: Tensor, gradient: Tensor) -> Tensor:
    """The gradient in the parameter's layout: fused optimizers read both from end to end."""
    if gradient.stride() == parameter.stride():
        return gradient
    return torch.empty_like(parameter).copy_(gradient)


def _same(one: GraphModule, other: GraphModule) -> bool:
    """Whether two graphs do the same with the same tensors; numbers stand in the code."""
    pairs = zip(one.graph.nodes, other.graph.nodes, strict=False)
    held = ((a, b) for a, b in pairs if a.op == "get_attr")
    return one.code == other.code and all(
        _alike(getattr(one, a.target), getattr(other, b.target)) for a, b in held
    )


def _alike(one: Any, other: Any) -> bool:
    if one is other or not isinstance(one, Tensor):
        return one is other
    # Constants made by the run itself, such as torch.zeros(3), are new tensors of the same values.
    return one.shape == other.shape and torch.equal(one, other)


def _numpy_state() -> tuple[bytes, int]:
    state: Any = np.random.get_state(legacy=False)
    return state["state"]["key"].tobytes(), state["state"]["pos"]
