"""Functions as graphs that torch's compiler compiles, and the C++ that it writes for them."""

from contextlib import contextmanager

import pytest
import torch
from torch.fx.experimental.proxy_tensor import make_fx

from pyro_vae.inference.graphs import compiler
from pyro_vae.inference.graphs.building import graph_of
from pyro_vae.inference.graphs.compiler import compiled_by_torch
from pyro_vae.inference.graphs.passes import prepare
from pyro_vae.inference.graphs.recording import recorded

__all__ = ["compiled", "prepared", "written_code"]


def prepared(function, *args):
    """The graph of a function as the compiler is given it."""
    return prepare(make_fx(function, tracing_mode="fake")(*args))


def compiled(function, inputs, *, prepares=False):
    """A function of tensors that returns a list of them, compiled; its graph is changed before."""
    settings = {"fallback_random": True, "cpp_wrapper": True}
    with torch.no_grad():
        with recorded(inputs) as recording:
            names = [recording.name(tensor) for tensor in function(*inputs)]
        graph = graph_of(recording, names)
        if prepares:
            graph = prepare(graph)
        return compiled_by_torch(graph, inputs, settings, len(names))[0]


@contextmanager
def written_code():
    """The C++ of what is compiled within."""
    written, changed = [], compiler._changed
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(
            compiler, "_changed", lambda *a, **k: written.append(changed(*a, **k)) or written[-1]
        )
        yield written
