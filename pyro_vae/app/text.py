"""Programs, losses, data and optimizers as text: calls as one writes them in Python.

    VAE(latent_dim=16, likelihood=Normal(scale=0.1))        Trace_ELBO(beta=linear(0, 1, 1000))

A text is a call of a public name with literals, other public names, calls of them, and the parts
of what a call gives: `VAE(encoder=load('runs/first').encoder)`. It is read with `ast` and never
evaluated as code; what it leaves out and the data know is filled in.
"""

import ast
import difflib
import inspect
import re
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from pyro.infer import ELBO
from pyro.optim import PyroOptim
from torch import Tensor, nn

from pyro_vae.datasets import Dataset
from pyro_vae.program import Program, ProgramModule
from pyro_vae.source import FunctionProgram, load_file

from .catalogue import catalogue

__all__ = [
    "build",
    "name_of",
    "read_data",
    "read_loss",
    "read_optim",
    "read_penalty",
    "read_program",
    "read_schedule",
    "read_temperature",
    "read_likelihood",
    "split_file",
    "text_of",
]

Names = Mapping[str, Any]


def read_program(text: str, known: Names, *, folder: Path = Path()) -> ProgramModule:
    """A program, as a module, from its text: `VAE(...)`, `my_vae.py` or `my_vae.py:MyVAE(...)`.

    Args:
        text: The text.
        known: Values for arguments that a call asks for and the text leaves out, such as x_shape.
        folder: Where the paths of files begin.
    """
    file, call = split_file(text)
    if file is None:
        return _program(build("programs", text, known), text)
    module = load_file(folder / file)
    if call:
        return _program(build("programs", call, known, own=vars(module)), text)
    if not (callable(getattr(module, "model", None)) and callable(getattr(module, "guide", None))):
        raise ValueError(
            f"{file} has no functions model(x) and guide(x); write them, or name a class of the "
            f'file with these methods: "{file}:MyVAE(latent_dim=16)"'
        )
    return FunctionProgram(module.model, module.guide, vars(module))


def read_loss(text: str, known: Names, *, folder: Path = Path()) -> ELBO:
    """An estimator from its text: `IWAE(50)`, or `my_estimator.py:Mine(...)` of a user's file.

    Args:
        text: The text.
        known: What the data know, such as num_data.
        folder: Where the paths of files begin.
    """
    file, call = split_file(text)
    if file is None:
        return build("losses", text, known)
    own = vars(load_file(folder / file))
    if not call:
        raise ValueError(f'name the estimator of {file} that is meant: "{file}:MyEstimator()"')
    loss = build("losses", call, known, own=own)
    if not isinstance(loss, ELBO):
        raise ValueError(
            f"{text!r} is a {type(loss).__name__}, which is no estimator; let its class inherit "
            "pyro_vae.inference.Estimator"
        )
    return loss


def read_penalty(text: str, *, folder: Path = Path()) -> Callable[[nn.Module], Tensor]:
    """A penalty from its text: `Spectral(0.01)`, or `mine.py:L1(1e-4)` or `mine.py:l2` of a file.

    Args:
        text: The text.
        folder: Where the paths of files begin.
    """
    file, call = split_file(text)
    if file is None:
        return build("penalties", text, {})
    own = vars(load_file(folder / file))
    if inspect.isfunction(own.get(call)):  # of the modules, and not of arguments
        return own[call]
    if not call:
        raise ValueError(f'name the penalty of {file} that is meant: "{file}:L1(1e-4)"')
    penalty = build("penalties", call, {}, own=own)
    if not callable(penalty):
        raise ValueError(
            f"{text!r} is a {type(penalty).__name__}, which is no penalty; let its class inherit "
            "pyro_vae.inference.Penalty"
        )
    return penalty


def read_likelihood(text: str) -> Callable[[tuple[int, ...]], nn.Module]:
    """What builds a likelihood from x_shape, from its text."""
    return lambda x_shape: build("likelihoods", text, {"x_shape": x_shape})


def text_of(likelihood: Callable[..., Any]) -> str | None:
    """The text of what builds a likelihood; None of a function that is more than a call of one.

    Tensors, such as a mean, are left out: they are buffers, and stand among the weights.
    """
    keywords = likelihood.keywords if isinstance(likelihood, partial) else {}
    keywords = {key: v for key, v in keywords.items() if not isinstance(v, Tensor)}
    found = likelihood.func if isinstance(likelihood, partial) else likelihood
    names = [name for name, part in catalogue()["likelihoods"].items() if part is found]
    if not names or not all(isinstance(v, int | float | None) for v in keywords.values()):
        return getattr(found, "text", None)
    return f"{names[0]}({', '.join(f'{key}={value!r}' for key, value in keywords.items())})"


def read_schedule(text: str) -> Callable[[int], float]:
    """A schedule from its text."""
    return build("schedules", text, {})


def read_data(text: str, data_dir: str | None = None) -> Dataset:
    """A data set from its text: `mnist(labels=100)`, `my_data.py` or `my_data.py:faces(size=64)`.

    Args:
        text: A call of a function of `pyro_vae.datasets`, or of one in a user's file, which returns
            a `Dataset`; a file alone has a function `data`.
        data_dir: Where those look that ask for one.
    """
    known = {} if data_dir is None else {"data_dir": data_dir}
    file, call = split_file(text)
    if file is None:
        return build("data", text, known)
    module = load_file(file)
    if not call and not callable(getattr(module, "data", None)):
        raise ValueError(
            f"{file} has no function data(); write one that returns a Dataset, or name another "
            f'function of the file: "{file}:faces(size=64)"'
        )
    found = build("data", call or "data", known, own=vars(module))
    if not isinstance(found, Dataset):
        raise ValueError(
            f"{text!r} gives a {type(found).__name__}, but must give a Dataset(name, train, valid, "
            "test), each part of which is a Split or a DataSource"
        )
    return found


def name_of(text: str) -> str:
    """What a text names, for the name of a folder: the function, class or file."""
    file, call = split_file(text)
    return Path(file).stem if file else call.partition("(")[0]


def read_optim(text: str) -> PyroOptim:
    """A Pyro optimizer from its text, such as `Adam({'lr': 1e-3})`."""
    return build("optimizers", text, {})


def read_temperature(text: str) -> float | dict[str, float]:
    """A temperature from its text: a number, or one for each of some latents."""
    try:
        found = ast.literal_eval(text.strip())
        named = found.items() if isinstance(found, dict) else [("", found)]
        if all(isinstance(name, str) and type(t) in (int, float) for name, t in named):
            return found
    except (SyntaxError, ValueError, TypeError, MemoryError, RecursionError):
        pass
    raise ValueError(
        f"the temperature is {text!r}, but must be a number such as 0.7, or one for each of some "
        "latents, such as \"{'z_1': 0.5}\""
    )


def split_file(text: str) -> tuple[str | None, str]:
    """Splits "my_vae.py:MyVAE(...)" into the file, if there is one, and the call."""
    found = re.fullmatch(r"(.+?\.py)(?::(.*))?", text.strip(), flags=re.DOTALL)
    return (found[1], found[2] or "") if found else (None, text)


def build(kind: str, text: str, known: Names, *, own: Names | None = None) -> Any:
    """Builds what a text says.

    Args:
        kind: The kind of the catalogue that is meant, for the sentence of an error.
        text: A call; a bare name is a call without arguments.
        known: Values for arguments that a call asks for and the text leaves out.
        own: More names, of a user's file.

    Raises:
        ValueError: If the text is no such call; the sentence says what is wrong and what there is.
    """
    try:
        node: ast.AST = ast.parse(text.strip(), mode="eval").body
    except (SyntaxError, ValueError, MemoryError, RecursionError) as error:
        raise ValueError(f"{text!r} is not a call such as {_EXAMPLES[kind]}") from error
    if isinstance(node, ast.Name | ast.Attribute):
        node = ast.Call(node, [], [])
    if not isinstance(node, ast.Call):
        raise ValueError(f"{text!r} is not a call such as {_EXAMPLES[kind]}")
    reader = _Reader(kind, known, own or {})
    if all(reader.value(node.func) is not value for value in reader.callables):
        raise ValueError(
            f"{ast.unparse(node.func)!r} is not one of the {kind}, which are "
            f"{', '.join(sorted(reader.expected))}"
        )
    return reader.value(node)


_EXAMPLES = {
    "programs": "VAE(latent_dim=16)",
    "losses": "Trace_ELBO(beta=linear(0, 1, 1000))",
    "likelihoods": "Binomial(total_count=16)",
    "schedules": "cosine(1, 0, 10_000)",
    "penalties": "Spectral(0.01)",
    "guide steps": "Aggressive(max_steps=100)",
    "data": "mnist(binarize='dynamic')",
    "optimizers": "Adam({'lr': 1e-3})",
}
_PARTS = ("priors", "likelihoods", "posteriors")


class _Reader:
    """Turns the nodes of a text into values."""

    def __init__(self, kind: str, known: Names, own: Names) -> None:
        self.kind, self.known = kind, known
        self.kinds = kinds = catalogue()
        self.expected = {name: v for name, v in own.items() if callable(v)} or kinds[kind]
        self.callables = [*self.expected.values(), *kinds[kind].values()]
        self.parts = [part for room in _PARTS for part in kinds[room].values()]
        # A user's own part comes before one of ours that has its name.
        self.own_parts = {name: v for name, v in own.items() if _is_module_class(v)}
        self.names: dict[str, Any] = {n: v for names in kinds.values() for n, v in names.items()}
        self.names |= {f"{k}.{n}": v for k, names in kinds.items() for n, v in names.items()}
        self.names |= kinds[kind] | dict(own)

    def value(self, node: ast.AST, room: str = "") -> Any:
        """What a node says; `room` is the kind whose names come first, such as "priors"."""
        match node:
            case ast.Constant():
                return node.value
            case ast.Attribute(value=owner, attr=name) if isinstance(_root(owner), ast.Call):
                return _part_of(self.value(owner), ast.unparse(owner), name)
            case ast.Name() | ast.Attribute():
                return self.named(node, room)
            case ast.Call():
                return self.call(node, room)
            case ast.Tuple():
                return tuple(map(self.value, node.elts))
            case ast.List():
                return list(map(self.value, node.elts))
            case ast.Dict() if None not in node.keys:
                keys = [self.value(key) for key in node.keys if key is not None]
                return dict(zip(keys, map(self.value, node.values), strict=True))
            case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=int() | float() as number)):
                return -number
        raise ValueError(
            f"{ast.unparse(node)!r} is neither a literal nor a call of a public name; write for "
            f"example {_EXAMPLES[self.kind]}"
        )

    def named(self, node: ast.Name | ast.Attribute, room: str) -> Any:
        name = ast.unparse(node)
        found = self.own_parts.get(name, self.kinds.get(room, {}).get(name, self.names.get(name)))
        if found is not None:
            return found
        near = [known for known in self.names if known.lower() == name.lower()]
        near += difflib.get_close_matches(name, self.expected, 1)
        near += difflib.get_close_matches(name, self.names, 1)
        raise ValueError(
            f"there is no {name!r}"
            + (f", did you mean {near[0]!r}?" if near else ".")
            + f" The {self.kind} are {', '.join(sorted(self.expected))}"
        )

    def call(self, node: ast.Call, room: str) -> Any:
        if not isinstance(node.func, ast.Name | ast.Attribute):
            raise ValueError(f"{ast.unparse(node.func)!r} is not a public name")
        function = self.named(node.func, room)
        name = ast.unparse(node.func)
        if not callable(function):
            raise ValueError(f"{name!r} is not a class or function to call")
        if any(keyword.arg is None for keyword in node.keywords):
            raise ValueError(f"{name} is given ** arguments; write each by its name")
        args = [self.part(arg) for arg in node.args]
        kwargs = {str(k.arg): self.part(k.value, f"{k.arg}s") for k in node.keywords}
        if len(kwargs) < len(node.keywords):
            raise ValueError(f"{name} is given an argument twice; write each once")
        return self.construct(name, function, args, kwargs)

    def part(self, node: ast.AST, room: str = "") -> Any:
        """The value of an argument, where the bare name of a part is a call of it."""
        value = self.value(node, room)
        is_own = room in _PARTS and any(value is part for part in self.own_parts.values())
        if is_own or any(value is part for part in self.parts):
            return self.construct(ast.unparse(node), value, [], {})
        return value

    def of_data(self, name: str) -> Any:
        """What the data know: of the likelihood, what builds it."""
        value = self.known[name]
        return value(self.known["x_shape"]) if name == "likelihood" else value

    def construct(
        self, name: str, function: Callable[..., Any], args: list[Any], kwargs: dict[str, Any]
    ) -> Any:
        try:
            parameters = inspect.signature(function).parameters
        except ValueError as error:
            raise ValueError(f"{name} is not a class or function that a text can call") from error
        taken = list(parameters)[: len(args)]
        # What is given by position counts from behind the arguments that the data know.
        first = next(iter(parameters), "")
        if first in self.known and first not in kwargs and not _is_shape(args, self.known[first]):
            args, taken = [self.known[first], *args], list(parameters)[: len(args) + 1]
        asked = [key for key in self.known if key in parameters and key not in taken]
        if any(function is part for part in self.parts):
            asked = [key for key in asked if key != "num_classes"]  # a column's, not the labels'
        kwargs = {key: self.of_data(key) for key in asked if key not in kwargs} | kwargs
        unknown = [key for key in kwargs if key not in parameters]
        takes_any = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
        if unknown and not takes_any:
            near = difflib.get_close_matches(unknown[0], parameters, 1)
            raise ValueError(
                f"{name} has no argument {unknown[0]!r}"
                + (f", did you mean {near[0]!r}?" if near else ".")
                + f" Its arguments are {', '.join(parameters) or 'none'}"
            )
        try:
            inspect.signature(function).bind(*args, **kwargs)
        except TypeError as error:
            raise ValueError(f"{name}: {error}") from error
        try:
            return function(*args, **kwargs)
        except (ValueError, FileNotFoundError):
            raise
        except Exception as error:  # arguments of another type than meant, or a user's own code
            told = isinstance(error, TypeError) and str(error)
            said = str(error).split("\n")[0] if told else repr(error)
            raise ValueError(f"{name} cannot be built from these arguments: {said}") from error


def _is_module_class(value: Any) -> bool:
    return isinstance(value, type) and issubclass(value, nn.Module)


def _is_shape(args: list[Any], shape: Any) -> bool:
    """Whether the text gives the shape itself, as in VAE((1, 28, 28), 20)."""
    return bool(args) and isinstance(shape, tuple) and isinstance(args[0], tuple | list)


def _root(node: ast.AST) -> ast.AST:
    """What the dots of a name stand behind, such as the call in `load('runs/first').encoder`."""
    return _root(node.value) if isinstance(node, ast.Attribute) else node


def _part_of(owner: Any, text: str, name: str) -> nn.Module:
    """A part of a program or network, and nothing else that Python would give by a name."""
    parts = dict(owner.named_children()) if isinstance(owner, nn.Module) else {}
    if name not in parts:
        raise ValueError(
            f"{text} is a {type(owner).__name__}, which has no part {name!r}; its parts are "
            f"{', '.join(parts) or 'none'}"
        )
    return parts[name]


def _program(value: Any, text: str) -> ProgramModule:
    try:
        is_program = isinstance(value, Program)
    except Exception as error:  # a property of a user's class
        raise ValueError(f"{text!r} cannot be looked at: {error!r}") from error
    if not is_program:
        raise ValueError(
            f"{text!r} is a {type(value).__name__}, which has no methods model(x) and guide(x), so "
            "it is not a program"
        )
    if isinstance(value, nn.Module):
        return value
    return FunctionProgram(value.model, value.guide, vars(value))
