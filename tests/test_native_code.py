"""The C++ that stands in for torch's in compiled graphs: small products and normal numbers."""

import math

import numpy as np
import pytest
import torch

from pyro_vae.inference.graphs import compiler
from pyro_vae.inference.graphs.building import graph_of
from pyro_vae.inference.graphs.compiler import compiled_by_torch
from pyro_vae.inference.graphs.recording import recorded

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of torch's compiler
SIZES = [(1, 1, 1), (3, 5, 7), (8, 20, 16), (9, 4, 17), (64, 20, 40), (17, 33, 49), (5, 2, 100)]
LARGE = (70, 80, 90)  # of more multiplications than the loops take on


def compiled(function, inputs, *, fallback_random=True):
    settings = {"fallback_random": fallback_random, "cpp_wrapper": True}
    with torch.no_grad():
        with recorded(inputs) as recording:
            names = [recording.name(tensor) for tensor in function(*inputs)]
        graph = graph_of(recording, names)
        return compiled_by_torch(graph, inputs, settings, len(names))[0]


def matrices(rows, columns):
    """The same numbers in rows, in columns, and as a part of a larger matrix."""
    numbers = torch.randn(rows, columns)
    part = torch.randn(rows + 2, columns + 3)
    part[1:-1, 2:-1] = numbers
    return numbers, numbers.t().contiguous().t(), part[1:-1, 2:-1]


@pytest.fixture(scope="module")
def products():
    """Pairs of factors with a first term, their products, and what they are in doubles."""
    torch.manual_seed(0)
    inputs = []
    for rows, inner, columns in (*SIZES, LARGE):
        for left in matrices(rows, inner):
            for right in matrices(inner, columns):
                inputs += [left, right, torch.randn(columns), torch.randn(rows, columns)]

    def every(*tensors):
        found = []
        for left, right, row, first in zip(*[iter(tensors)] * 4, strict=True):
            found += [left @ right, torch.addmm(row, left, right), torch.addmm(first, left, right)]
            found += [torch.addmm(row, left, right, beta=0.5, alpha=2.0)]
        return found

    written, changed = [], compiler._changed
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(
            compiler, "_changed", lambda *a, **k: written.append(changed(*a, **k)) or written[-1]
        )
        found = compiled(every, inputs)(*inputs)
    assert "(pyro_vae::mm_out(" in written[0] and "(pyro_vae::addmm_out(" in written[0]
    return found, every(*(tensor.double() for tensor in inputs))


def test_products_are_those_of_doubles(products):
    for found, expected in zip(*products, strict=True):
        assert torch.allclose(found.double(), expected, rtol=1e-5, atol=2e-5)


def test_products_without_numbers_are_those_of_torch():
    inputs = [torch.randn(0, 3), torch.randn(3, 4), torch.randn(2, 0), torch.randn(0, 4)]

    def both(a, b, c, d):
        return [a @ b, c @ d + 1]

    found = compiled(both, inputs)(*inputs)
    assert [*map(torch.equal, found, both(*inputs))] == [True, True]


def draw(*shapes, dtype=torch.float32, mean=0.0):
    return lambda: [torch.empty(shape, dtype=dtype).normal_(mean, 1.0) for shape in shapes]


@pytest.fixture(scope="module")
def normals():
    """A function that draws (1000, 1000) and (7, 11) standard normal numbers, by our generator."""
    return compiled(draw((1_000, 1_000), (7, 11)), [], fallback_random=False)


def _splitmix64(state):
    mask = 2**64 - 1
    while True:
        state = (state + 0x9E3779B97F4A7C15) & mask
        z = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & mask
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & mask
        yield z ^ (z >> 31)


def _xoshiro128(words):
    """Numbers of 32 bits of generators side by side, (16,) each."""
    a, b, c, d = (np.array(part, dtype=np.uint32) for part in words)

    def turned(x, by):
        return (x << np.uint32(by)) | (x >> np.uint32(32 - by))

    while True:
        yield turned(a + d, 7) + a
        shifted = b << np.uint32(9)
        c, d = c ^ a, d ^ b
        b, a = b ^ c, a ^ d
        c, d = c ^ shifted, turned(d, 11)


def _expected(key, call, number):
    """The normal numbers of a call, in doubles."""
    seeds = _splitmix64(next(_splitmix64((key + call) % 2**64)))
    states = [(one & 0xFFFFFFFF, one >> 32) for one in (next(seeds) for _ in range(32))]
    words = [*zip(*states[::2], strict=True), *zip(*states[1::2], strict=True)]
    bits, found = _xoshiro128(words), []
    for _ in range(math.ceil(number / 32)):
        u, v = (np.float64(next(bits) >> np.uint32(1)) * 2.0**-31 + 2.0**-32 for _ in range(2))
        radius = np.sqrt(-2 * np.log(u))
        found += [radius * np.cos(2 * np.pi * v), radius * np.sin(2 * np.pi * v)]
    return torch.tensor(np.concatenate(found)[:number])


def test_splitmix64_and_xoshiro128_begin_as_published():
    numbers = _splitmix64(1234567)
    assert [next(numbers) for _ in range(3)] == [
        6457827717110365317,
        3203168211198807973,
        9817491932198370423,
    ]
    bits = _xoshiro128([[1], [2], [3], [4]])
    assert [int(next(bits)[0]) for _ in range(3)] == [641, 1573767, 3222811527]


def test_normal_numbers_are_those_of_their_generator(normals):
    torch.manual_seed(5)
    found = normals()
    torch.manual_seed(5)
    key = int(torch.randint(2**63 - 1, (1,)))
    for call, numbers in enumerate(found):
        few = numbers.flatten()[:320]
        assert torch.allclose(few.double(), _expected(key, call, len(few)), atol=3e-5)


def test_normal_numbers_are_normal(normals):
    torch.manual_seed(0)
    numbers = normals()[0].double().flatten()
    n = len(numbers)
    moments = [0, 1, 0, 3, 0, 15]
    for power, moment in enumerate(moments, 1):
        error = math.sqrt(math.prod(range(2 * power - 1, 0, -2)) / n)
        assert abs((numbers**power).mean() - moment) < 5 * error
    below = torch.special.ndtr(numbers.sort().values)
    distance = (below - (torch.arange(n) + 0.5) / n).abs().max() + 0.5 / n
    assert distance < 2 / math.sqrt(n)  # Kolmogorov and Smirnov's, of probability 0.0007
    assert (numbers.abs() > 4).sum() == pytest.approx(63.3, abs=5 * math.sqrt(63.3))


def test_normal_numbers_are_independent(normals):
    torch.manual_seed(1)
    (first, other), (later, _) = normals(), normals()
    for lag in (1, 16, 32, 1_000):
        a, b = first.flatten()[:-lag], first.flatten()[lag:]
        assert abs((a * b).mean()) < 5 / math.sqrt(len(a))
        assert abs((a**2 * b**2).mean() - 1) < 5 * math.sqrt(8 / len(a))
    assert abs((first * later).mean()) < 5e-3 and not torch.equal(first[0, :77], other.flatten())


def test_a_seed_repeats_normal_numbers(normals):
    torch.manual_seed(3)
    once, again = normals()[0], normals()[0]
    torch.manual_seed(3)
    assert torch.equal(normals()[0], once) and not torch.equal(again, once)


@pytest.mark.parametrize("options", [{"dtype": torch.float64}, {"mean": 2.0}])
def test_other_normal_numbers_are_torchs(options):
    function = draw((4, 5), **options)
    found = compiled(function, [], fallback_random=False)
    torch.manual_seed(0)
    numbers = found()[0]
    torch.manual_seed(0)
    torch.randint(2**63 - 1, (1,))
    assert torch.equal(numbers, function()[0])


def test_eager_draws_stay_those_of_torch():
    function = draw((4, 5))
    found = compiled(function, [], fallback_random=True)
    torch.manual_seed(0)
    numbers = found()[0]
    torch.manual_seed(0)
    assert torch.equal(numbers, function()[0])


def test_numbers_too_small_for_a_full_mantissa_count_as_zero_in_a_graph_alone():
    """Where it has large products, which they make slow; other code has its numbers as before."""
    tiny, factor = torch.full((600, 700), 1e-39), torch.full((700, 800), 1.0)

    def product(a, b):
        return [a @ b]

    (found,) = compiled(product, (tiny, factor))(tiny, factor)
    assert not found.any() and (tiny @ factor).all() and (tiny * 2).all()
    few, row = tiny[:3, :5].contiguous(), factor[:5, :4].contiguous()
    assert compiled(product, (few, row))(few, row)[0].all()
