"""The packages of the extra `molecules`, imported where they are used."""

from importlib import import_module
from typing import Any

from pyro_vae.extras import missing_extra

__all__ = ["package"]


def package(name: str, user: str = "what is said of molecules") -> Any:
    """A module of rdkit, selfies or fcd, such as "rdkit.Chem".

    Args:
        name: That of the module.
        user: What needs it, in words.

    Raises:
        ValueError: If its package is not installed; the sentence has the command that does it.
    """
    try:
        return import_module(name)
    except ImportError as error:
        raise missing_extra(user, name.partition(".")[0], "molecules") from error
