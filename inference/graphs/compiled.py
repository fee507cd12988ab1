"""A captured graph compiled by torch, with the optimizer's step in it where that can be."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch._guards import tracing
from torch.fx import GraphModule
from torch.fx.experimental.proxy_tensor import make_fx

from .capture import Captured, Source, one_fake_mode, put_gradients
from .library import Library, find, forget, keep, key_of, load
from .lifting import lifted
from .objective import Outcome
from .options import Compile
from .passes import prepare
from .products import products_by, register_products
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
        products: How many of its products go which way.
        update: The optimizer's step within it, if it takes that.
    """

    captured: Captured
    function: Function
    tensors: Sequence[Tensor]
    products: str
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


@dataclass(frozen=True)
class Plan:
    """What is to be compiled, and how.

    Args:
        captured: The graph that it was made of.
        source: What that was made from.
        graph: The graph to compile, with the update in it, from `tensors` and `inputs`.
        tensors: Its own tensors.
        inputs: Those of a call.
        products: How many of its products go which way.
        update: The optimizer's step within it, if it takes that.
        settings: The compiler's.
        key: The name of its library; None where it can have none, such as on a GPU.
    """

    captured: Captured
    source: Source
    graph: GraphModule
    tensors: Sequence[Tensor]
    inputs: Sequence[Tensor]
    products: str
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
                return Compiled(self.captured, library, self.tensors, self.products, self.update)
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
        return Compiled(self.captured, function, self.tensors, self.products, self.update)

    def compile_into_cache(self) -> None:
        """Compiles the graph for another process, without running it.

        Raises:
            Exception: As `compiled`.
        """
        self._build()

    def _build(self) -> Function:
        """The compiled function; its library is kept, where it has one."""
        with self._restored(), torch.no_grad(), _watched_compiler() as built:
            everything: list[Any] = [*self.tensors, *self.inputs]
            register_products()
            function: Any = torch._inductor.compile(
                self.graph, everything, options=dict(self.settings)
            )
        path = _library_of(built, len(everything), len(self.captured.reached), self.update)
        if self.key is None or path is None:
            return function
        keep(self.key, path)
        return load(path)

    def _is_right(self, library: Library) -> bool:
        """Whether a library gives the graph's value; where it draws other numbers, if it runs."""
        with self._restored(), torch.no_grad():
            value = library(*self.tensors, *self.inputs)[0]
        if not self.settings["fallback_random"]:
            return True
        with self._restored(), torch.no_grad():
            expected = self.captured.graph(*self.source.call.tensors)[0]
        return torch.allclose(value, expected, 1e-3, 1e-5, equal_nan=True)

    def _restored(self) -> Any:
        return self.source.restored(self.update.state if self.update is not None else ())


def plan_of(captured: Captured, source: Source, update: Update | None, options: Compile) -> Plan:
    """What compiling a graph comes to, with the update in it."""
    graph: Any = captured.spare
    inputs: list[Tensor] = list(source.call.tensors)
    if update is not None:
        inputs.append(update.numbers())
        # Traced anew, so that the spare graph stays as it is for the day when the optimizer is
        # another one and this graph is compiled without its step.
        with source.restored(update.state), torch.no_grad(), tracing(one_fake_mode()):
            graph = make_fx(_followed_by(update, graph))(*inputs)
    graph, tensors = lifted(graph, inputs)
    graph = prepare(graph)
    on_cpu = all(tensor.device.type == "cpu" for tensor in (*tensors, *inputs))
    # C++ that calls the kernels, in place of Python, saves 0.2 ms a call
    settings = {
        "fallback_random": options.eager_random,
        "cpp_wrapper": on_cpu,
        "cpp.min_chunk_size": _CHUNK,
    }
    has_all = not graph.graph.find_nodes(op="get_attr")
    key = key_of(graph, [*tensors, *inputs], settings) if on_cpu and has_all else None
    return Plan(captured, source, graph, tensors, inputs, products_by(graph), update, settings, key)


_ENTRY = "void inductor_entry_impl("  # the function that calls one kernel after the other
_NOT_OPTIMIZED = """
#ifdef __clang__
__attribute__((optnone))
#else
__attribute__((optimize("O0")))
#endif
"""


@dataclass(frozen=True)
class _Built:
    """What the compiler's C++ was compiled into."""

    entry: Any  # the function of the library
    code: str
    num_outputs: int


@contextmanager
def _watched_compiler() -> Iterator[list[_Built]]:
    """Notes libraries, and has C++ compilers leave the function that calls the kernels as it is.

    That function computes nothing, but has some forty lines for each kernel, and the compiler's
    time grows faster than it. An NVAE of ten groups has 300 kernels and took above 300 s to
    compile, and now 30; 15 groups of latents took 37 s and now 16, and their step is no slower by
    more than 2 %.
    """
    from torch._inductor.codecache import CppWrapperCodeCache as Cache

    load_pybinding, built = Cache.load_pybinding, list[_Built]()

    def load_so(*args: Any, **kwargs: Any) -> Any:
        code = kwargs.get("main_code", "")
        if code:
            kwargs["main_code"] = code.replace(_ENTRY, _NOT_OPTIMIZED + _ENTRY, 1)
        entry = load_pybinding(*args, **kwargs)
        built.append(_Built(entry, code, kwargs.get("num_outputs", -1)))
        return entry

    Cache.load_pybinding = load_so  # type: ignore[method-assign]
    try:
        yield built
    finally:
        del Cache.load_pybinding  # the one that it inherits is there again


def _library_of(
    built: Sequence[_Built], num_inputs: int, num_gradients: int, update: Update | None
) -> Path | None:
    """The file of a library that takes the inputs of the graph and returns its outputs.

    None where the compiler's Python does more around the C++ than to hand these over: with numbers
    among the outputs, constants among the inputs, or several libraries.
    """
    if len(built) != 1:
        return None
    (only,) = built
    num_outputs = 1 if update is not None else 1 + num_gradients
    takes = f"steal_from_raw_handles_to_raii_handles(input_handles, {num_inputs})" in only.code
    if not takes or only.num_outputs != num_outputs:
        return None
    return Path(only.entry.__self__.__file__)


def _followed_by(update: Update, graph: Callable[..., Any]) -> Callable[..., Any]:
    """The graph and then the update by its gradients, but for a value that is not finite."""

    def step(*tensors: Tensor) -> tuple[Tensor]:
        *inputs, numbers = tensors
        value, *gradients = graph(*inputs)
        update.apply(gradients, numbers, value.isfinite().all())
        return (value,)

    return step
