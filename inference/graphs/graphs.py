"""The graphs of one objective: which kind of call runs how, and when that changes.

A kind of call begins as counting, and may become captured, and then compiled:

    counting  the call runs eagerly: Python, Pyro's messages and autograd each time
    captured  as a graph, with the same kernels in the same order, bit for bit
    compiled  as the captured graph, fused by torch's compiler

It stays counting while it is rare, and if no graph can be made of the program.
"""

import warnings
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

from torch import Tensor

from .background import Compiling, can_compile_in_background
from .call import Call
from .capture import Captured, Source, capture, check
from .compiled import Compiled, Plan, plan_of
from .objective import Objective, Outcome, Parameters
from .options import Compile
from .report import GraphReport, KindOfCall
from .uncapturable import UncapturableError, first_line
from .update import Update
from .watch import Watch

__all__ = ["Graphs"]

# Of one objective. A program that asks for more changes at every step, and each graph would cost
# its capture, 0.2 to 0.9 s, and be run once.
_MOST_GRAPHS = 16
# The calls at which a graph is checked against the program: 64, 256, 1,024 and so on, so that what
# no value shows is noticed early, and a long training spends no more than 12 steps on it.
_CHECKS = {4**power for power in range(3, 15)}
_NO_PARAMETERS = Parameters()


def _before_check(calls: int) -> int:
    """How many calls may follow these before the one at which the graph is checked."""
    return min((check for check in _CHECKS if check > calls), default=2 * calls) - calls - 1


@dataclass(frozen=True)
class Counting:
    """No graph yet, since one that is seldom run would not earn back what it takes to make it."""

    mode: ClassVar[str] = "eager"


@dataclass
class _Kind:
    """The calls that one graph is good for, and how they run."""

    arguments: str  # of these calls, for people
    calls: int = 0
    state: Counting | Captured | Compiled = field(default_factory=Counting)
    plan: Plan | None = None  # what was looked for in the cache, for the day when it is compiled
    compiling: Compiling | None = None  # in another process, while this one runs as captured

    def report(self, *, refused: bool) -> KindOfCall:
        state = Counting() if refused else self.state
        return KindOfCall(
            self.arguments,
            state.mode,
            self.calls,
            updates=isinstance(state, Compiled) and state.update is not None,
            reason=state.failure if isinstance(state, Captured) else None,
            kernels=state.kernels if isinstance(state, Compiled) else "",
        )


class Graphs:
    """The graphs of an objective: one for each kind of call and each state of the program.

    Args:
        objective: What they are graphs of.
        options: How to run them.
        user: Who runs them, for the sentence of a warning.
        update: Makes the optimizer's step for a graph, from the parameters that the graph has
            gradients of and those that the optimizer steps; None where no graph can take the step.
    """

    def __init__(
        self,
        objective: Objective,
        options: Compile,
        user: str = "SVI",
        update: Callable[[Sequence[Tensor], Sequence[Tensor]], Update | None] = lambda *_: None,
    ) -> None:
        self.objective, self.options, self.user = objective, options, user
        self._update = update
        self._kinds: dict[Any, _Kind] = {}
        self._last: tuple[Any, _Kind] | None = None  # the key of the last call, and its kind
        self._version: Hashable = None  # of the parameters of the last call
        self._values: Mapping[str, Any] = {}  # those in sight when the last kind was looked up
        self._refusal: str | None = None
        self._compiles_next = False

    def run(
        self,
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
        step: int = 0,
        parameters: Parameters = _NO_PARAMETERS,
    ) -> Outcome | None:
        """Runs a call as a graph, if there is one or it is worth making.

        Args:
            args: Positional arguments of model and guide.
            kwargs: Keyword arguments of both.
            step: The step at which to take the schedules.
            parameters: What to differentiate the value by.

        Returns:
            None if the call has to be run eagerly.
        """
        if self._refusal is not None:
            return None
        try:
            # the schedules' values are as exact as what they weigh
            call = Call.of(args, kwargs, self.objective.weights(step), parameters.dtype)
            kind = self._kind_of(call, parameters.version)
            state = self._next(kind, parameters, call)
        except UncapturableError as reason:
            self.refuse(str(reason), stacklevel=5)
            return None
        if isinstance(state, Counting):
            return None
        return state.run(call.tensors, parameters.tensors)

    @property
    def loops(self) -> bool:
        """Whether calls like the last one can run together, by `run_each`."""
        return self._looping() is not None

    def run_each(
        self,
        arguments: Sequence[Sequence[Any]],
        step: int,
        parameters: Parameters,
        set_rates: Callable[[int], None],
    ) -> Sequence[Tensor]:
        """Runs calls in one, as many as can be: those of the kind of the last call, if it loops.

        Args:
            arguments: The positional arguments of each call.
            step: The step at which to take the schedules of the first.
            parameters: What to differentiate the value by.
            set_rates: Sets the learning rates of a step, which the numbers of the update are of.

        Returns:
            The value of each call that was run; one that is not finite is the last. None of them
            if the first call has to be run by `run`.
        """
        looping = self._looping()
        if looping is None or not self._watch.unchanged():
            return []
        key, kind, state = looping
        update, inputs = state.update, list[Sequence[Tensor]]()
        if update is None or not update.is_current():
            return []
        for args in arguments[: _before_check(kind.calls)]:
            now = step + len(inputs)
            try:
                call = Call.of(args, {}, self.objective.weights(now), parameters.dtype)
            except UncapturableError:
                break
            if (call.key, parameters.version) != key:
                break
            set_rates(now)
            inputs.append((*call.tensors, update.numbers()))
        values = state.run_each(inputs) if inputs else []
        kind.calls += len(values)
        return values

    def refuse(self, reason: str, *, stacklevel: int = 2) -> None:
        """Has all calls run eagerly from now on, and warns of it with the reason."""
        self._refusal = reason
        message = f"{self.user} runs eagerly, uncompiled: {reason}"
        warnings.warn(message, stacklevel=stacklevel)

    def compile_next(self) -> None:
        """Has the graph of the next call compiled, if that call runs as one that is captured."""
        self._compiles_next = True

    @property
    def mode(self) -> str:
        """How calls run that have a graph; "captured" if any of these graphs is not compiled."""
        modes = {kind.state.mode for kind in self._kinds.values()} - {Counting.mode}
        if self._refusal is not None or not modes:
            return Counting.mode
        return Captured.mode if Captured.mode in modes else Compiled.mode

    def report(self) -> GraphReport:
        """How each kind of call runs."""
        refused = self._refusal is not None
        kinds = tuple(kind.report(refused=refused) for kind in self._kinds.values())
        return GraphReport(self.mode, kinds, self._refusal)

    def _looping(self) -> tuple[Any, _Kind, Compiled] | None:
        """The key and kind of the last call, with its graph, if that runs many calls in one."""
        if self._last is None or self._refusal is not None or self._compiles_next:
            return None
        key, kind = self._last
        state = kind.state
        return (key, kind, state) if isinstance(state, Compiled) and state.loops else None

    def _next(
        self, kind: _Kind, parameters: Parameters, call: Call
    ) -> Counting | Captured | Compiled:
        """The state of a kind of call, moved on if it is time."""
        compiles, self._compiles_next = self._compiles_next, False
        state = kind.state
        if isinstance(state, Counting):
            # Not at the first call, before lazy parts are made. Later kinds wait for 10 calls: the
            # last batch of an epoch, smaller than the others, is too rare to earn its graph back.
            if kind.calls < (2 if len(self._kinds) == 1 else 10):
                return state
            source = Source(self.objective, self._watch, parameters, call)
            state = kind.state = capture(source)
            compiles = compiles or self.options.mode == "compiled"
            if not compiles and self.options.background:
                plan = self._plan(state, parameters, call)
                state = kind.state = plan.found() or state
                kind.plan = plan if isinstance(state, Captured) else None
        elif kind.calls in _CHECKS:
            captured = state.captured if isinstance(state, Compiled) else state
            check(captured, Source(self.objective, self._watch, parameters, call))
        if isinstance(state, Captured):
            if compiles and kind.compiling is None:
                known, kind.plan = kind.plan, None
                if known is None or not known.is_current():
                    known = self._plan(state, parameters, call)
                self._compile(kind, state, known)
            elif kind.compiling is not None and kind.compiling.is_done():
                self._take_over(kind, state, kind.compiling)
        elif state.update is not None and not state.update.is_current():
            self._update = lambda *_: None  # an optimizer that changes once may do so every step
            self._compile(kind, state.captured, self._plan(state.captured, parameters, call))
        return kind.state

    def _compile(self, kind: _Kind, captured: Captured, plan: Plan) -> None:
        """Compiles the graph, or takes it from the cache, or has another process compile it."""
        kind.state = captured
        if self.options.background and can_compile_in_background(plan):
            kind.state = plan.found() or captured
            kind.compiling = Compiling(plan) if isinstance(kind.state, Captured) else None
        else:
            kind.state = self._compiled(captured, plan.compiled)

    def _take_over(self, kind: _Kind, captured: Captured, compiling: Compiling) -> None:
        """Goes on with what another process compiled, unless the optimizer is another one since."""
        kind.compiling = None
        if compiling.plan.is_current():
            kind.state = self._compiled(captured, compiling.result)

    def _plan(self, captured: Captured, parameters: Parameters, call: Call) -> Plan:
        """What compiling a graph comes to, now."""
        source = Source(self.objective, self._watch, parameters, call)
        reached = [parameters.tensors[place] for place in captured.reached]
        update = self._update(reached, parameters.stepped)
        return plan_of(captured, source, update)

    def _compiled(self, captured: Captured, work: Callable[[], Compiled]) -> Captured | Compiled:
        """What the work returns; the graph as it is where the compiler fails."""
        try:
            return work()
        except Exception as error:  # no C++ compiler, or what it cannot do
            failure = first_line(error)
        message = f"{self.user} runs the captured graph uncompiled: {failure}"
        warnings.warn(message, stacklevel=7)
        return replace(captured, failure=failure)

    def _kind_of(self, call: Call, version: Hashable) -> _Kind:
        """The kind of a call, which counts it."""
        if version != self._version:
            # A program may have made modules since; what is to be watched is found anew.
            self._version, self._last = version, None
            objective = self.objective
            self._watch = Watch(objective.model, objective.guide, objective.modules)
        key = (call.key, version)
        if self._last is None or self._last[0] != key or not self._watch.unchanged():
            self._last = key, self._look_up(key, call)
        kind = self._last[1]
        kind.calls += 1
        return kind

    def _look_up(self, key: Any, call: Call) -> _Kind:
        values = self._watch.values()
        key = (key, tuple(values.items()))
        if key not in self._kinds:
            if len(self._kinds) >= _MOST_GRAPHS:
                raise UncapturableError(f"{self._what_changes(key, values)} between steps")
            self._kinds[key] = _Kind(str(call))
        self._values = values
        return self._kinds[key]

    def _what_changes(self, key: Any, values: Mapping[str, Any]) -> str:
        """What tells calls apart that are all of different kinds."""
        changed = [name for name in values if values[name] != self._values.get(name)]
        if changed:
            return f"{changed[0]!r} changes again and again"
        (call, version), _ = key
        calls = [(other_call, other) for ((other_call, other), _) in self._kinds]
        if len({other for _, other in calls}) > 1:
            return "its parameters are replaced again and again"
        if len({other[0] for other, _ in calls}) < len(self._kinds):
            numbers = ", ".join(repr(n) for n in call[1] if n is not ...)
            return (
                f"an argument that is no tensor changes again and again (now {numbers}; give it as "
                "a tensor)"
            )
        return "the shapes of its data change again and again"
