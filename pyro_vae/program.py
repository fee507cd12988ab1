"""Programs: any object with `model(x)` and `guide(x)`, and what one learns by looking at them."""

import functools
import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol, runtime_checkable

import pyro
import torch
from pyro.nn import PyroModule
from torch import Tensor, nn

__all__ = [
    "Program",
    "ProgramModule",
    "device_of",
    "evaluating",
    "evaluation_mode",
    "leaves",
    "local_params",
    "localize",
    "modules_of",
    "named_parameters",
]

Function = Callable[..., Any]
ProgramModule = Any  # an nn.Module that is a Program; types have no "and"


@runtime_checkable
class Program(Protocol):
    """A generative model and its amortized guide, two Pyro functions of a batch of data.

    Both may take labels too, as `model(x, y)` or `model(x, y=None)`; see `pyro_vae.arguments`.
    """

    def model(self, x: Tensor) -> Any:
        """Samples p(x, z), with `x` observed."""

    def guide(self, x: Tensor) -> Any:
        """Samples q(z | x)."""


def modules_of(model: Any, guide: Any) -> dict[str, nn.Module]:
    """The modules that a model and its guide are methods of, or name in closures and globals.

    Returns:
        The modules by the names that the functions use. A method's own module has the name "";
        a model or guide that is a module itself is called so.
    """
    found: dict[str, nn.Module] = {}
    seen: set[int] = set()

    def look(value: Any, name: str) -> None:
        if id(value) in seen:
            return
        seen.add(id(value))
        if isinstance(value, nn.Module):
            found[name if name not in found else f"{name}_{len(found)}"] = value
        elif isinstance(value, functools.partial):
            for part in (value.func, *value.args, *value.keywords.values()):
                look(part, name)
        elif inspect.ismethod(value):
            look(value.__self__, "")
            look(value.__func__, name)
        elif inspect.isfunction(value):
            used = inspect.getclosurevars(inspect.unwrap(value))
            for inner, part in {**used.globals, **used.nonlocals}.items():
                look(part, inner)
        elif isinstance(value, Program) and not isinstance(value, type):
            for inner, part in vars(value).items():
                look(part, inner)

    look(model, "model")
    look(guide, "guide")
    return found


def device_of(program: Program) -> torch.device:
    """Where a program's first parameter or buffer lives."""
    modules = modules_of(program.model, program.guide).values()
    tensors = (t for module in modules for t in (*module.parameters(), *module.buffers()))
    return next((tensor.device for tensor in tensors), torch.device("cpu"))


def named_parameters(model: Any, guide: Any) -> dict[str, Tensor]:
    """The trainable parameters of the modules of a model and its guide, by name."""
    return {
        ".".join(filter(None, (module_name, name))): parameter
        for module_name, module in modules_of(model, guide).items()
        for name, parameter in module.named_parameters()
        if parameter.requires_grad
    }


def leaves(value: Tensor) -> list[Tensor]:
    """The leaf tensors that the gradient of `value` reaches, wherever they live."""
    found: list[Tensor] = []
    seen: set[Any] = set()
    stack = [value.grad_fn]
    while stack:
        node = stack.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        if hasattr(node, "variable"):
            found.append(node.variable)
        stack.extend(parent for parent, _ in node.next_functions)
    return found


def localize(model: Any, guide: Any) -> None:
    """Makes a program's PyroModules ready for the setting `module_local_params`.

    Pyro gives a module a parameter store of its own only if it is made under that setting; in the
    global store two modules of one class share their parameters by name.
    """
    for module in modules_of(model, guide).values():
        for part in module.modules():
            if isinstance(part, PyroModule):
                store: dict[str, Any] = {"params": {}, "constraints": {}}
                vars(part._pyro_context).setdefault("param_state", store)


@contextmanager
def local_params(model: Any, guide: Any) -> Iterator[None]:
    """Runs programs with each PyroModule's parameters its own, not the global store's."""
    localize(model, guide)
    with pyro.settings.context(module_local_params=True):
        yield


@contextmanager
def evaluation_mode(program: Program) -> Iterator[None]:
    """Runs a program with its modules in evaluation mode, which it leaves again."""
    modules = modules_of(program.model, program.guide).values()
    training = [part for module in modules for part in module.modules() if part.training]
    for part in training:
        part.training = False
    try:
        yield
    finally:
        for part in training:
            part.training = True


@contextmanager
def evaluating(program: Program) -> Iterator[None]:
    """Runs a program in evaluation mode and without gradients."""
    with (
        torch.no_grad(),
        evaluation_mode(program),
        local_params(program.model, program.guide),
    ):
        yield
