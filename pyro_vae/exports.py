"""Folders whose names are those that their files export: to add a part is to add its file."""

import sys
from importlib import import_module
from pkgutil import iter_modules

__all__ = ["export_files"]


def export_files(package: str) -> list[str]:
    """Gives a package every name in the `__all__` of its files.

    Args:
        package: Its name, `__name__` in its `__init__.py`.

    Returns:
        The names, for the `__all__` of the package.

    Raises:
        ImportError: If two files export the same name.
    """
    folder, homes = sys.modules[package], dict[str, str]()
    for file in sorted(module.name for module in iter_modules(folder.__path__)):
        module = import_module(f"{package}.{file}")
        for name in module.__all__:
            if name in homes:
                raise ImportError(f"{package} has two {name}, in {homes[name]}.py and {file}.py")
            homes[name] = file
            setattr(folder, name, getattr(module, name))
    return sorted(homes)
