"""Imports of what stands beside a user's file, at its top or within its functions.

They are private to the file: nothing is added to `sys.path`, and `sys.modules` is left as it was,
so that two files may each have a `networks.py` of their own beside them.
"""

import builtins
import importlib.util
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from pathlib import Path
from types import ModuleType
from typing import Any

__all__ = ["Beside"]


class Beside(MetaPathFinder):
    """Runs a user's file, whose imports find what stands beside it first, as those of a script do.

    Args:
        folder: Where the file stands.
    """

    def __init__(self, folder: Path) -> None:
        self.files: list[Path] = []  # those that were imported so far
        self._modules: dict[str, ModuleType] = {}  # kept here between imports
        self._folder = folder
        self._names: set[str] = set()
        self._hidden: dict[str, ModuleType] = {}
        self._is_open = False
        # A function keeps the builtins of its module, so this reaches the imports in its body.
        self.builtins = vars(builtins) | {"__import__": self._import}

    def run(self, path: Path, name: str) -> ModuleType:
        """The module of a file."""
        spec = importlib.util.spec_from_file_location(
            name, path, loader=_Loader(name, str(path), self)
        )
        if spec is None or spec.loader is None:
            raise ValueError(f"{path} is not a Python file")
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module  # dataclasses look their module up
        try:
            spec.loader.exec_module(module)
        except BaseException:
            del sys.modules[name]
            raise
        return module

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Answers the import system while an import of ours is under way."""
        parent = name.rpartition(".")[0]
        if parent and parent not in self._names:
            return None
        if not parent and not self._has(name):
            return None
        spec = PathFinder.find_spec(name, path if parent else [str(self._folder)])
        if spec is not None:
            self._names.add(name)
            if isinstance(spec.loader, SourceFileLoader):
                self.files.append(Path(spec.loader.path))
                spec.loader = _Loader(name, spec.loader.path, self)
        return spec

    def _import(
        self,
        name: str,
        globals: Any = None,
        locals: Any = None,
        fromlist: Any = (),
        level: int = 0,
    ) -> Any:
        first = (globals or {}).get("__package__") or "" if level else name
        first = first.partition(".")[0]
        if first not in self._names and not self._has(first):
            return builtins.__import__(name, globals, locals, fromlist, level)
        with self._visible(first):
            return builtins.__import__(name, globals, locals, fromlist, level)

    def _has(self, name: str) -> bool:
        """Whether a module of a name stands here; a mere folder gives way to what is installed."""
        folder = self._folder / name
        if folder.with_name(f"{name}.py").is_file() or (folder / "__init__.py").is_file():
            return bool(name)
        installed = name in sys.modules or not folder.is_dir() or PathFinder.find_spec(name)
        return not installed

    @contextmanager
    def _visible(self, name: str) -> Iterator[None]:
        """Lets an import see the modules kept here, and none of another place by this name."""
        for other in [n for n in sys.modules if n == name or n.startswith(f"{name}.")]:
            if other not in self._names:
                self._hidden[other] = sys.modules.pop(other)
        if self._is_open:  # an import within an import
            yield
            return
        self._is_open = True
        sys.modules.update(self._modules)
        sys.meta_path.insert(0, self)
        try:
            yield
        finally:
            sys.meta_path.remove(self)
            self._modules |= {n: sys.modules.pop(n) for n in self._names if n in sys.modules}
            sys.modules.update(self._hidden)
            self._hidden.clear()
            self._is_open = False


class _Loader(SourceFileLoader):
    """Runs a module whose own imports go the same way."""

    def __init__(self, name: str, path: str, beside: Beside) -> None:
        super().__init__(name, path)
        self._beside = beside

    def exec_module(self, module: ModuleType) -> None:
        vars(module)["__builtins__"] = self._beside.builtins
        super().exec_module(module)
