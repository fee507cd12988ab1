"""A captured graph compiled by torch, with the optimizer's step in it where that can be."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch._guards import tracing
from torch.fx.experimental.proxy_tensor import make_fx

from .capture import Captured, Source, one_fake_mode, put_gradients
from .objective import Outcome
from .options import Compile
from .passes import prepare
from .update import Update

__all__ = ["Compiled", "compile_graph"]


@dataclass(frozen=True)
class Compiled:
    """A graph that was compiled.

    Args:
        captured: The graph that it was made of, which stays to be checked and compiled again.
        function: From the inputs of a call to the value and the gradients; or with an update, from
            these inputs and its numbers to the value alone.
        update: The optimizer's step within it, if it takes that.
    """

    captured: Captured
    function: Callable[..., Any]
    update: Update | None

    mode: ClassVar[str] = "compiled"

    def run(self, inputs: Sequence[Tensor], parameters: Sequence[Tensor]) -> Outcome:
        """The value; the parameters are updated, or their gradients put into them."""
        if self.update is not None:
            numbers = self.update.numbers()
            with torch.no_grad():
                (value,) = self.function(*inputs, numbers)
            return Outcome(value, updated=True)
        with torch.no_grad():
            value, *gradients = self.function(*inputs)
        put_gradients(parameters, self.captured.reached, gradients)
        return Outcome(value, updated=False)


def compile_graph(
    captured: Captured, source: Source, update: Update | None, options: Compile
) -> Compiled:
    """Compiles a graph, and runs the result once.

    Raises:
        Exception: Whatever torch's compiler raises, such as for want of a C++ compiler.
    """
    graph: Any = captured.spare
    inputs: list[Any] = list(source.call.tensors)
    if update is not None:
        inputs.append(update.numbers())
    in_cpp = all(tensor.device.type == "cpu" for tensor in inputs)  # saves 0.2 ms a call
    settings: Any = {"fallback_random": options.eager_random, "cpp_wrapper": in_cpp}
    with source.restored(update.state if update is not None else ()), torch.no_grad():
        if update is not None:
            # Traced anew, so that the spare graph stays as it is for the day when the optimizer is
            # another one and this graph is compiled without its step.
            with tracing(one_fake_mode()):
                graph = make_fx(_followed_by(update, graph))(*inputs)
        # Without torch.compile's guards, which cost 0.4 ms a call at 60 parameters: here `Watch`
        # and the key of the call stand guard.
        with _calls_not_optimized():
            function: Any = torch._inductor.compile(prepare(graph), inputs, options=settings)
        function(*inputs)  # loads the kernels now, so that one that fails is no one's step
    return Compiled(captured, function, update)


_ENTRY = "void inductor_entry_impl("  # the function that calls one kernel after the other
_NOT_OPTIMIZED = """
#ifdef __clang__
__attribute__((optnone))
#else
__attribute__((optimize("O0")))
#endif
"""


@contextmanager
def _calls_not_optimized() -> Iterator[None]:
    """Has C++ compilers optimize the kernels, and not the function that calls them.

    That one computes nothing, but has some forty lines for each kernel, and the compiler's time
    grows faster than it. An NVAE of ten groups has 300 kernels and took above 300 s to compile, and
    now 30; 15 groups of latents took 37 s and now 16, and their step is no slower by more than 2 %.
    """
    from torch._inductor.codecache import CppWrapperCodeCache as Cache

    load = Cache.load_pybinding

    def load_so(*args: Any, **kwargs: Any) -> Any:
        code = kwargs.get("main_code", "")
        if code:
            kwargs["main_code"] = code.replace(_ENTRY, _NOT_OPTIMIZED + _ENTRY, 1)
        return load(*args, **kwargs)

    Cache.load_pybinding = load_so  # type: ignore[method-assign]
    try:
        yield
    finally:
        del Cache.load_pybinding  # the one that it inherits is there again


def _followed_by(update: Update, graph: Callable[..., Any]) -> Callable[..., Any]:
    """The graph and then the update by its gradients, but for a value that is not finite."""

    def step(*tensors: Tensor) -> tuple[Tensor]:
        *inputs, numbers = tensors
        value, *gradients = graph(*inputs)
        update.apply(gradients, numbers, value.isfinite().all())
        return (value,)

    return step
