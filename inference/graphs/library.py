"""Compiled graphs as libraries on disk, so that a program that was compiled once starts compiled.

A library is what torch's compiler made of one graph: machine code that takes the graph's tensors
and returns its outputs. Compiling takes seconds to minutes, all of it for the same library again;
loading takes some milliseconds. Its name is a hash of all that it was made from:

    the graph     its operations and numbers, with the shapes, strides and types of its inputs
    the machine   the processor with its instructions, and the number of threads
    the versions  of torch, of Python, and of what makes it here
"""

import hashlib
import importlib.util
import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.machinery import ExtensionFileLoader
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.fx import GraphModule

from pyro_vae.cache import cache_file, cache_folder
from pyro_vae.machine import machine

from .compiler import LOOP, MAKERS

__all__ = ["Library", "find", "forget", "keep", "key_of", "load"]

_MOST = 200  # libraries that are kept, of 0.2 to 2 MB each; those used longest ago go first
_ENTRY = "inductor_entry_cpp"  # what torch's compiler calls the function of a library


@dataclass(frozen=True)
class Library:
    """A loaded library.

    Args:
        path: Its file.
        entry: Its function, from handles of tensors to handles of its outputs.
        loop: That of `cpp/loop.cpp`, which calls it many times; None where there is none.
    """

    path: Path
    entry: Callable[[Any], Any]
    loop: Callable[..., Any] | None = None

    def __call__(self, *tensors: Tensor) -> Sequence[Tensor]:
        """The outputs for the graph's inputs; call it without gradients.

        It is called without torch's own wrapper, whose Python takes 0.1 ms at 60 tensors.
        """
        return _tensors(self.entry(_handles(tensors)))

    def each(self, own: Sequence[Tensor], inputs: Sequence[Sequence[Tensor]]) -> Sequence[Tensor]:
        """The only output for each set of inputs, by the loop; call it without gradients.

        Args:
            own: The first inputs, the same in each run.
            inputs: For each run the others.

        Returns:
            One for each run, up to the first that is not finite.
        """
        if self.loop is None:
            raise ValueError(f"{self.path} has no loop")
        flat = [tensor for tensors in inputs for tensor in tensors]
        return _tensors(self.loop(_handles(own), _handles(flat), len(inputs)))


def _handles(tensors: Sequence[Tensor]) -> Any:
    return torch._C._aoti.unsafe_alloc_void_ptrs_from_tensors(list(tensors))


def _tensors(handles: Any) -> Sequence[Tensor]:
    return torch._C._aoti.alloc_tensors_by_stealing_from_void_ptrs(handles)


def key_of(graph: GraphModule, inputs: Sequence[Tensor], settings: Mapping[str, Any]) -> str:
    """The name of the library of a graph, whose tensors are all inputs; 64 hexadecimal digits.

    Args:
        graph: The graph.
        inputs: Its inputs, of which shapes, strides and types count.
        settings: The compiler's.
    """
    meta = [(tuple(t.shape), t.stride(), str(t.dtype), str(t.device)) for t in inputs]
    parts = (graph.code, meta, sorted(settings.items()), _modes(), machine(), _makers())
    return hashlib.sha256(repr(parts).encode()).hexdigest()


def find(key: str) -> Library | None:
    """The library of this name, if there is one, whole and of this user."""
    folder = cache_folder("compiled")
    path = None if folder is None else folder / f"{key}.so"
    if path is None or not path.is_file():
        return None
    try:
        note = json.loads(path.with_suffix(".json").read_text())
        if note != {"sha256": hashlib.sha256(path.read_bytes()).hexdigest()}:
            raise ValueError("the library is not the one that was written")
        library = load(path)
        os.utime(path)  # it is used, so that others go before it
    except Exception:  # half written, of another system: it is compiled anew
        forget(key)
        return None
    return library


def keep(key: str, built: Path) -> None:
    """Puts a copy of a library that was built into the cache."""
    folder = cache_folder("compiled")
    if folder is None:
        return
    content = built.read_bytes()
    note = json.dumps({"sha256": hashlib.sha256(content).hexdigest()})
    try:
        cache_file(folder / f"{key}.json", note.encode())
        cache_file(folder / f"{key}.so", content)
    except OSError:  # a full disk is no reason to end a training
        return
    libraries = sorted(folder.glob("*.so"), key=lambda path: path.stat().st_mtime)
    for path in libraries[:-_MOST]:
        forget(path.stem)


def forget(key: str) -> None:
    """Removes a library from the cache."""
    folder = cache_folder("compiled")
    for suffix in (".so", ".json"):
        if folder is not None:
            (folder / f"{key}{suffix}").unlink(missing_ok=True)


def load(path: Path) -> Library:
    """Loads a library."""
    # where its module reads an address from when it is made; torch sets it likewise
    address = torch._C._dynamo.guards._torchinductor_pyobject_tensor_data_ptr  # type: ignore[attr-defined]
    os.environ["_TORCHINDUCTOR_PYOBJECT_TENSOR_DATA_PTR"] = str(address)
    loader = ExtensionFileLoader(_ENTRY, str(path))
    spec = importlib.util.spec_from_file_location(_ENTRY, path, loader=loader)
    if spec is None:
        raise ImportError(f"{path} is no library")
    module = importlib.util.module_from_spec(spec)
    loader.exec_module(module)
    return Library(path, getattr(module, _ENTRY), getattr(module, LOOP, None))


def _modes() -> tuple[Any, ...]:
    """What of torch's state the compiler reads."""
    return (
        torch.get_num_threads(),
        torch.get_float32_matmul_precision(),
        torch.are_deterministic_algorithms_enabled(),
        torch.backends.mkldnn.is_available() and torch.backends.mkldnn.enabled,
        torch.backends.cpu.get_cpu_capability(),
    )


@cache
def _makers() -> str:
    """What makes a library here, as a hash, so that a change of it makes all libraries anew."""
    of_python = ("binary", "compiled", "compiler", "convolutions", "passes", "products")
    names = [*(f"{name}.py" for name in of_python), *MAKERS]
    contents = [Path(__file__).parent.joinpath(name).read_bytes() for name in names]
    return hashlib.sha256(b"".join(contents)).hexdigest()
