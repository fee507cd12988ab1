"""The value of a term on a batch, in words: its mean and standard error."""

import math

from torch import Tensor

from pyro_vae.inference.evaluation import mean_and_error

__all__ = ["latex_of_value", "value_of"]


def value_of(values: Tensor) -> str:
    """The mean over the data with its standard error, which is left out of what they share."""
    mean, error = mean_and_error(values)
    shown = f"{mean:,.2f}".replace("-0.00", "0.00") if abs(mean) < 0.005 else f"{mean:,.2f}"
    known = math.isfinite(error) and error > 1e-6 * (1 + abs(mean))
    return f"{shown} ± {error:,.2f}" if known else shown


def latex_of_value(values: Tensor) -> str:
    """The same in LaTeX."""
    return value_of(values).replace(",", "{,}").replace("±", r"\pm")
