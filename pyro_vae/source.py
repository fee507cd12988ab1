"""Programs in users' files: a Python file with functions `model` and `guide` is a program."""

import importlib.util
import sys
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from pyro.poutine.messenger import Messenger
from torch import nn
from torch.distributions import constraints, transform_to

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

    def model(self, *args: Any, **kwargs: Any) -> Any:
        """Calls the model."""
        with self._local_params():
            return self.functions["model"](*args, **kwargs)

    def guide(self, *args: Any, **kwargs: Any) -> Any:
        """Calls the guide."""
        with self._local_params():
            return self.functions["guide"](*args, **kwargs)

    def load_state_dict(self, state_dict: Mapping[str, Any], *args: Any, **kwargs: Any) -> Any:
        """Loads parameters, those too that `pyro.param` has not declared yet."""
        for name, value in state_dict.items():
            kind, _, key = name.partition(".")
            if kind == "pyro_params" and key not in self.pyro_params:
                self.pyro_params[key] = nn.Parameter(torch.as_tensor(value).clone())
        return super().load_state_dict(state_dict, *args, **kwargs)

    def _local_params(self) -> AbstractContextManager[Any]:
        return _LocalParams(self.pyro_params)


class _LocalParams(Messenger):
    """Keeps what `pyro.param` declares in a dictionary of unconstrained parameters."""

    def __init__(self, parameters: nn.ParameterDict) -> None:
        super().__init__()
        self.parameters = parameters

    def _pyro_param(self, msg: dict[str, Any]) -> None:
        if msg["done"]:
            return
        initial = msg["args"][1] if len(msg["args"]) > 1 else None
        if isinstance(initial, nn.Parameter):  # of a module, by way of pyro.module
            msg["value"], msg["done"] = initial, True
            return
        constraint = msg["kwargs"].get("constraint", constraints.real)
        key = msg["name"].replace(".", "/")  # torch allows no dot in a name
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
    name = f"_{path.stem}_{abs(hash(path))}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ValueError(f"{path} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    before = set(sys.modules)
    sys.modules[name] = module  # dataclasses look their module up
    sys.path.insert(0, str(path.parent))
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        del sys.modules[name]
        raise ValueError(f"{path} does not run: {_where(error, path)}{error!r}") from error
    finally:
        sys.path.pop(0)
        _SOURCES[path] = [path, *_forget_beside(path, before)]
    return module


def sources(path: str | Path) -> list[Path]:
    """A file that was loaded, and those beside it that it imported."""
    return _SOURCES.get(Path(path).absolute(), [Path(path).absolute()])


_SOURCES: dict[Path, list[Path]] = {}


def _forget_beside(path: Path, before: set[str]) -> list[Path]:
    """Unloads the modules beside a file that it imported: another file has its own of a name."""
    found = []
    for name in set(sys.modules) - before:
        origin = getattr(sys.modules[name], "__file__", None)
        home = Path(origin) if origin else None
        if home and home != path and home.is_relative_to(path.parent):
            if "site-packages" not in home.parts:
                found.append(home)
                del sys.modules[name]
    return found


def _where(error: BaseException, path: Path) -> str:
    lines = []
    step = error.__traceback__
    while step is not None:
        if Path(step.tb_frame.f_code.co_filename) == path:
            lines.append(step.tb_lineno)
        step = step.tb_next
    return f"line {lines[-1]}: " if lines else ""
