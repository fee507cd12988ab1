"""Programs' parameters in Pyro's store: which are a module's own, and which a loss depends on.

Parameters stand in Pyro's store under Pyro's names. Pyro has one store for all, in which two
modules with parameters of one name, such as two autoguides of one class, become one. Here each
keeps its own, and the store holds those of the module that runs or ran last.
"""

import weakref
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import pyro
from pyro.nn import PyroModule
from pyro.nn.module import _Context, _is_module_local_param_enabled
from pyro.poutine.messenger import Messenger
from torch import Tensor, nn
from torch.distributions import constraints
from torch.utils.weak import WeakTensorKeyDictionary

from .program import modules_of

__all__ = [
    "belongs_to_a_module",
    "claim",
    "frozen_parameters",
    "initial_value",
    "is_added",
    "keep_apart",
    "leaves",
    "leaving_frozen",
    "named_parameters",
    "own_parameters",
    "put_into_store",
    "stored_name",
    "unconstrained",
]

# Whose each parameter of a PyroModule is, as far as is known here. A module is told by a token of
# its own and not by its id, which another one may get after its death.
_owners = WeakTensorKeyDictionary()
# Parameters of plain modules, which Pyro would not have in its store.
_added = WeakTensorKeyDictionary()


def named_parameters(model: Any, guide: Any) -> dict[str, Tensor]:
    """The trainable parameters of the modules of a model and its guide, by name."""
    return {
        ".".join(filter(None, (module_name, name))): parameter
        for module_name, module in modules_of(model, guide).items()
        for name, parameter in module.named_parameters()
        if parameter.requires_grad
    }


def frozen_parameters(model: Any, guide: Any) -> list[Tensor]:
    """The parameters of the modules of a model and its guide that are not to be trained."""
    modules = modules_of(model, guide).values()
    return [p for module in modules for p in module.parameters() if not p.requires_grad]


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


def unconstrained(value: Tensor) -> Tensor:
    """The tensor that an optimizer changes, of a parameter as a program sees it."""
    return value.unconstrained() if hasattr(value, "unconstrained") else value


def initial_value(site: Any) -> Any:
    """The second argument of `pyro.param`: for a module's parameter that parameter itself."""
    return site["args"][1] if len(site["args"]) > 1 else None


def stored_name(parameter: Tensor) -> str | None:
    """The name of an unconstrained parameter in Pyro's store; None where it is not in it.

    One that `put_into_store` has put there does not count, as Pyro would not have it.
    """
    store = pyro.get_param_store()
    name = store.param_name(parameter)
    return name if store._params.get(name) is parameter and parameter not in _added else None


def belongs_to_a_module(parameter: Tensor) -> bool:
    """Whether it is a module's, and not the store's alone: assigned, loaded or a `pyro.param`."""
    return parameter in _owners


def claim(parameter: Tensor) -> None:
    """Notes that a parameter is a module's."""
    _owners.setdefault(parameter, _Token())


def is_added(parameter: Tensor) -> bool:
    """Whether `put_into_store` has added it, as Pyro would not have it in its store."""
    return parameter in _added


def put_into_store(
    name: str, parameter: Tensor, *, constraint: Any = constraints.real, added: bool = False
) -> None:
    """Lets Pyro's store hold this very tensor, unconstrained, under a name.

    Args:
        name: The name.
        parameter: A leaf that requires a gradient.
        constraint: What its constrained value satisfies.
        added: Whether Pyro itself would not have it in its store.
    """
    store = pyro.get_param_store()
    if store._params.get(name) is parameter:
        return
    _forget(name)
    store._params[name] = parameter
    store._param_to_name[parameter] = name
    store._constraints[name] = constraint
    _OwnContext.changes += 1
    if added:
        _added[parameter] = True


def _forget(name: str) -> None:
    """Takes a name out of Pyro's store, whose own way fails where a tensor had two names."""
    store = pyro.get_param_store()
    if name not in store:
        return
    parameter = store._params.pop(name)
    if store._param_to_name.get(parameter) == name:
        del store._param_to_name[parameter]
    store._constraints.pop(name)


def own_parameters(model: Any, guide: Any) -> AbstractContextManager[Any]:
    """Runs programs with each module's parameters its own, and frozen ones left frozen."""
    keep_apart(model, guide)
    return leaving_frozen(frozen_parameters(model, guide))


def leaving_frozen(frozen: Sequence[Tensor]) -> AbstractContextManager[Any]:
    """Keeps Pyro from making frozen parameters require a gradient, if there are any."""
    return _LeaveFrozen() if frozen else nullcontext()


def keep_apart(model: Any, guide: Any) -> None:
    """Has each PyroModule of a program run with parameters of its own, from now on.

    Where Pyro's store holds, under the name of a parameter of this module, the parameter of another
    module, that one is set aside while this module runs. A value that was loaded into the store or
    assigned to a name is no other module's: it is taken over, as in Pyro.
    """
    for module in modules_of(model, guide).values():
        for part in module.modules():
            if isinstance(part, PyroModule) and type(part._pyro_context) is _Context:
                context = part._pyro_context
                context.__class__ = _OwnContext
                vars(context).update(module=part, token=_Token(), seen=None, aside={})


class _Token:
    """Stands for a module among the owners."""


class _OwnContext(_Context):
    """What a PyroModule and its parts enter when they run: here, with parameters of their own."""

    module: PyroModule
    token: _Token
    seen: Any  # the state of the store in which the module's parameters stood in it
    aside: dict[str, tuple[Tensor, Any]]

    changes = 0  # of the store by this file, so that each module knows when to look again

    def __enter__(self) -> None:
        if not self.active and not _is_module_local_param_enabled() and self.seen != self._state():
            self._set_aside()
        super().__enter__()

    def __exit__(self, *error: Any) -> None:
        super().__exit__(*error)
        if self.active or _is_module_local_param_enabled() or self.seen == self._state():
            return
        new = [p for p in self._constrained().values() if _owners.get(p) is not self.token]
        _owners.update({parameter: self.token for parameter in new})
        if new or self._bring_back():
            _OwnContext.changes += 1
        self.seen = self._state()

    def _state(self) -> tuple[int, ...]:
        """What differs if another module has been at the store, or if this is a copy of one."""
        params = pyro.get_param_store()._params
        return id(self.token), id(params), len(params), _OwnContext.changes

    def _set_aside(self) -> None:
        store = pyro.get_param_store()
        declared = self._constrained()
        own = {id(parameter) for parameter in self.module.parameters()}
        # An autoguide declares its parameters when it runs, under its own name.
        prefix = f"{self.module._pyro_name}." if self.module._pyro_name else None
        for name, parameter in list(store._params.items()):
            known = name in declared or (prefix and name.startswith(prefix) and "$$$" not in name)
            if known and id(parameter) not in own and self._is_anothers(parameter):
                self.aside[name] = parameter, store._constraints[name]
                _forget(name)

    def _is_anothers(self, parameter: Tensor) -> bool:
        """Whether it is another module's, or one that `pyro.infer.SVI` has trained as such.

        What was loaded or assigned has no gradient yet.
        """
        owner = _owners.get(parameter)
        if owner is not None:
            return owner is not self.token
        return isinstance(parameter, nn.Parameter) and parameter.grad is not None

    def _bring_back(self) -> bool:
        """Returns to the store what the module left room for; says if it took a name over."""
        store, aside = pyro.get_param_store(), self.aside
        self.aside = {}
        for name, (parameter, constraint) in aside.items():
            if name not in store:
                put_into_store(name, parameter, constraint=constraint)
        return any(store._params[name] is not parameter for name, (parameter, _) in aside.items())

    def _constrained(self) -> dict[str, Tensor]:
        """The PyroParams that the module declares so far, unconstrained, by their full names."""
        return {
            f"{part._pyro_name}.{name}".lstrip("."): part._parameters[f"{name}_unconstrained"]
            for part in self.module.modules()
            if isinstance(part, PyroModule)
            for name in part._pyro_params
            if f"{name}_unconstrained" in part._parameters  # an error may have cut it off
        }


class _LeaveFrozen(Messenger):
    """Keeps frozen parameters out of Pyro's store, which would make them require a gradient."""

    def _pyro_param(self, message: Any) -> None:
        parameter = initial_value(message)
        if isinstance(parameter, nn.Parameter) and not parameter.requires_grad:
            parameter.unconstrained = weakref.ref(parameter)  # type: ignore[attr-defined]
            message["value"], message["done"] = parameter, True
