"""Schedules: their values, and what they refuse."""

import pytest

from pyro_vae.inference import constant, cosine, cyclical, linear, warm_up


def test_linear_rises_and_stays():
    assert [linear(0, 1, 4)(step) for step in (0, 1, 4, 100)] == [0, 0.25, 1, 1]
    assert linear(5, 1, steps=2)(1) == 3


def test_cosine_falls_slowly_at_both_ends():
    schedule = cosine(1, 0, steps=100)
    assert schedule(0) == 1 and schedule(50) == pytest.approx(0.5) and schedule(200) == 0
    assert 1 - schedule(1) < 0.001 and schedule(99) < 0.001


def test_cyclical_starts_again_each_period():
    schedule = cyclical(0, 1, period=10, ratio=0.5)
    assert [schedule(step) for step in (0, 1, 5, 9, 10, 11)] == [0, 0.2, 1, 1, 0, 0.2]


def test_constant_is_constant():
    assert constant(4.0)(0) == constant(4.0)(10**9) == 4.0


def test_a_warm_up_rises_to_where_the_next_schedule_begins_and_hands_over():
    schedule = warm_up(10, linear(2, 0, steps=4))
    assert [schedule(step) for step in (0, 4, 9)] == pytest.approx([0.2, 1.0, 2.0])
    assert [schedule(step) for step in (10, 11, 14, 99)] == [2, 1.5, 0, 0]
    assert [warm_up(2)(step) for step in (0, 1, 2, 99)] == [0.5, 1, 1, 1]


def test_a_warm_up_to_what_is_no_schedule_is_refused():
    with pytest.raises(ValueError, match=r"then of warm_up is 0.5, but must be a schedule"):
        warm_up(10, 0.5)


@pytest.mark.parametrize(
    "build",
    [
        lambda: linear(0, 1, 0),
        lambda: cosine(1, 0, -1),
        lambda: cyclical(0, 1, 0),
        lambda: warm_up(0),
    ],
)
def test_no_steps_are_refused(build):
    with pytest.raises(ValueError, match="at least 1"):
        build()


@pytest.mark.parametrize("ratio", [0, 1.5])
def test_a_ratio_outside_its_range_is_refused(ratio):
    with pytest.raises(ValueError, match="ratio"):
        cyclical(0, 1, 10, ratio)
