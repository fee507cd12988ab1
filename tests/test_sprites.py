"""Sprites: what is drawn is what the factors say, by areas, symmetries and places."""

import math

import pytest
import torch

from pyro_vae.batches import first
from pyro_vae.datasets import Dataset, Sprites, Tensors, sprites
from pyro_vae.datasets.factor_grid import FactorGrid
from pyro_vae.datasets.outlines import ASYMMETRIC, SYMMETRIC, picture

TURNS = torch.arange(40, dtype=torch.float64) * (2 * math.pi / 40)
# Area and circumference of a shape whose disc has radius 1.
KNOWN = {
    "square": (SYMMETRIC, 2.0, 4 * math.sqrt(2)),
    "ellipse": (SYMMETRIC, math.pi / 2, 4.8442),
    "half-disc": (ASYMMETRIC, 0.42 * math.pi, (math.pi + 2) * math.sqrt(0.84)),
    "L": (ASYMMETRIC, 0.92, 5.4),
}
SMALL = {"size": 16, "scale": 2, "orientation": 8, "x": 3, "y": 4}


@pytest.mark.parametrize("name", KNOWN)
def test_the_pixels_that_are_lit_are_the_area_of_the_shape(name):
    """Each time within half a pixel along its edge; on average over scales and turns within 1 %."""
    outlines, area, edge = KNOWN[name]
    shares = []
    for radius in (8.0, 9.6, 11.2, 12.8, 14.4, 16.0):
        lit = picture(outlines[name], radius, TURNS, 16).sum((1, 2)).double()
        assert (lit - area * radius**2).abs().max() <= edge * radius / 2 + 1
        shares.append(lit.mean() / (area * radius**2))
    assert sum(shares) / len(shares) == pytest.approx(1, abs=0.01)


def test_the_area_of_the_heart_is_its_integral_in_polar_coordinates():
    """The curve is r(t) with (r^2 - 1)^3 = r^5 cos^2 t sin^3 t, solved by bisection."""
    t = torch.linspace(0, 2 * math.pi, 20_001, dtype=torch.float64)[:-1]
    low, high = torch.full_like(t, 0.0), torch.full_like(t, 2.0)
    for _ in range(60):
        r = (low + high) / 2
        inside = (r**2 - 1) ** 3 <= r**5 * t.cos() ** 2 * t.sin() ** 3
        low, high = torch.where(inside, r, low), torch.where(inside, high, r)
    area = (low**2 / 2).mean() * 2 * math.pi / 1.4247**2
    lit = picture(SYMMETRIC["heart"], 16.0, TURNS, 16).sum((1, 2)).double()
    assert 1.42 < low.max() <= 1.4247  # so that the heart just fits its disc
    assert lit.mean() == pytest.approx(area.item() * 16**2, rel=0.02)


def turned(outline, *angles):
    return picture(outline, 16.0, torch.tensor(angles, dtype=torch.float64), 16)


def test_a_quarter_turn_brings_the_square_upon_itself_and_half_a_turn_the_ellipse():
    for name, angle in (("square", math.pi / 2), ("ellipse", math.pi)):
        for start in (0.0, 0.2, 0.5):
            one, other = turned(SYMMETRIC[name], start, start + angle)
            assert torch.equal(one, other)


def test_left_and_right_of_an_upright_heart_are_alike_and_its_point_is_below():
    (heart,) = turned(SYMMETRIC["heart"], 0.0)
    assert torch.equal(heart, heart.flip(1))
    rows = heart.any(1).nonzero()[:, 0]
    assert heart[rows[-1]].sum() < 4 < heart[rows[3]].sum()


@pytest.mark.parametrize("name", ASYMMETRIC)
def test_a_turn_by_90_degrees_is_counterclockwise(name):
    one, other = turned(ASYMMETRIC[name], 0.0, math.pi / 2)
    assert torch.equal(torch.rot90(one), other) and not torch.equal(one, other)


def test_all_shapes_of_the_asymmetric_set_differ():
    """At 64 pixels each scale and orientation has a picture of its own."""
    source = Sprites(64, asymmetric=True, x=1, y=1)
    x = source.read(torch.arange(len(source)))["x"].flatten(1)
    assert len(x.unique(dim=0)) == len(source) == 720


def test_squares_and_ellipses_have_fewer_pictures_than_orientations():
    for shape, least in ((1, 4), (2, 2)):
        source = Sprites(64, shape=shape, scale=1, x=1, y=1)
        x = source.read(torch.arange(40 * (shape - 1), 40 * shape))["x"].flatten(1)
        assert len(x.unique(dim=0)) <= 40 // least


def test_a_factor_index_goes_round():
    source = Sprites(32)
    index = torch.randint(len(source), (500,), generator=torch.Generator().manual_seed(0))
    values = source.grid.values(index)
    assert torch.equal(source.grid.index(values), index)
    last = source.grid.values(torch.tensor([len(source) - 1]))
    assert last.tolist() == [[2, 5, 39, 15, 15]]


def test_the_numbers_of_a_grid_are_those_of_all_combinations_in_order():
    grid = FactorGrid({"a": 2, "b": 3, "c": 4})
    every = torch.cartesian_prod(*(torch.arange(n) for n in (2, 3, 4)))
    assert torch.equal(grid.values(torch.arange(len(grid))), every)


def test_moving_x_and_y_moves_the_picture_by_whole_pixels():
    source = Sprites(32)
    start = torch.tensor([[2, 3, 7, 4, 5]])
    moved = source.draw(start + torch.tensor([[0, 0, 0, 6, 9]]))
    assert torch.equal(torch.roll(source.draw(start), (9, 6), (2, 3)), moved)


def test_no_sprite_is_cut_off():
    source = Sprites(32)
    corners = torch.cartesian_prod(*(torch.tensor([0, 15]) for _ in "xy"))
    every = torch.cartesian_prod(torch.arange(3), torch.tensor([5]), torch.arange(40))
    rows = torch.cat([every.repeat_interleave(4, 0), corners.repeat(len(every), 1)], 1)
    lit = source.draw(rows).sum((1, 2, 3)).view(-1, 4)
    assert torch.equal(lit, lit[:, :1].expand(-1, 4))


def test_fewer_places_are_spread_over_all():
    source = Sprites(32, shape=1, scale=1, orientation=1, x=3, y=1)
    x = source.read(torch.arange(3))["x"][:, 0].any(1)
    left = x.int().argmax(1)
    assert (left - left[0]).tolist() == [0, 8, 15]


def test_the_parts_hold_each_combination_once():
    data = sprites(**SMALL)
    found = torch.cat([getattr(data, part).rows for part in ("train", "valid", "test")])
    assert torch.equal(found.sort().values, torch.arange(3 * 2 * 8 * 3 * 4))
    assert len(data.test) == len(data.valid) == 57


def test_pictures_are_the_same_every_time_and_go_with_their_factors():
    one, two = (sprites(**SMALL).test.read(torch.arange(20)) for _ in range(2))
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert torch.equal(Sprites(**SMALL).draw(one["factors"]), one["x"])
    assert torch.equal(one["y"], one["factors"][:, 0])
    assert one["x"].unique().tolist() == [0, 1]


def test_reading_draws_no_random_numbers():
    before = torch.get_rng_state()
    sprites(**SMALL).train.read(torch.arange(3))
    assert torch.equal(before, torch.get_rng_state())


def test_its_likelihood_starts_at_the_mean_picture():
    data = sprites(**SMALL)
    mean = data.likelihood(data.x_shape).logit_mean.sigmoid()
    x = data.train.read(torch.arange(len(data.train)))["x"]
    torch.testing.assert_close(mean, x.mean(0).clamp(1e-3, 1 - 1e-3), rtol=1e-4, atol=1e-5)


def test_a_few_are_named_tensors_in_memory():
    few = first(sprites(**SMALL).test, 5)
    assert set(few.shapes) == {"x", "y", "factors"} and len(few) == 5


@pytest.mark.parametrize(
    "options, sentence",
    [
        ({"size": 30}, "size of sprites must be a multiple of 4, 16 or more, .* but is 30"),
        ({"size": 8}, "but is 8"),
        ({"shape": 4}, "shape of sprites of 64 pixels takes at most 3 values, but is 4; give few"),
        ({"x": 33}, "x of sprites of 64 pixels takes at most 32 .* or a larger size"),
        ({"scale": 0}, "the factor scale must take a whole number of values, 1 or more, but .* 0"),
        ({"orientation": 2.5}, "the factor orientation must take a whole number .* takes 2.5"),
        ({"orientation": 10_000}, "are 180,000 shapes to draw, but may be 50,000; give fewer"),
        ({"shape": 1, "scale": 1, "orientation": 1, "x": 3, "y": 3}, "are 9, but must be ten"),
    ],
)
def test_sprites_that_cannot_be_are_refused(options, sentence):
    with pytest.raises(ValueError, match=sentence):
        sprites(**options)


def test_factors_that_are_none_are_refused():
    source = Sprites(**SMALL)
    with pytest.raises(ValueError, match="factor scale takes the values 0 to 1, but is given 5 to"):
        source.draw(torch.tensor([[0, 5, 0, 0, 0]]))
    with pytest.raises(ValueError, match=r"shape \(1, 2\), but must be \(N, 5\): shape, scale"):
        source.grid.index(torch.zeros(1, 2).long())


def test_factors_of_ones_own_are_checked():
    x, factors = torch.rand(20, 4), torch.zeros(20, 2).long()
    part = Tensors(x=x, factors=factors)
    Dataset("mine", part, part, part, factors=("hue", "size"))
    with pytest.raises(ValueError, match="factors are hue, but train has torch.int64 of shape"):
        Dataset("mine", part, part, part, factors=("hue",))
    with pytest.raises(ValueError, match="train has no tensor of that name; give a tensor factors"):
        Dataset("mine", *[Tensors(x=x)] * 3, factors=("hue",))
