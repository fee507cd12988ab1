"""Which module of a program an operation of torch comes from, for the sentence that refuses it."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from torch import nn
from torch.nn.modules.module import (
    register_module_forward_hook,
    register_module_forward_pre_hook,
)
from torch.utils._python_dispatch import TorchDispatchMode

__all__ = ["made_by"]


def made_by(operation: str, call: Callable[[], object]) -> str:
    """The words " of M", with the innermost module M that runs an operation; "" if none does.

    Args:
        operation: Torch's name of it, such as "sort.default".
        call: What runs it.
    """
    running: list[nn.Module] = []
    with _following(running), _Watching(operation, running) as watching:
        call()
    return "" if watching.found is None else f" of {watching.found}"


class _Watching(TorchDispatchMode):
    """Notes the module that runs when an operation is met for the first time."""

    def __init__(self, operation: str, running: list[nn.Module]) -> None:
        super().__init__()
        self.operation, self.running = operation.partition(".")[0], running
        self.found: str | None = None

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if self.found is None and self.running and str(func).split(".")[1] == self.operation:
            self.found = type(self.running[-1]).__name__
        return func(*args, **(kwargs or {}))


@contextmanager
def _following(running: list[nn.Module]) -> Iterator[None]:
    """Keeps the modules that run, the innermost last."""

    def enter(module: nn.Module, args: Any) -> None:
        running.append(module)

    def leave(module: nn.Module, args: Any, output: Any) -> None:
        running.pop()

    handles = [
        register_module_forward_pre_hook(enter),
        register_module_forward_hook(leave, always_call=True),
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
