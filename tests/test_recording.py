"""Two runs are the same only if they do the same with the same tensors; a graph does it again."""

import itertools
import random
import weakref

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import nn

from pyro_vae.inference import SVI
from pyro_vae.inference.graphs import Compile
from pyro_vae.inference.graphs.building import graph_of
from pyro_vae.inference.graphs.recording import recorded
from pyro_vae.inference.graphs.uncapturable import UncapturableError

X = torch.arange(6.0).reshape(2, 3)
A, B = nn.Parameter(torch.zeros(2, 3)), nn.Parameter(torch.zeros(2, 3))


def same(run, kept=(A, B)):
    """Whether two runs are the same; each takes the next number of a counter that none sees."""
    counter, records = itertools.count(), []
    for _ in range(2):
        with recorded([X]) as record:
            run(next(counter))
        records.append(record)
    return records[0].is_same_as(records[1], kept)


def in_place(n):
    parts = [X * 2, X * 3]
    parts[n].add_(1)
    return parts[0] + parts[1]


CHANGING = {
    "a number": lambda n: X * (1 + n),
    "a number's type": lambda n: X * (1, 1.0)[n],
    "a flag's type": lambda n: X * (1, True)[n],
    "a zero's sign": lambda n: X * (0.0, -0.0)[n],
    "a keyword": lambda n: torch.add(X, X, alpha=1 + n),
    "two tensors of one shape": lambda n: torch.sub(*((X * 2, X * 3)[:: (1, -1)[n]])),
    "which of two results is used": lambda n: X.std(0) + torch.aminmax(X)[n],
    "two parameters of one value": lambda n: X * (A, B)[n],
    "the order of two parameters": lambda n: torch.sub(*((A, B)[:: (1, -1)[n]])),
    "an input for an equal constant": lambda n: (X, torch.from_numpy(X.numpy()))[n] * A,
    "what is changed in place": in_place,
    "the number of operations": lambda n: sum([X] * (2 + n)),
    "the operator": lambda n: (torch.sin, torch.cos)[n](X),
    "a constant": lambda n: X + torch.tensor(3.0 + n),
    "a constant's type": lambda n: X + torch.tensor(3, dtype=(torch.int32, torch.int64)[n]),
    "a constant's shape": lambda n: X + torch.tensor([[3.0], [3.0]][: 2 - n]),
    "an array": lambda n: X + torch.from_numpy(np.full((2, 3), n, np.float32)),
    "a type": lambda n: X.to((torch.float64, torch.float16)[n]),
    "a shape": lambda n: X.reshape(((3, 2), (6, 1))[n]),
    "a layout": lambda n: torch.empty_strided((2, 3), ((3, 1), (1, 2))[n]),
    "an index": lambda n: X[:, n],
    "numbers of Python": lambda n: X * random.random(),
    "numbers of numpy": lambda n: X * np.random.rand(),
    "an array of random numbers": lambda n: X + torch.from_numpy(np.random.rand(2, 3)),
    "a number taken out of a constant": lambda n: X * torch.tensor(1.0 + n).item(),
}


@pytest.mark.parametrize("run", CHANGING.values(), ids=CHANGING)
def test_runs_that_differ_are_not_the_same(run):
    assert not same(run)


def total(n):
    found = torch.tensor(0.0)
    for _ in range(2):
        found += X.sum()
    return found


STAYING = {
    "torch's random numbers": lambda n: X + torch.randn(2, 3) * torch.rand_like(X),
    "dropout": lambda n: nn.functional.dropout(X, 0.5),
    "a constant": lambda n: X + torch.tensor(3.0),
    "a constant that is changed in place": total,
    "an array": lambda n: X + torch.from_numpy(np.ones((2, 3))),
    "parts": lambda n: sum(X.unbind(1)) + sum(torch.aminmax(X)),
    "a gradient": lambda n: torch.autograd.grad((A.exp() * X).sum(), A),
    "a number taken out of a constant": lambda n: X * (2 * torch.tensor(3.0)).item(),
    "not a number": lambda n: X * float("nan"),
}


@pytest.mark.parametrize("run", STAYING.values(), ids=STAYING)
def test_runs_that_do_the_same_are_the_same(run):
    assert same(run)


def test_what_a_run_makes_dies_while_it_is_recorded():
    with recorded([X]) as record:
        y = X * 2
        seen = weakref.ref(y)
        y = y + 1
        assert seen() is None
    assert not record.outside and len(record.operations) == 2


def graph(run):
    with recorded([X]) as record:
        outputs = run()
        names = [record.name(output) for output in outputs]
    return graph_of(record, names), outputs


def parts():
    first, *others = X.unbind(1)
    low, high = torch.aminmax(X)
    norm = nn.functional.layer_norm(X, (3,), A[0], B[0])
    return first + sum(others), low - high, norm, *torch.split(X, 2, 1)


def gradient():
    y = (A + X).exp()
    y = y * y.detach().clone().mul_(2).add_(torch.tensor(1.0))
    return torch.autograd.grad(y.sum(), (A,))


@torch.inference_mode()
def without_autograd():
    return (nn.functional.linear(X, torch.ones(4, 3)),)


RUNS = {
    "parts": parts,
    "gradient": gradient,
    "inputs and constants": lambda: (X, A.detach(), torch.tensor(3.0)),
    "without autograd": without_autograd,
    "numbers": lambda: ((X + 1) * torch.tensor(2.0).item() * float("inf"),),
}


@pytest.mark.parametrize("run", RUNS.values(), ids=RUNS)
def test_a_graph_computes_what_the_run_did(run):
    built, outputs = graph(run)
    found = built(X)
    assert len(found) == len(outputs)
    assert all(torch.equal(a, b) for a, b in zip(found, outputs, strict=True))


def test_a_graph_takes_other_inputs_and_reads_parameters_where_they_are():
    scale = nn.Parameter(torch.tensor(2.0))
    built, _ = graph(lambda: (X * scale,))
    with torch.no_grad():
        scale.fill_(5.0)
    assert torch.equal(built(X + 1)[0], 5 * (X + 1))


def test_a_graph_says_how_each_tensor_lies_in_memory():
    built, _ = graph(lambda: (X.t() @ A, X.double().unbind()[0]))
    for node in built.graph.nodes:
        if node.op == "call_function" and node.target is torch.ops.aten.t.default:
            val = node.meta["val"]
            assert (val.shape, val.stride(), val.device.type) == ((3, 2), (1, 3), "cpu")
    (last,) = built.graph.output_node().args
    assert [node.meta["val"].dtype for node in last] == [torch.float32, torch.float64]
    assert len({node.meta["val"].fake_mode for node in last}) == 1


def test_no_operation_is_left_whose_number_was_taken_out():
    built, _ = graph(lambda: (X * torch.tensor(2.0).item(),))
    assert "_local_scalar_dense" not in built.code


def no_number():
    return (X * X.sum().item(),)


def compared():
    return (X * (2 if torch.equal(X, X + 1) else 3),)


@torch.inference_mode()
def one_hot():
    return (nn.functional.one_hot(X.long()),)


def own_generator():
    return (torch.randn(3, generator=torch.Generator()),)


def by_dynamo():
    return (torch.compile(lambda: X * 2, backend="eager")(),)


REFUSED = {
    "a number of an input": (no_number, RuntimeError, "a number is taken out"),
    "a comparison": (compared, RuntimeError, "a number is taken out"),
    "one_hot": (one_hot, RuntimeError, "a number is taken out|size of what"),
    "a mask": (lambda: (X[X > 1],), UncapturableError, "the size of what index returns"),
    "a generator": (own_generator, UncapturableError, "generator of its own"),
    "torch.compile": (by_dynamo, RuntimeError, "dynamo-optimized function"),
}


@pytest.mark.parametrize("run, kind, sentence", REFUSED.values(), ids=REFUSED)
def test_what_no_graph_can_do_is_refused(run, kind, sentence):
    with pytest.raises(kind, match=sentence):
        graph(run)


def test_a_recording_leaves_torchs_state_as_it_was():
    before = torch.is_autocast_cache_enabled(), torch.fx._symbolic_trace.is_fx_tracing()
    with pytest.raises(RuntimeError):
        graph(no_number)
    after = torch.is_autocast_cache_enabled(), torch.fx._symbolic_trace.is_fx_tracing()
    assert before == after == (True, False)


def test_a_program_with_a_counter_that_none_sees_runs_eagerly_and_says_so():
    counter = itertools.count()

    def model():
        loc = pyro.param("loc", torch.zeros(()))
        pyro.sample("x", dist.Normal(loc + 0.1 * next(counter), 1.0), obs=torch.tensor(1.0))

    optim = pyro.optim.Adam({"lr": 1e-2})
    svi = SVI(model, lambda: None, optim, compile=Compile(mode="captured"))
    with pytest.warns(UserWarning, match="two runs with the same data do different things"):
        for _ in range(4):
            svi.step()
