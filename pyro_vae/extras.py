"""Packages of the extras, imported where they are used: importing the toolkit needs none."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any

__all__ = ["import_diffusers", "missing_extra"]


def import_diffusers() -> Any:
    """The package diffusers, whose networks some parts wrap.

    A torchvision that fails at import, as the registry's does beside a CPU build of torch, takes
    half of diffusers with it; so that one is hidden from it, as if it were not installed.

    Raises:
        ValueError: If it is not installed.

    Example:
        >>> import_diffusers().AutoencoderKL(latent_channels=4).config.latent_channels
        4
    """
    with _without_a_broken_torchvision():
        try:
            diffusers = import_module("diffusers")
            # It looks here which packages there are, once for all that it imports later.
            import_module("diffusers.utils.import_utils")
        except ImportError as error:
            raise missing_extra("this", "diffusers", "diffusers") from error
    return diffusers


def missing_extra(user: str, package: str, extra: str) -> ValueError:
    """The error that says that a package is not installed, and by which command it is.

    Args:
        user: What needs it.
        package: Its name.
        extra: The extra of the toolkit that installs it.
    """
    return ValueError(
        f"{user} needs the package {package}, which the extra {extra} installs: "
        f"pip install 'pyro-vae[{extra}]'"
    )


@contextmanager
def _without_a_broken_torchvision() -> Iterator[None]:
    if "diffusers" in sys.modules or _imports("torchvision"):
        yield
        return
    sys.modules["torchvision"] = None  # type: ignore[assignment]  # "not installed", to find_spec
    try:
        yield
    finally:
        del sys.modules["torchvision"]


def _imports(name: str) -> bool:
    try:
        import_module(name)
    except Exception:  # RuntimeError of torch's registry of operators, OSError of a library
        return False
    return True
