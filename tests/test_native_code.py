"""The C++ that stands in for torch's in compiled graphs: products, draws and functions."""

import math

import pytest
import torch
from torch._inductor.cpu_vec_isa import pick_vec_isa

from .compiled_code import compiled, written_code

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of torch's compiler
SIZES = [(1, 1, 1), (3, 5, 7), (8, 20, 16), (9, 4, 17), (64, 20, 40), (17, 33, 49), (5, 2, 100)]
LARGE = (70, 80, 90)  # of more multiplications than the loops take on


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

    with written_code() as written:
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


DRAWN = [(16,), (17,), (31,), (32,), (47,), (7, 11), (623,), (624,), (1_248,), (1_000, 1_001)]


def draw(*shapes, dtype=torch.float32, mean=0.0):
    return lambda: [torch.empty(shape, dtype=dtype).normal_(mean, 1.0) for shape in shapes]


@pytest.fixture(scope="module")
def normals():
    """A function that draws standard normal numbers of many shapes, by our loops."""
    with written_code() as written:
        function = compiled(draw(*DRAWN), [])
    assert "(pyro_vae::normal_functional(" in written[0]
    return function


@pytest.mark.parametrize("before", [0, 1, 5, 622, 623, 624, 625, 700])
def test_normal_numbers_are_those_of_eager_code(normals, before):
    """Wherever the generator stands among the 624 numbers that it makes at once."""
    torch.manual_seed(before)
    torch.empty(before).uniform_()
    state = torch.get_rng_state()
    found, after = normals(), torch.get_rng_state()
    torch.set_rng_state(state)
    expected = draw(*DRAWN)()
    assert torch.equal(after, torch.get_rng_state())
    for numbers, others in zip(found, expected, strict=True):
        assert torch.allclose(numbers, others, rtol=1e-5, atol=3e-6)


def test_normal_numbers_are_normal(normals):
    torch.manual_seed(0)
    numbers = normals()[-1].double().flatten()
    n = len(numbers)
    moments = [0, 1, 0, 3, 0, 15]
    for power, moment in enumerate(moments, 1):
        error = math.sqrt(math.prod(range(2 * power - 1, 0, -2)) / n)
        assert abs((numbers**power).mean() - moment) < 5 * error
    below = torch.special.ndtr(numbers.sort().values)
    distance = (below - (torch.arange(n) + 0.5) / n).abs().max() + 0.5 / n
    assert distance < 2 / math.sqrt(n)  # Kolmogorov and Smirnov's, of probability 0.0007


@pytest.mark.parametrize("shape", [(4, 5), (3, 5)])
@pytest.mark.parametrize("options", [{}, {"dtype": torch.float64}, {"mean": 2.0}])
def test_few_and_other_normal_numbers_are_those_of_eager_code(shape, options):
    function = draw(shape, **options)
    found = compiled(function, [])
    torch.manual_seed(0)
    numbers = found()[0]
    torch.manual_seed(0)
    assert torch.allclose(numbers, function()[0], atol=3e-6)


FUNCTIONS = {"exp": torch.exp, "log": torch.log, "log1p": torch.log1p, "tanh": torch.tanh}
SPECIAL = [math.inf, -math.inf, math.nan, 0.0, -0.0, 1e-40, -1e-40, 1e-20, -1e-20]
SPECIAL += [-1.0, -2.0, 50.0, 89.0, -88.0, -104.0, 200.0, -200.0, 3e38]


def both_signs(powers):
    return torch.cat([-(10**powers), 10**powers])


RANGES = {  # all numbers in one vector within what the loops are for
    "exp": torch.linspace(-86.9, 87.9, 100_000),
    "log": 10 ** torch.linspace(-36.9, 37.9, 100_000),
    "log1p": torch.cat([both_signs(torch.linspace(-30, -0.01, 50_000)), torch.logspace(0, 36, 99)]),
    "tanh": both_signs(torch.linspace(-30, 1.6, 50_000)),
}


@pytest.fixture(scope="module")
def functions():
    """The four functions on their ranges, on special numbers, and on other types.

    Of special numbers there are whole vectors, and such in which all others are 0.5.
    """
    if not pick_vec_isa():
        pytest.skip("torch's compiler makes no vectors on this processor")
    special = torch.tensor(SPECIAL).repeat_interleave(16)
    alone = torch.full((len(SPECIAL), 16), 0.5)
    alone[torch.arange(len(SPECIAL)), torch.arange(len(SPECIAL)) % 16] = torch.tensor(SPECIAL)
    special = torch.cat([special, alone.flatten()])
    inputs = [*RANGES.values(), special, torch.rand(99).double(), torch.rand(99).bfloat16()]

    def every(*tensors):
        *ranges, special, doubles, halves = tensors
        found = [f(x) for f, x in zip(FUNCTIONS.values(), ranges, strict=True)]
        return found + [f(x) for x in (special, doubles, halves) for f in FUNCTIONS.values()]

    with written_code() as written:
        found = compiled(every, inputs)(*inputs)
    assert all(f"pyro_vae::{name}(" in written[0] for name in FUNCTIONS)
    return found, every(*inputs)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions_are_off_by_two_units_in_the_last_place_at_most(functions, name):
    found = functions[0][[*FUNCTIONS].index(name)].double()
    expected = FUNCTIONS[name](RANGES[name].double())
    size = expected.float().abs()
    unit = (torch.nextafter(size, torch.tensor(math.inf)) - size).double()
    assert ((found - expected).abs() / unit).max() < 2


def test_functions_of_special_numbers_and_other_types_are_torchs(functions):
    """Infinities, what is no number, and all beyond the range of the loops."""
    for found, expected in zip(*(part[4:] for part in functions), strict=True):
        tolerance = 1e-2 if found.dtype is torch.bfloat16 else 1e-6
        assert torch.allclose(found, expected, tolerance, 1e-45, equal_nan=True)
        assert found.dtype is expected.dtype
        zero = expected == 0
        assert torch.equal(found[zero].signbit(), expected[zero].signbit())


def test_numbers_too_small_for_a_full_mantissa_count_as_zero_in_a_graph_alone():
    """Where it has large products, which they make slow; other code has its numbers as before."""
    tiny, factor = torch.full((600, 700), 1e-39), torch.full((700, 800), 1.0)

    def product(a, b):
        return [a @ b]

    (found,) = compiled(product, (tiny, factor))(tiny, factor)
    assert not found.any() and (tiny @ factor).all() and (tiny * 2).all()
    few, row = tiny[:3, :5].contiguous(), factor[:5, :4].contiguous()
    assert compiled(product, (few, row))(few, row)[0].all()
