"""Torch's compiler, and what is changed of the C++ that it writes for a graph.

It writes a function that calls one kernel after the other, torch's or its own. Changed are:

    that function   compilers leave it as it is
    products        small ones are loops of this library, `cpp/products.cpp`
    denormals       count as zero where there are large products, `cpp/denormals.cpp`
    normal numbers  are made many together, `cpp/normals.cpp`
    functions       of vectors are parts of the loops, `cpp/functions.cpp`
    log densities   of binary data, and the layers before them, are made in parts, `cpp/binary.cpp`
    a loop          stands beside it, for many runs in one call, `cpp/loop.cpp`
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.fx import GraphModule

from .binary import IN_CACHE, register_densities
from .products import SMALL, has_large_products, register_products

__all__ = ["LOOP", "MAKERS", "compiled_by_torch"]

LOOP = "pyro_vae_loop"  # the function of `cpp/loop.cpp`
MAKERS = (
    "cpp/binary.cpp",
    "cpp/denormals.cpp",
    "cpp/functions.cpp",
    "cpp/loop.cpp",
    "cpp/normals.cpp",
    "cpp/products.cpp",
)

_ENTRY = "void inductor_entry_impl("  # the function that calls the kernels
_BEGIN = "    py::gil_scoped_release_simple release;\n"  # its first statement
_FUNCTIONS = re.compile(r"\b(tmp\d+(?:\.neg\(\))?)\.(exp|log|log1p|tanh)\(\)")  # of vectors
_METHODS = "static PyMethodDef py_methods[] = {{"  # the list of what Python may call, in a template
_NOT_OPTIMIZED = """
#ifdef __clang__
__attribute__((optnone))
#else
__attribute__((optimize("O0")))
#endif
"""


@dataclass(frozen=True)
class _Built:
    """What the compiler's C++ was compiled into."""

    entry: Any  # the function of the library
    code: str
    num_outputs: int


def compiled_by_torch(
    graph: GraphModule, inputs: Sequence[Tensor], settings: Mapping[str, Any], num_outputs: int
) -> tuple[Any, Path | None]:
    """The graph as a function, and the file of the library that it is.

    The file is None where the compiler's Python does more around the C++ than to hand tensors over:
    with numbers among the outputs, constants among the inputs, or several libraries.

    Args:
        graph: The graph, which is changed.
        inputs: Its inputs.
        settings: The compiler's.
        num_outputs: How many tensors the graph returns.

    Raises:
        Exception: Whatever torch's compiler raises, such as for want of a C++ compiler.
    """
    register_products()
    register_densities()
    flushes = has_large_products(graph)
    with _watched(flushes=flushes) as built:
        function: Any = torch._inductor.compile(graph, [*inputs], options=dict(settings))
    if len(built) != 1:
        return function, None
    (only,) = built
    takes = f"steal_from_raw_handles_to_raii_handles(input_handles, {len(inputs)})" in only.code
    if not takes or only.num_outputs != num_outputs:
        return function, None
    return function, Path(only.entry.__self__.__file__)


@contextmanager
def _watched(*, flushes: bool) -> Iterator[list[_Built]]:
    """Notes the libraries that are made within, and changes their C++."""
    from torch._inductor.codecache import CppWrapperCodeCache as Cache

    load_pybinding, built = Cache.load_pybinding, list[_Built]()

    def load_so(*args: Any, **kwargs: Any) -> Any:
        code = kwargs.get("main_code", "")
        if code:
            kwargs["main_code"] = _changed(code, flushes=flushes)
        entry = load_pybinding(*args, **kwargs)
        built.append(_Built(entry, code, kwargs.get("num_outputs", -1)))
        return entry

    Cache.load_pybinding = load_so  # type: ignore[method-assign]
    Cache.suffix_template = _with_loop(Cache.suffix_template)
    try:
        yield built
    finally:  # those that it inherits are there again
        del Cache.load_pybinding, Cache.suffix_template


def _changed(code: str, *, flushes: bool) -> str:
    """The C++ of a library, with ours in it.

    The function that calls the kernels is not optimized. It computes nothing, but has some forty
    lines for each kernel, and the time of C++ compilers grows faster than it. An NVAE of ten groups
    has 300 kernels and took above 300 s to compile, and now 30; 15 groups of latents took 37 s and
    now 16, and their step is no slower by more than 2 %.
    """
    head, entry, body = code.partition(_ENTRY)
    draws = "aoti_torch_cpu_normal_functional(" in body
    body, count = _FUNCTIONS.subn(r"pyro_vae::\2(\1)", body)
    sums = "aoti_torch_cpu_binary_log_density(" in body
    if count or draws or sums:
        head += _source("functions.cpp")
    if sums or "aoti_torch_cpu_mm_out(" in body or "aoti_torch_cpu_addmm_out(" in body:
        head += f"constexpr int64_t PYRO_VAE_SMALL = {SMALL};\n" + _source("products.cpp")
        for name in ("mm_out(", "addmm_out("):
            body = body.replace(f"aoti_torch_cpu_{name}", f"pyro_vae::{name}")
    if sums:
        head += f"constexpr int64_t PYRO_VAE_IN_CACHE = {IN_CACHE};\n" + _source("binary.cpp")
        body = body.replace("aoti_torch_cpu_binary_log_density(", "pyro_vae::binary_log_density(")
    if draws:
        head += _source("normals.cpp")
        body = body.replace("aoti_torch_cpu_normal_functional(", "pyro_vae::normal_functional(")
    if flushes and _BEGIN in body:
        head += _source("denormals.cpp")
        body = body.replace(_BEGIN, _BEGIN + "    pyro_vae::FlushDenormals flushed;\n", 1)
    return f"{head}{_NOT_OPTIMIZED}{entry}{body}" if entry else code


def _with_loop(template: str) -> str:
    """What the compiler ends the C++ of a library with, a template, with a loop in it.

    The loop is a second function that Python may call. It is for graphs of one output.
    """
    if template.count(_METHODS) != 1:  # of another version of torch: then there is no loop
        return template
    code = _source("loop.cpp").replace("{", "{{").replace("}", "}}")
    method = f'\n    {{{{"{LOOP}", {LOOP}, METH_VARARGS, ""}}}},'
    return template.replace(_METHODS, f"\n{code}\n{_METHODS}{method}")


def _source(name: str) -> str:
    return f"\n{(files(__package__) / 'cpp' / name).read_text()}\n"
