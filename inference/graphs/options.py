"""How an `SVI` is to run its steps as graphs."""

from dataclasses import dataclass
from typing import Literal, get_args

__all__ = ["Compile", "Mode"]

Mode = Literal["captured", "compiled"]


@dataclass(frozen=True, init=False)
class Compile:
    """How `SVI` runs a step as a graph.

    Args:
        fuse: An old name: False stands for `mode="captured"`, True for `mode="compiled"`.
        mode: "compiled" has torch's compiler compile the captured graph. "captured" runs the graph
            as it is: the same kernels in the same order as eager code, bit for bit.
        background: Whether captured steps go on while another process compiles, where the system
            has that. A graph that was compiled before starts compiled in "captured" mode, too, if
            this is set: so `fit` has it.
    """

    mode: Mode
    background: bool

    def __init__(
        self,
        fuse: bool | None = None,
        *,
        mode: Mode = "compiled",
        background: bool = False,
    ) -> None:
        if fuse is not None:
            mode = "compiled" if fuse else "captured"
        if mode not in get_args(Mode):
            raise ValueError(
                f'mode is {mode!r}, but must be "captured" or "compiled"; for eager steps take '
                "compile=False"
            )
        object.__setattr__(self, "mode", mode)
        object.__setattr__(self, "background", background)

    @property
    def fuse(self) -> bool:
        """Whether the mode is "compiled", under the old name."""
        return self.mode == "compiled"
