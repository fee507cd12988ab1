"""Programs in users' files: a Python file with functions `model` and `guide` is a program."""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from pyro.poutine.messenger import Messenger
from torch import nn
from torch.distributions import constraints, transform_to

from .beside import Beside

__all__ = ["FunctionProgram", "load_file", "sources"]


class FunctionProgram(nn.Module):
    """Two functions as a program, with the parameters that they use as its own.

    These are the modules and `nn.Parameter`s that stand at the top of their file, and what they
    declare with `pyro.param`, which stays here and out of Pyro's global store.

    Args:
        model: The model, a function of the data.
        guide: Its guide.
        names: What stands beside them, by name.
    """

    def __init__(
        self, model: Callable[..., Any], guide: Callable[..., Any], names: Mapping[str, Any]
    ) -> None:
        super().__init__()
        self.functions = {"model": model, "guide": guide}
        parts = {name: part for name, part in names.items() if isinstance(part, nn.Module)}
        self.parts = nn.ModuleDict(parts)
        self.parameters_ = nn.ParameterDict(
            {name: part for name, part in names.items() if isinstance(part, nn.Parameter)}
        )
        self.pyro_params = nn.ParameterDict()
        self.constraints: dict[str, constraints.Constraint] = {}

    def model(self, *args: Any, **kwargs: Any) -> Any:
        """Calls the model."""
        with self._local_params():
            return self.functions["model"](*args, **kwargs)

    def guide(self, *args: Any, **kwargs: Any) -> Any:
        """Calls the guide."""
        with self._local_params():
            return self.functions["guide"](*args, **kwargs)

    @staticmethod
    def name_in_file(name: str) -> str:
        """What the file calls a parameter: "enc.weight" is "parts.enc.weight" of this module."""
        home, _, rest = name.partition(".")
        if home == "pyro_params":
            return rest.replace("/", ".")
        return rest if home in ("parts", "parameters_") else name

    def load_state_dict(self, state_dict: Mapping[str, Any], *args: Any, **kwargs: Any) -> Any:
        """Loads parameters, those too that `pyro.param` has not declared yet."""
        for name, value in state_dict.items():
            kind, _, key = name.partition(".")
            if kind == "pyro_params" and key not in self.pyro_params:
                self.pyro_params[key] = nn.Parameter(torch.as_tensor(value).clone())
        return super().load_state_dict(state_dict, *args, **kwargs)

    def _local_params(self) -> AbstractContextManager[Any]:
        return _LocalParams(self.pyro_params, self.constraints)


class _LocalParams(Messenger):
    """Keeps what `pyro.param` declares in a dictionary of unconstrained parameters."""

    def __init__(
        self, parameters: nn.ParameterDict, declared: dict[str, constraints.Constraint]
    ) -> None:
        super().__init__()
        self.parameters, self.constraints = parameters, declared

    def _pyro_param(self, msg: dict[str, Any]) -> None:
        if msg["done"]:
            return
        initial = msg["args"][1] if len(msg["args"]) > 1 else None
        if isinstance(initial, nn.Parameter):  # of a module, by way of pyro.module
            msg["value"], msg["done"] = initial, True
            return
        key = msg["name"].replace(".", "/")  # torch allows no dot in a name
        constraint = msg["kwargs"].get("constraint", constraints.real)
        if initial is None:  # it was declared before, and is read
            constraint = self.constraints.get(key, constraint)
        else:
            self.constraints[key] = constraint
        if key not in self.parameters:
            if initial is None:
                return  # Pyro says what is wrong
            value = initial() if callable(initial) else initial
            unconstrained = transform_to(constraint).inv(value.detach())
            self.parameters[key] = nn.Parameter(unconstrained.contiguous().clone())
        parameter = self.parameters[key]
        constrained: Any = transform_to(constraint)(parameter)
        constrained.unconstrained = lambda: parameter
        msg["value"], msg["done"] = constrained, True


def load_file(path: str | Path) -> ModuleType:
    """Runs a Python file and returns it as a module; what it imports may stand beside it.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it does not run; the sentence gives the error and its line.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f"there is no file {path}")
    path = Path(path).absolute()
    beside = Beside(path.parent)
    _LOADED[path] = beside
    try:
        return beside.run(path, f"_{path.stem}_{abs(hash(path))}")
    except (Exception, SystemExit) as error:
        raise ValueError(f"{path} does not run: {_where(error, path)}{_said(error)}") from error


def sources(path: str | Path) -> list[Path]:
    """A file that was loaded, and those beside it that it imported so far."""
    path = Path(path).absolute()
    beside = _LOADED[path].files if path in _LOADED else ()
    return [path, *(file for file in beside if file != path)]


_LOADED: dict[Path, Beside] = {}


def _where(error: BaseException, path: Path) -> str:
    """The line of the file, or of one beside it, that an error comes from."""
    if isinstance(error, SyntaxError) and error.filename and error.lineno:
        return _line(Path(error.filename), error.lineno, path)
    lines = ""
    step = error.__traceback__
    while step is not None:
        file = Path(step.tb_frame.f_code.co_filename)
        if file in sources(path):
            lines = _line(file, step.tb_lineno, path)
        step = step.tb_next
    return lines


def _line(file: Path, number: int, path: Path) -> str:
    return f"line {number}: " if file == path else f"{file.name}, line {number}: "


def _said(error: BaseException) -> str:
    said = error.msg if isinstance(error, SyntaxError) else str(error).strip().split("\n")[0]
    return f"{type(error).__name__}: {said}".removesuffix(": ")
