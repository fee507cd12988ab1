"""A captured graph compiled by torch, with the optimizer's step in it where that can be."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.fx import GraphModule

from .building import graph_of
from .capture import Captured, Source, put_gradients, uncollected
from .compiler import compiled_by_torch
from .library import Library, find, forget, keep, key_of, load
from .lifting import lifted
from .objective import Outcome
from .passes import kernels_in, prepare
from .recording import recorded
from .update import Update

__all__ = ["Compiled", "Plan", "plan_of"]

Function = Callable[..., Sequence[Tensor]]

# Numbers that one thread works on at least. By the compiler's own 512 a program of many small
# tensors waits for its threads more than it computes: 2.1 ms a step for 15 groups of latents on two
# cores, and 1.4 by this.
_CHUNK = 8192


@dataclass(frozen=True)
class Compiled:
    """A graph that was compiled.

    Args:
        captured: The graph that it was made of, which stays to be checked and compiled again.
        function: From the graph's own tensors and the inputs of a call to the value and the
            gradients; or with an update, from these and its numbers to the value alone.
        tensors: The graph's own tensors, such as the parameters.
        kernels: Which its products and convolutions go to, in words.
        update: The optimizer's step within it, if it takes that.
    """

    captured: Captured
    function: Function
    tensors: Sequence[Tensor]
    kernels: str
    update: Update | None

    mode: ClassVar[str] = "compiled"

    def run(self, inputs: Sequence[Tensor], parameters: Sequence[Tensor]) -> Outcome:
        """The value; the parameters are updated, or their gradients put into them."""
        if self.update is not None:
            numbers = self.update.numbers()
            with torch.no_grad():
                (value,) = self.function(*self.tensors, *inputs, numbers)
            return Outcome(value, updated=True)
        with torch.no_grad():
            value, *gradients = self.function(*self.tensors, *inputs)
        put_gradients(parameters, self.captured.reached, gradients)
        return Outcome(value, updated=False)

    @property
    def loops(self) -> bool:
        """Whether it can run for many calls in one, as nothing is to be done between them."""
        has_loop = isinstance(self.function, Library) and self.function.loop is not None
        return has_loop and self.update is not None

    def run_each(self, inputs: Sequence[Sequence[Tensor]]) -> Sequence[Tensor]:
        """The values of many calls in one, where it loops; the parameters are updated.

        Args:
            inputs: For each call its tensors and the numbers of its update.

        Returns:
            A value for each call, up to the first that is not finite.
        """
        library: Any = self.function
        with torch.no_grad():
            return library.each(self.tensors, inputs)


@dataclass(frozen=True)
class Plan:
    """What is to be compiled, and how.

    Args:
        captured: The graph that it was made of.
        source: What that was made from.
        graph: The graph to compile, with the update in it, from `tensors` and `inputs`.
        tensors: Its own tensors.
        inputs: Those of a call.
        kernels: Which its products and convolutions go to, in words.
        update: The optimizer's step within it, if it takes that.
        settings: The compiler's.
        key: The name of its library; None where it can have none, such as on a GPU.
    """

    captured: Captured
    source: Source
    graph: GraphModule
    tensors: Sequence[Tensor]
    inputs: Sequence[Tensor]
    kernels: str
    update: Update | None
    settings: Mapping[str, Any]
    key: str | None

    def is_current(self) -> bool:
        """Whether the optimizer is still what it was when this was planned."""
        return self.update is None or self.update.is_current()

    def found(self) -> Compiled | None:
        """The graph as a library that an earlier run, or another process, has compiled.

        None if there is none, or one whose value is not the graph's: then it goes.
        """
        library = None if self.key is None else find(self.key)
        if library is None:
            return None
        try:
            if self._is_right(library):
                return Compiled(self.captured, library, self.tensors, self.kernels, self.update)
        except RuntimeError:  # of its kernels
            pass
        forget(str(self.key))
        return None

    def compiled(self) -> Compiled:
        """The graph compiled, and run once, so that kernels that fail are no one's step.

        Raises:
            Exception: Whatever torch's compiler raises, such as for want of a C++ compiler.
        """
        found = self.found()
        if found is not None:
            return found
        function = self._build()
        with self._restored(), torch.no_grad():
            function(*self.tensors, *self.inputs)
        return Compiled(self.captured, function, self.tensors, self.kernels, self.update)

    def compile_into_cache(self) -> None:
        """Compiles the graph for another process, without running it.

        Raises:
            Exception: As `compiled`.
        """
        self._build()

    def _build(self) -> Function:
        """The compiled function; its library is kept, where it has one."""
        num_outputs = 1 if self.update is not None else 1 + len(self.captured.reached)
        inputs = [*self.tensors, *self.inputs]
        with self._restored(), torch.no_grad():
            function, path = compiled_by_torch(self.graph, inputs, self.settings, num_outputs)
        if self.key is None or path is None:
            return function
        keep(self.key, path)
        return load(path)

    def _is_right(self, library: Library) -> bool:
        """Whether a library gives the graph's value."""
        with self._restored(), torch.no_grad():
            value = library(*self.tensors, *self.inputs)[0]
        with self._restored(), torch.no_grad():
            expected = self.captured.graph(*self.source.call.tensors)[0]
        return torch.allclose(value, expected, 1e-3, 1e-5, equal_nan=True)

    def _restored(self) -> Any:
        return self.source.restored(self.update.state if self.update is not None else ())


def plan_of(captured: Captured, source: Source, update: Update | None) -> Plan:
    """What compiling a graph comes to, with the update in it."""
    graph, inputs = captured.graph, list(source.call.tensors)
    with uncollected():
        if update is not None:
            inputs.append(update.numbers())
            graph = _followed_by(update, graph, source, inputs)
        graph, tensors = lifted(graph, inputs)
        graph = prepare(graph)
    on_cpu = all(tensor.device.type == "cpu" for tensor in (*tensors, *inputs))
    # C++ that calls the kernels, in place of Python, saves 0.2 ms a call
    settings = {
        "fallback_random": True,  # the draws of eager code
        "cpp_wrapper": on_cpu,
        "cpp.min_chunk_size": _CHUNK,
    }
    has_all = not graph.graph.find_nodes(op="get_attr")
    key = key_of(graph, [*tensors, *inputs], settings) if on_cpu and has_all else None
    return Plan(captured, source, graph, tensors, inputs, kernels_in(graph), update, settings, key)


def _followed_by(
    update: Update, graph: GraphModule, source: Source, inputs: Sequence[Tensor]
) -> GraphModule:
    """The graph and then the update by its gradients, but for a value that is not finite."""
    *of_call, numbers = inputs
    with source.restored(update.state), torch.no_grad(), recorded(inputs) as recording:
        value, *gradients = graph(*of_call)
        update.apply(gradients, numbers, value.isfinite().all())
    return graph_of(recording, [recording.name(value)])
