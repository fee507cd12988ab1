"""Compiled graphs in the user's cache, and compiling in another process."""

import gc
import hashlib
import json
import os
import shutil
import time

import pyro
import pytest
import torch
from torch import nn

from pyro_vae.cache import cache_folder
from pyro_vae.inference import SVI, Compile, Trace_ELBO
from pyro_vae.inference.graphs import compiled, library
from pyro_vae.inference.graphs.lifting import lifted
from pyro_vae.models import VAE

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of torch's compiler
COMPILED = Compile()
BACKGROUND = Compile(mode="captured", background=True)
X = (torch.rand(32, 1, 4, 4, generator=torch.Generator().manual_seed(0)) < 0.3).float()


@pytest.fixture(autouse=True)
def own_cache(monkeypatch, tmp_path):
    monkeypatch.setenv("PYRO_VAE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "compiled"


@pytest.fixture(scope="module")
def compiled_once(tmp_path_factory):
    """A cache with the library of a program, and the program's losses."""
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("PYRO_VAE_CACHE", str(folder))
        return folder / "compiled", losses(trainer(COMPILED))


@pytest.fixture
def expected(compiled_once, own_cache):
    """The losses of the program whose library is in the cache."""
    folder, expected = compiled_once
    shutil.copytree(folder, own_cache)
    own_cache.chmod(0o700)
    return expected


@pytest.fixture
def compilations(monkeypatch):
    """What the compiler is asked for, and fails at."""
    found = []

    def compile(*args, **kwargs):
        found.append(args)
        raise RuntimeError("there is no C++ compiler")

    monkeypatch.setattr(torch._inductor, "compile", compile)
    return found


def trainer(options, *, hidden=4, scale=1.0, **adam):
    pyro.set_rng_seed(0)
    pyro.clear_param_store()
    program = VAE((1, 4, 4), latent_dim=2, hidden=(hidden,), activation=nn.Tanh)
    optim = pyro.optim.Adam({"lr": 1e-2} | adam)
    return SVI(program.model, program.guide, optim, Trace_ELBO(beta=scale), compile=options)


def losses(svi, steps=6):
    return [float(svi.step(X)) for _ in range(steps)]


@pytest.mark.parametrize("options", [COMPILED, Compile(background=True)])
def test_a_program_that_was_compiled_once_starts_compiled(options, expected, compilations):
    svi = trainer(options)
    assert losses(svi) == expected and svi.mode == "compiled" and not compilations


def test_captured_steps_take_over_what_was_compiled_once(expected, compilations):
    svi = trainer(BACKGROUND)
    assert losses(svi) == expected and svi.mode == "compiled" and not compilations


@pytest.mark.filterwarnings("ignore:SVI runs the captured graph")
@pytest.mark.parametrize("options", [{"hidden": 5}, {"scale": 2.0}, {"lr": 1e-3, "eps": 1e-6}])
def test_another_graph_has_another_library(options, expected, compilations):
    losses(trainer(COMPILED, **options))
    assert len(compilations) == 1


def test_another_learning_rate_has_the_same_library(expected, compilations):
    losses(trainer(COMPILED, lr=1e-3))  # which is an input of the graph
    assert not compilations


def test_the_number_of_threads_is_part_of_a_librarys_name():
    graph = torch.fx.symbolic_trace(nn.Identity())
    names = {library.key_of(graph, [X], {})}
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(threads + 1)
        names.add(library.key_of(graph, [X], {}))
    finally:
        torch.set_num_threads(threads)
    names |= {library.key_of(graph, [X[:1]], {}), library.key_of(graph, [X], {"cpp": True})}
    names.add(library.key_of(graph, [X.transpose(0, 2)], {}))
    assert len(names) == 5


def truncated(path):
    path.write_bytes(path.read_bytes()[:1_000])


def without_note(path):
    path.with_suffix(".json").unlink()


def not_a_library(path):
    path.write_bytes(b"no library")
    note = {"sha256": hashlib.sha256(b"no library").hexdigest()}
    path.with_suffix(".json").write_text(json.dumps(note))


@pytest.mark.filterwarnings("ignore:SVI runs the captured graph")
@pytest.mark.parametrize("spoil", [truncated, without_note, not_a_library])
def test_a_library_that_is_broken_is_compiled_anew(spoil, expected, compilations, own_cache):
    (path,) = own_cache.glob("*.so")
    spoil(path)
    losses(trainer(COMPILED))
    assert len(compilations) == 1 and not path.exists()


@pytest.mark.filterwarnings("ignore:SVI runs the captured graph")
def test_a_library_of_another_graph_is_found_out_by_its_value(expected, compilations, own_cache):
    (path,) = own_cache.glob("*.so")
    asked = library.key_of
    with pytest.MonkeyPatch.context() as patched:  # of twice the weight, under the name of this one
        patched.setattr(compiled, "key_of", lambda *args: path.stem)
        losses(trainer(COMPILED, scale=2.0))
    assert compiled.key_of is asked and len(compilations) == 1 and not path.exists()


def test_the_libraries_used_longest_ago_go_first(monkeypatch, own_cache):
    monkeypatch.setattr(library, "_MOST", 2)
    built = own_cache.parent / "built.so"
    for i in range(4):
        cache_folder("compiled")
        built.write_bytes(b"%d" % i)
        library.keep(str(i), built)
        os.utime(own_cache / f"{i}.so", (i, i))
    assert sorted(path.name for path in own_cache.iterdir()) == ["2.json", "2.so", "3.json", "3.so"]


def test_a_folder_that_others_may_write_to_is_no_cache(own_cache):
    assert cache_folder("compiled") == own_cache
    own_cache.chmod(0o777)
    assert cache_folder("compiled") is None


def test_a_folder_that_cannot_be_made_is_no_cache(own_cache):
    own_cache.parent.write_text("a file")
    assert cache_folder("compiled") is None


@pytest.mark.filterwarnings("ignore:SVI runs the captured graph")
def test_without_a_cache_a_program_is_compiled_by_its_own_process(
    monkeypatch, expected, compilations
):
    monkeypatch.setenv("PYRO_VAE_CACHE", "")
    svi = trainer(BACKGROUND)
    losses(svi)
    svi.compile_next()
    svi.step(X)
    assert len(compilations) == 1


def test_tensors_that_share_memory_stay_the_graphs_own():
    shared = torch.ones(4)
    apart, together = nn.Module(), nn.Module()
    apart.a, apart.b, together.a, together.b = shared, torch.ones(4), shared, shared[:2]
    for root, found in ((apart, [apart.a, apart.b]), (together, [])):
        graph = torch.fx.Graph()
        a, b = graph.get_attr("a"), graph.get_attr("b")
        total = graph.call_function(torch.add, (graph.call_method("sum", (a,)), b))
        graph.output((graph.call_function(torch.add, (total, graph.placeholder("x"))),))
        plain = torch.fx.GraphModule({"a": root.a, "b": root.b}, graph)
        new, tensors = lifted(plain, [X[:1, 0, 0, : len(root.b)]])
        assert list(map(id, tensors)) == list(map(id, found))
        x = torch.randn(len(root.b))
        assert torch.equal(new(*tensors, x)[0], plain(x)[0])


def wait_for(svi, mode, seconds=120):
    found, end = [], time.monotonic() + seconds
    while svi.mode != mode and time.monotonic() < end:
        found.append(float(svi.step(X)))
    return found


def test_captured_steps_go_on_while_another_process_compiles():
    svi = trainer(BACKGROUND)
    found = losses(svi)
    svi.compile_next()
    found += wait_for(svi, "compiled") + losses(svi)
    assert svi.mode == "compiled"
    expected = losses(trainer(Compile(mode="captured")), len(found))
    assert found == pytest.approx(expected, rel=1e-3)


def test_what_the_compiler_cannot_do_in_another_process_is_said_in_this_one(compilations):
    svi = trainer(BACKGROUND)
    losses(svi)
    svi.compile_next()
    with pytest.warns(UserWarning, match="uncompiled: there is no C.. compiler"):
        end = time.monotonic() + 60
        while svi.graphs.kinds[0].reason is None and time.monotonic() < end:
            svi.step(X)
    assert svi.mode == "captured" and not compilations  # of this process


def test_a_core_is_left_to_the_other_process(monkeypatch):
    monkeypatch.setattr(torch._inductor, "compile", lambda *a, **k: time.sleep(600))
    threads, cores = torch.get_num_threads(), {0, 1, 2}
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: cores)
    try:
        for before, meanwhile in ((4, 3), (3, 2), (2, 2)):
            torch.set_num_threads(before)
            svi = trainer(BACKGROUND)
            losses(svi)
            svi.compile_next()
            svi.step(X)
            assert torch.get_num_threads() == meanwhile
            del svi
            gc.collect()
            assert torch.get_num_threads() == before
    finally:
        torch.set_num_threads(threads)


def test_the_other_process_ends_with_the_training(monkeypatch):
    monkeypatch.setattr(torch._inductor, "compile", lambda *a, **k: time.sleep(600))
    svi = trainer(BACKGROUND)
    losses(svi)
    svi.compile_next()
    svi.step(X)
    (kind,) = svi._all.graphs._kinds.values()
    pid = kind.compiling._pid
    os.kill(pid, 0)
    del svi, kind
    gc.collect()
    end = time.monotonic() + 10
    while time.monotonic() < end:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return
        time.sleep(0.05)
    pytest.fail("it is still there")
