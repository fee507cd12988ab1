"""Drawings of molecules, many in one picture."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .packages import package
from .parsing import molecules

__all__ = ["picture", "save_picture"]

_SIDE = 250  # pixels of a molecule


def picture(smiles: Sequence[str], *, legends: Sequence[str] = (), columns: int = 4) -> Any:
    """Molecules on a grid, as an image of Pillow; an empty place where a text does not parse.

    Args:
        smiles: The texts.
        legends: What stands below each; nothing if there are none.
        columns: How many stand side by side.

    Raises:
        ValueError: If there are no texts.
    """
    if not smiles:
        raise ValueError("there are no molecules to draw; give some")
    chem, draw = package("rdkit.Chem"), package("rdkit.Chem.Draw")
    return draw.MolsToGridImage(
        [chem.Mol() if mol is None else mol for mol in molecules(smiles)],
        molsPerRow=min(columns, len(smiles)),
        subImgSize=(_SIDE, _SIDE),
        legends=list(legends) or None,
    )


def save_picture(image: Any, path: Path) -> Path:
    """Writes an image as PNG."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path, format="PNG")
    return path
