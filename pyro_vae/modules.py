"""The modules that a program's functions use."""

import functools
import inspect
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from torch import nn

__all__ = ["in_evaluation_mode", "modules_of"]

_DEPTH = 3  # of lists, tuples and dictionaries within each other
_MANY = 1_000  # entries: more are data


def modules_of(model: Any, guide: Any) -> dict[str, nn.Module]:
    """The modules that a model and its guide are methods of, or name in closures and globals.

    Those in lists, tuples and dictionaries count, too.

    Returns:
        The modules by the names that the functions use. A method's own module has the name "";
        a model or guide that is a module itself is called so.
    """
    found: dict[str, nn.Module] = {}
    seen: set[int] = set()

    def look(value: Any, name: str, depth: int = _DEPTH) -> None:
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
            for inner, part in _used(value).items():
                look(part, inner)
        elif isinstance(value, list | tuple | dict) and depth and len(value) <= _MANY:
            items = value.items() if isinstance(value, dict) else enumerate(value)
            for key, part in items:
                look(part, f"{name}_{key}", depth - 1)
        elif _is_a_pair(value):
            for inner, part in vars(value).items():
                look(part, inner)

    look(model, "model")
    look(guide, "guide")
    return found


def _used(function: Any) -> dict[str, Any]:
    """What a function, and the one that it wraps, name in closures and globals."""
    found: dict[str, Any] = {}
    for each in {id(f): f for f in (function, inspect.unwrap(function))}.values():
        if inspect.isfunction(each):
            used = inspect.getclosurevars(each)
            found |= {**used.globals, **used.nonlocals}
        elif isinstance(each, nn.Module) or inspect.ismethod(each):
            found["wrapped"] = each
    return found


def _is_a_pair(value: Any) -> bool:
    """Whether an object, not a class, has a model and a guide."""
    return (
        callable(getattr(value, "model", None))
        and callable(getattr(value, "guide", None))
        and not isinstance(value, type)
        and hasattr(value, "__dict__")
    )


@contextmanager
def in_evaluation_mode(modules: Iterable[nn.Module]) -> Iterator[None]:
    """Runs modules, with all their parts, in evaluation mode, which it leaves again."""
    training = [part for module in modules for part in module.modules() if part.training]
    for part in training:
        part.training = False
    try:
        yield
    finally:
        for part in training:
            part.training = True
