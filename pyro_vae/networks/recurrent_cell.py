"""An LSTM or a GRU, by its name."""

from typing import Any

from torch import nn

from pyro_vae.checks import check_sizes

__all__ = ["recurrent_cell"]

_CELLS: dict[str, Any] = {"lstm": nn.LSTM, "gru": nn.GRU}


def recurrent_cell(name: str, inputs: int, units: int, layers: int) -> nn.Module:
    """The cell called "lstm" or "gru", of sequences (N, t, inputs).

    Raises:
        ValueError: If it has another name, or a size is out of its range.
    """
    check_sizes(units=units, layers=layers)
    if name not in _CELLS:
        raise ValueError(f"cell is {name!r}, but must be 'lstm' or 'gru'")
    cell: nn.Module = _CELLS[name](inputs, units, layers, batch_first=True)
    return cell
