"""The Python values that a program can see, to notice when one changes.

A captured graph holds the values of flags, counters and constants as they were; it is good only
while they stay so.
"""

import inspect
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from torch import Tensor, nn

from pyro_vae.program import modules_of

__all__ = ["Watch"]

_SCALARS = (bool, int, float, complex, str, bytes, type(None))
_LIBRARIES = ("torch", "pyro", "pyro_vae")
_INTERNAL = {name for name in vars(nn.Module()) if name != "training"}
_DEPTH = 4  # of containers and plain objects within each other


class Watch:
    """Reads the values within reach of a model and its guide.

    These are the attributes of their modules, and the globals and closures that their own
    functions and the methods of their modules name. Tensors count as the objects that they are.
    """

    def __init__(self, model: Callable[..., Any], guide: Callable[..., Any]) -> None:
        self.modules = [
            (".".join(filter(None, (name, inner))), part)
            for name, module in modules_of(model, guide).items()
            for inner, part in module.named_modules()
        ]
        # How many attributes each module has, and which of them are watched: a step has 0.5 ms.
        self.attributes: list[tuple[int, list[tuple[str, str]]]] = [(0, [])] * len(self.modules)
        self.names: list[tuple[dict[str, Any], str]] = []
        self.cells: list[tuple[str, Any]] = []
        self.owners: list[Any] = []
        seen: set[int] = set()
        for function in (model, guide, *self._methods()):
            self._look(function, seen)

    def values(self) -> dict[str, Any]:
        """The present values, hashable, by the names that a person would give them."""
        found = {}
        for index, (prefix, module) in enumerate(self.modules):
            held = vars(module)
            count, names = self.attributes[index]
            if len(held) != count:
                names = _own_attributes(prefix, held)
                self.attributes[index] = len(held), names
            for name, full_name in names:
                value = held.get(name)
                found[full_name] = value if isinstance(value, _SCALARS) else _frozen(value)
            found[f"{prefix}._parameters"] = (*map(id, module._parameters.values()),)
            found[f"{prefix}._buffers"] = (*map(id, module._buffers.values()),)
        for room, name in self.names:
            found[name] = _frozen(room.get(name))
        for name, cell in self.cells:
            found[name] = _frozen(cell.cell_contents)
        for owner in self.owners:
            found |= {name: _frozen(value) for name, value in vars(owner).items()}
        return found

    def _methods(self) -> Iterator[Callable[..., Any]]:
        for kind in {base for _, module in self.modules for base in type(module).__mro__}:
            if kind.__module__.partition(".")[0] not in (*_LIBRARIES, "builtins"):
                yield from filter(inspect.isfunction, vars(kind).values())

    def _look(self, function: Any, seen: set[int]) -> None:
        owner = getattr(function, "__self__", None)
        if owner is not None and not isinstance(owner, nn.Module) and hasattr(owner, "__dict__"):
            self.owners.append(owner)
        function = inspect.unwrap(getattr(function, "__func__", function))
        if not inspect.isfunction(function) or id(function) in seen:
            return
        seen.add(id(function))
        if function.__module__.partition(".")[0] in _LIBRARIES:
            return
        cells = zip(function.__code__.co_freevars, function.__closure__ or (), strict=True)
        self.cells += [(name, cell) for name, cell in cells if _is_set(cell)]
        named = [name for name in function.__code__.co_names if name in function.__globals__]
        self.names += [(function.__globals__, name) for name in named]
        inner = [function.__globals__[name] for name in named]
        for value in (*inner, *(cell.cell_contents for _, cell in self.cells)):
            if inspect.isfunction(value) or inspect.ismethod(value):
                self._look(value, seen)


def _own_attributes(prefix: str, held: dict[str, Any]) -> list[tuple[str, str]]:
    """The attributes that are not torch's or Pyro's own, each with its full name."""
    names = [n for n in held if n not in _INTERNAL and not n.startswith("_pyro")]
    return [(name, f"{prefix}.{name}".lstrip(".")) for name in names]


def _is_set(cell: Any) -> bool:
    try:
        cell.cell_contents  # noqa: B018 (an empty cell says so by raising)
    except ValueError:
        return False
    return True


def _frozen(value: Any, depth: int = _DEPTH) -> Any:
    """The value, hashable: scalars and containers by content, other objects by identity."""
    if isinstance(value, _SCALARS):
        return value
    if depth == 0 or isinstance(value, Tensor | nn.Module) or callable(value):
        return id(value)
    if isinstance(value, dict):
        return tuple((_frozen(k, depth - 1), _frozen(v, depth - 1)) for k, v in value.items())
    if isinstance(value, list | tuple | set | frozenset):
        return type(value).__name__, tuple(_frozen(item, depth - 1) for item in value)
    if isinstance(value, np.ndarray):
        return value.shape, value.tobytes()
    if inspect.ismodule(value) or not hasattr(value, "__dict__"):
        return id(value)
    return id(value), _frozen(vars(value), depth - 1)
