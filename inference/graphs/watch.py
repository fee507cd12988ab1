"""The Python values that a program can see, to notice when one changes.

A captured graph has the values of flags, counters and constants in it as they were; it is good only
while they stay so. To watch everything that a program could read is impossible, since an iterator
or a file has no value to compare. So graphs are also checked against the program now and then.
"""

import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping
from operator import is_
from types import MappingProxyType
from typing import Any

import numpy as np
from pyro.infer.autoguide import AutoGuide
from torch import Tensor, nn
from torch.distributions import Transform

from pyro_vae.program import modules_of

__all__ = ["Watch"]

_SCALARS = (bool, int, float, complex, str, bytes, type(None))
# Their functions read no state of a user's, and their globals are many: looking through them would
# take longer than the step.
_LIBRARIES = ("torch", "pyro", "pyro_vae")
_TENSORS = ("_parameters", "_buffers", "_modules")
_INTERNAL = {name for name in vars(nn.Module()) if name != "training"}
# Of containers and plain objects within each other. Settings lie one or two deep; without an end,
# an object that leads to the data set would be read in full.
_DEPTH = 4


class Watch:
    """Reads the values within reach of a model and its guide.

    These are the attributes of their modules, and the globals and closures that their own
    functions and the methods of their modules name. Tensors count as the objects that they are:
    a graph reads their numbers anew at each run.

    Args:
        model: The model.
        guide: Its guide.
        others: Modules to watch beside theirs, by name, such as an estimator's.
    """

    def __init__(
        self,
        model: Callable[..., Any],
        guide: Callable[..., Any],
        others: Mapping[str, nn.Module] = MappingProxyType({}),
    ) -> None:
        self._modules = [
            (".".join(filter(None, (name, inner))), part)
            for name, module in (*modules_of(model, guide).items(), *others.items())
            for inner, part in module.named_modules()
        ]
        self._globals: list[tuple[dict[str, Any], str]] = []
        self._cells: list[tuple[str, Any]] = []
        self._owners: list[Any] = []  # plain objects whose methods are part of the program
        seen: set[int] = set()
        for function in (model, guide, *self._methods()):
            self._look(function, seen)

    def buffers(self) -> Iterator[Tensor]:
        """The buffers of the modules, which a run may change, as BatchNorm's averages."""
        for _, module in self._modules:
            yield from module.buffers(recurse=False)

    def values(self) -> dict[str, Any]:
        """The present values, hashable, by the names that a person would give them."""
        tensors: dict[str, Any] = {}
        values: dict[str, Any] = {}
        for prefix, module in self._modules:
            attributes = vars(module)
            own = (n for n in attributes if n not in _INTERNAL and not _is_made_anew(module, n))
            values |= {f"{prefix}.{name}".lstrip("."): attributes[name] for name in own}
            for name in _TENSORS:
                tensors[f"{prefix}.{name}"] = (*map(id, attributes[name].values()),)
        values |= {name: namespace.get(name) for namespace, name in self._globals}
        values |= {name: cell.cell_contents for name, cell in self._cells}
        for owner in self._owners:
            values |= vars(owner)
        self._remember(values.values())
        return tensors | {name: _frozen(value) for name, value in values.items()}

    def unchanged(self) -> bool:
        """Whether all is as `values` saw it: the same objects, and mutable ones the same inside.

        Each step asks this. It compares objects by `is`, which takes a tenth of the time of
        `values`: for a VAE of 8 tensors some 10 us, where making the values anew takes 100.
        """
        for namespace, number, before in self._filled:  # a generator would take half as long again
            if len(namespace) != number or not all(map(is_, namespace.values(), before)):
                return False
        return (
            not any(self._empty)
            and all(namespace.get(name) is before for namespace, name, before in self._named)
            and all(cell.cell_contents is before for cell, before in self._in_cells)
            and all(_frozen(value) == before for value, before in self._mutable)
        )

    def _remember(self, values: Iterable[Any]) -> None:
        """Keeps what `unchanged` compares with.

        The objects themselves are kept, and not their ids, which a new object may get when an old
        one dies.
        """
        namespaces = [vars(module) for _, module in self._modules]
        namespaces += [of[name] for of in namespaces[:] for name in _TENSORS]
        namespaces += [vars(owner) for owner in self._owners]
        # Most namespaces of a module are empty, and one call of `any` sees that they stay so.
        self._filled = [(each, len(each), tuple(each.values())) for each in namespaces if each]
        self._empty = [each for each in namespaces if not each]
        self._named = [(space, name, space.get(name)) for space, name in self._globals]
        self._in_cells = [(cell, cell.cell_contents) for _, cell in self._cells]
        self._mutable = [(value, _frozen(value)) for value in values if not _is_fixed(value)]

    def _methods(self) -> Iterator[Callable[..., Any]]:
        """The methods of the modules' own classes, which a program may call."""
        for kind in {base for _, module in self._modules for base in type(module).__mro__}:
            if kind.__module__.partition(".")[0] not in (*_LIBRARIES, "builtins"):
                yield from filter(inspect.isfunction, vars(kind).values())

    def _look(self, function: Any, seen: set[int]) -> None:
        """Notes what a function names outside itself, and goes on to the functions among that."""
        owner = getattr(function, "__self__", None)
        if owner is not None and not isinstance(owner, nn.Module) and hasattr(owner, "__dict__"):
            self._owners.append(owner)
        function = inspect.unwrap(getattr(function, "__func__", function))
        if not inspect.isfunction(function) or id(function) in seen:
            return
        seen.add(id(function))
        if function.__module__.partition(".")[0] in _LIBRARIES:
            return
        cells = zip(function.__code__.co_freevars, function.__closure__ or (), strict=True)
        self._cells += [(name, cell) for name, cell in cells if _is_set(cell)]
        named = [name for name in function.__code__.co_names if name in function.__globals__]
        self._globals += [(function.__globals__, name) for name in named]
        inner = [function.__globals__[name] for name in named]
        for value in (*inner, *(cell.cell_contents for _, cell in self._cells)):
            if inspect.isfunction(value) or inspect.ismethod(value):
                self._look(value, seen)


def _is_made_anew(module: nn.Module, name: str) -> bool:
    """Whether each run makes the attribute anew: Pyro's own, and caches of transforms."""
    if isinstance(module, AutoGuide) and name == "plates":
        return True
    return name.startswith("_pyro") or (isinstance(module, Transform) and "_cached" in name)


def _is_set(cell: Any) -> bool:
    try:
        cell.cell_contents  # noqa: B018 (an empty cell says so by raising)
    except ValueError:
        return False
    return True


def _is_fixed(value: Any) -> bool:
    """Whether an object stays what `_frozen` makes of it."""
    if isinstance(value, tuple):
        return all(map(_is_fixed, value))
    return isinstance(value, _SCALARS) or _frozen(value) == id(value)


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
