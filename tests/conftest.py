import pyro
import pytest


@pytest.fixture(autouse=True)
def fresh_randomness_and_parameters():
    pyro.set_rng_seed(0)
    pyro.clear_param_store()
