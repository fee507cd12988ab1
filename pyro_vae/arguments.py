"""What model and guide are given: data `x` and labels `y`, by name where they are called so.

A parameter named `x` or `y` gets the data of that name. Others are filled by position: the first
gets `x`, the next `y`, if it has no default or the default None. A parameter with another default
is an option of the program and keeps it, and so does one behind a `*`. Data of other names, such as
`image` and `text`, go to the parameters of these names. As in Pyro, model and guide get the same
arguments in the same order.
"""

import functools
import inspect
import warnings
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any

from pyro.poutine.messenger import Messenger
from torch import Tensor, nn

from .program import Program

__all__ = [
    "arguments",
    "gives_labels",
    "names_in_order",
    "needs_labels",
    "order_of_arguments",
    "signature_of",
    "takes_labels",
]

Function = Callable[..., Any]
# An optional parameter of another name may be no label at all, such as mask=None.
_USUAL_NAMES = {
    *("y", "ys", "label", "labels", "target", "targets", "cls", "classes"),
    *("c", "cond", "condition", "conditions"),
}


def arguments(program: Program, x: Tensor, y: Tensor | None = None) -> tuple[Tensor, ...]:
    """The arguments of model and guide, in the order in which the model takes them.

    Args:
        program: What is to be run.
        x: The data.
        y: Their labels, if the model is to be given some.

    Raises:
        ValueError: If the model needs labels and gets none, gets some and takes none, or if the
            guide does not take the same arguments.

    Example:
        >>> from types import SimpleNamespace
        >>> program = SimpleNamespace(model=lambda y, x: None, guide=lambda y, x: None)
        >>> arguments(program, torch.tensor(1), torch.tensor(2))
        (tensor(2), tensor(1))
    """
    given = (x,) if y is None else (x, y)
    return tuple(given[i] for i in order_of_arguments(program, labels=y is not None))


def order_of_arguments(program: Program, *, labels: bool) -> tuple[int, ...]:
    """The order in which x (0) and, with labels, y (1) are given: (0,), (0, 1) or (1, 0).

    Raises:
        ValueError: As `arguments`.
    """
    model = _Role.of("model", program.model)
    order = model.order(labels)
    if hasattr(program, "guide"):
        _Role.of("guide", program.guide).check_same(model, order)
    return order


def names_in_order(program: Program, names: Collection[str]) -> tuple[str, ...]:
    """The names of the data that a program takes, in the order in which it takes them.

    Data x, with labels y or without, are taken as `arguments` and `gives_labels` say; others by
    their names alone. Those that the model has no parameter for are left out.

    Args:
        program: What is to be run.
        names: Those of the data, such as ("image", "text").

    Raises:
        ValueError: As `arguments`, or if the model takes none of them.

    Example:
        >>> from types import SimpleNamespace
        >>> program = SimpleNamespace(model=lambda text, image: None, guide=lambda text, x: None)
        >>> names_in_order(program, ("image", "text", "label"))
        ('text', 'image')
    """
    if {*names} <= {"x", "y"} and "x" in names:
        labels = "y" in names and _gives_labels(program)
        return tuple("xy"[i] for i in order_of_arguments(program, labels=labels))
    model = _Role.of("model", program.model)
    taken = model.named(names)
    if hasattr(program, "guide"):
        _Role.of("guide", program.guide).check_same_names(model, taken, names)
    return taken


def takes_labels(program: Program) -> bool:
    """Whether the model has a parameter for labels."""
    return _Role.of("model", program.model).y is not None


def needs_labels(program: Program) -> bool:
    """Whether the model cannot run without labels."""
    return _Role.of("model", program.model).needs_y


def gives_labels(program: Program, y: Tensor | None) -> bool:
    """Whether a program is given the labels that its data carry, if they carry some.

    One without a parameter for them is a program of x alone, and is run on such data too.

    Raises:
        ValueError: If one cannot tell, or the parameter takes no value by position.
    """
    return y is not None and _gives_labels(program)


def _gives_labels(program: Program) -> bool:
    model = _Role.of("model", program.model)
    model.refuse_y_by_keyword()
    if model.is_open and model.y is None:
        raise ValueError(
            f"the data have labels, and {model} does not say whether it takes them; name its "
            "parameters, such as model(x) or model(x, y)"
        )
    if model.y is not None and not model.needs_y and model.names[model.y] not in _USUAL_NAMES:
        warnings.warn(
            f"{model} is given the labels of the data as {model.names[model.y]!r}; call it y if "
            "it is the label, and put * before it if it is not",
            stacklevel=3,
        )
    return model.y is not None


def signature_of(function: Function) -> inspect.Signature:
    """The signature of what runs in the end, behind Pyro's handlers, partials and modules."""
    if isinstance(function, functools.partial):
        if type(function) is not functools.partial:  # a function under one of Pyro's handlers
            return signature_of(function.func)
        inner, args = function.func, function.args
        if args and isinstance(args[0], Messenger):  # the call of one: (handler, function, *args)
            inner, args = args[1], args[2:]
        return inspect.signature(functools.partial(_like(inner), *args, **function.keywords))
    owner: Any = getattr(function, "__self__", None)
    if hasattr(owner, "functions"):  # a program that passes on its arguments to those of others
        return signature_of(owner.functions[function.__name__])
    if isinstance(function, nn.Module):
        return inspect.signature(function.forward)
    return inspect.signature(function)


def _like(function: Function) -> Function:
    """A function of the same signature, for `inspect` to bind arguments to."""

    def stand_in(*args: Any, **kwargs: Any) -> None: ...

    stand_in.__signature__ = signature_of(function)  # type: ignore[attr-defined]
    return stand_in


@dataclass(frozen=True)
class _Role:
    """A model or guide, and the places at which it takes x and y."""

    name: str
    parameters: list[inspect.Parameter]

    @classmethod
    def of(cls, name: str, function: Function) -> "_Role":
        try:
            parameters = signature_of(function).parameters.values()
        except (TypeError, ValueError) as error:
            raise ValueError(f"{name} {function!r:.80} shows no parameters: {error}") from error
        role = cls(name, [p.replace(annotation=p.empty) for p in parameters])
        if role.names[:1] == ["self"]:
            raise ValueError(
                f"{name} is a method of a class and not of an object; build the program first, "
                "such as VAE((1, 28, 28))"
            )
        return role

    def __str__(self) -> str:
        plain = (int, float, str, type(None))  # a module as a default fills many lines
        shown = [
            p if p.default is p.empty or isinstance(p.default, plain) else p.replace(default=...)
            for p in self.parameters
        ]
        return f"{self.name}{inspect.Signature(shown)}".replace("Ellipsis", "...")

    @property
    def names(self) -> list[str]:
        """Of the parameters that can be given by position."""
        return [p.name for p in self.parameters if p.kind <= p.POSITIONAL_OR_KEYWORD]

    @property
    def is_open(self) -> bool:
        """Whether it takes *args."""
        return any(p.kind is p.VAR_POSITIONAL for p in self.parameters)

    @property
    def required(self) -> list[str]:
        """The parameters without a default, those by keyword only among them."""
        variable = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
        return [p.name for p in self.parameters if p.default is p.empty and p.kind not in variable]

    @property
    def x(self) -> int:
        """The place of the data; a single parameter is theirs, whatever its name."""
        others = [i for i, name in enumerate(self.names) if name != "y"]
        return self.names.index("x") if "x" in self.names else next(iter(others), 0)

    @property
    def y(self) -> int | None:
        """The place of the labels."""
        if "y" in self.names and self.names.index("y") != self.x:
            return self.names.index("y")
        free = [
            i
            for i, p in enumerate(self.parameters[: len(self.names)])
            if i != self.x and p.default in (p.empty, None)
        ]
        return next(iter(free), None)

    @property
    def needs_y(self) -> bool:
        return self.y is not None and self.names[self.y] in self.required

    def order(self, labels: bool) -> tuple[int, ...]:
        if not self.names and not self.is_open:
            raise ValueError(f"{self} takes no data; write {self.name}(x) or {self.name}(x, y)")
        if labels:
            self.refuse_y_by_keyword()
        elif self.needs_y:
            raise ValueError(f"the program is {self}, so it needs labels y too")
        y = max(len(self.names), 1) if self.y is None and self.is_open else self.y
        if labels and y is None:
            raise ValueError(f"the program is {self}, so it takes no labels y")
        places = [self.x, y] if labels and y is not None else [self.x]
        self.refuse_unfilled({*self.names[len(places) :]})
        if sorted(places) != list(range(len(places))):
            raise ValueError(
                f"{self} has other parameters before its data; begin with {self.name}(x) or, with "
                f"labels, {self.name}(x, y)"
            )
        return tuple(sorted(range(len(places)), key=places.__getitem__))

    def named(self, names: Collection[str]) -> tuple[str, ...]:
        """The parameters that get data of their own names, in their order."""
        taken = tuple(name for name in self.names if name in names)
        called = ", ".join(names)
        if not taken:
            raise ValueError(
                f"{self} takes none of the data, which are {called}; call its parameters so"
            )
        behind = [p.name for p in self.parameters if p.name in names and p.kind is p.KEYWORD_ONLY]
        if behind:
            raise ValueError(
                f"{self} takes {behind[0]} by keyword only, but data are given by position; delete "
                f"the * before {behind[0]}"
            )
        self.refuse_unfilled({*self.required} - {*taken}, called)
        if taken != tuple(self.names[: len(taken)]):
            raise ValueError(
                f"{self} has other parameters before its data; begin with {', '.join(taken)}"
            )
        return taken

    def check_same_names(
        self, model: "_Role", taken: Sequence[str], names: Collection[str]
    ) -> None:
        """Refuses a guide that does not take what the model is given, or takes other data for it.

        Args:
            model: The model.
            taken: The names of the data that it takes.
            names: Those of all data.
        """
        if len(self.names) < len(taken) and not self.is_open:
            self.refuse_other(model)
        self.refuse_unfilled({*self.names[len(taken) :]}, ", ".join(names))
        for name, expected in zip(self.names, taken, strict=False):
            if name != expected and name in names:
                self.refuse_other(model)

    def check_same(self, model: "_Role", order: Sequence[int]) -> None:
        """Refuses a guide that does not take what the model is given, or takes x for y."""
        theirs = model.names[: len(order)]
        if len(self.names) < len(order) and not self.is_open:
            self.refuse_other(model)
        self.refuse_unfilled({*self.names[len(order) :]})
        for place, name in enumerate(self.names[: len(order)]):
            known = {"xy"[order[place]], *theirs[place : place + 1]}
            if name in {"x", "y", *theirs} - known:
                self.refuse_other(model)

    def refuse_other(self, model: "_Role") -> None:
        raise ValueError(
            f"the program is {model} but {self}; both get the same arguments, so give the guide "
            "the parameters of the model, in their order"
        )

    def refuse_y_by_keyword(self) -> None:
        by_name = {p.name: p for p in self.parameters}
        y = by_name.get("y")
        if y is not None and y.kind is y.KEYWORD_ONLY and y.default in (y.empty, None):
            raise ValueError(
                f"{self} takes y by keyword only, but data and labels are given by position; "
                "delete the * before y"
            )

    def refuse_unfilled(self, left: set[str], called: str = "x and their labels y") -> None:
        by_keyword = {p.name for p in self.parameters if p.kind is p.KEYWORD_ONLY}
        unfilled = [name for name in self.required if name in left | by_keyword]
        if unfilled:
            raise ValueError(
                f"{self} needs {', '.join(unfilled)} too, but the data are {called}; give it a "
                "default, or make it an attribute of the program"
            )
