"""The examples in the docstrings run and show what they claim."""

import doctest
from importlib import import_module

import pytest
import torch

from pyro_vae import inference, likelihoods, models, networks, posteriors, priors

from .test_architecture import MODULES

ROOMS = (inference, likelihoods, models, networks, posteriors, priors)
NAMES = {name: getattr(room, name) for room in ROOMS for name in room.__all__}


def examples():
    finder = doctest.DocTestFinder(exclude_empty=True)
    for module in MODULES:
        for test in finder.find(import_module(module), module):
            if test.examples:
                yield test


@pytest.mark.parametrize("example", list(examples()), ids=lambda test: test.name)
def test_an_example_shows_what_it_claims(example):
    import pyro

    example.globs = {**NAMES, **example.globs, "torch": torch, "pyro": pyro}
    report = []
    doctest.DocTestRunner().run(example, out=report.append)
    assert not report, "".join(report)
