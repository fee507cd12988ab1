"""The line of a user's own code that an error comes from."""

import dataclasses
import json
from pathlib import Path

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro import poutine

from pyro_vae.blame import sentence_of, user_line
from pyro_vae.models import VAE

THIS = Path(__file__).name


def caught(function):
    with pytest.raises(Exception) as found:
        function()
    return found.value


def line_of(text):
    lines = Path(__file__).read_text().splitlines()
    return next(i for i, line in enumerate(lines, 1) if line.endswith(text))


def test_an_error_in_torch_is_that_of_the_line_that_called_it():
    def model():
        return torch.zeros(3) @ torch.zeros(4)  # torch

    assert user_line(caught(model)) == f"{THIS}:{line_of('# torch')}"


def test_an_error_under_pyros_handlers_is_that_of_the_users_line():
    def model(x):
        with pyro.plate("data", len(x)):
            pyro.sample("x", dist.Normal(torch.zeros(4), 1.0), obs=x)  # pyro

    error = caught(lambda: poutine.trace(model).get_trace(torch.zeros(3)))
    assert user_line(error) == f"{THIS}:{line_of('# pyro')}"


def test_an_error_in_the_standard_library_is_that_of_the_line_that_called_it():
    def load():
        json.loads("{")  # json

    assert user_line(caught(load)) == f"{THIS}:{line_of('# json')}"


def test_generated_code_is_nobodys():
    @dataclasses.dataclass
    class Point:
        x: float

        def __post_init__(self):
            raise KeyError(self.x)  # dataclass

    assert user_line(caught(lambda: Point(1.0))) == f"{THIS}:{line_of('# dataclass')}"


def test_the_libraries_alone_have_no_line_of_the_users():
    try:
        VAE((4,)).model(torch.zeros(2, 5))
    except (ValueError, RuntimeError) as error:
        error.__traceback__ = error.__traceback__.tb_next  # this test's own
        assert user_line(error) is None


def test_an_error_that_another_caused_has_the_line_of_the_other():
    def model():
        raise KeyError("z")  # cause

    error = ValueError("the model fails")
    error.__cause__ = caught(model)
    assert user_line(error) == f"{THIS}:{line_of('# cause')}"


def test_a_syntax_error_has_its_own_line():
    def broken():
        compile("x = 1\ny = = 2\n", "/some/where/mine.py", "exec")

    assert user_line(caught(broken)) == "mine.py:2"


def test_an_error_that_was_never_raised_has_no_line():
    assert user_line(ValueError("made by hand")) is None


def test_the_sentence_of_an_error_has_no_tables_and_the_users_line():
    def model():
        raise ValueError("too many latents.\nTrace Shapes:\n z 3")  # sentence

    assert sentence_of(caught(model)) == f"too many latents ({THIS}:{line_of('# sentence')})"


def test_an_error_without_words_is_named_by_its_class():
    assert sentence_of(KeyError("z")) == "KeyError('z')"


def test_the_cause_that_pyro_tells_in_its_second_line_is_kept():
    error = ValueError("Error while computing log_prob at site 'x':\nExpected value:\ntensor()")
    assert sentence_of(error) == "Error while computing log_prob at site 'x': Expected value"
