"""What became of the calls of a program: how each kind of them runs, and why no faster."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

__all__ = ["GraphReport", "KindOfCall", "joined_reports", "slowest"]


@dataclass(frozen=True)
class KindOfCall:
    """Calls that share a graph, or would: with arguments of the same shapes and types.

    Args:
        arguments: The shapes of their tensors, and other arguments.
        mode: How they run at present: "eager", "captured" or "compiled".
        calls: How many there were. `SVI` does not count the first of a training, which finds the
            parameters.
        updates: Whether their graph takes the optimizer's step, too.
        reason: Why they run no faster, if that is known.
        kernels: How many products of a compiled graph go by oneDNN and by MKL, and how its
            convolutions lay images out: as was measured to be faster on this machine.
    """

    arguments: str
    mode: str
    calls: int
    updates: bool = False
    reason: str | None = None
    kernels: str = ""

    def __str__(self) -> str:
        noun = "call" if self.calls == 1 else "calls"
        update = ", with the update" if self.updates else ""
        after = self.reason or self.kernels
        reason = f": {after}" if after else ""
        return f"{self.mode}{update}, {self.calls} {noun} of {self.arguments}{reason}"


@dataclass(frozen=True)
class GraphReport:
    """How calls run, by kind; it prints as a short table.

    Args:
        mode: "captured" or "compiled" if some kind of call has a graph; "captured" if any of these
            graphs is not compiled; else "eager".
        kinds: Each kind of call, in the order of their first calls.
        refusal: Why all calls run eagerly, if no graph can be made of the program.
    """

    mode: str
    kinds: tuple[KindOfCall, ...] = ()
    refusal: str | None = None

    def __str__(self) -> str:
        head = f"{self.mode}: {self.refusal}" if self.refusal else self.mode
        return "\n  ".join((head, *map(str, self.kinds)))


def joined_reports(reports: Sequence[GraphReport]) -> GraphReport:
    """The reports of several objectives, or parts of one, as one."""
    mode = slowest({report.mode for report in reports})
    kinds = tuple(kind for report in reports for kind in report.kinds)
    refusals = (report.refusal for report in reports if report.refusal)
    return GraphReport(mode, kinds, next(refusals, None))


def slowest(modes: Collection[str]) -> str:
    """The mode of several that have graphs: "captured" if any of these graphs is not compiled."""
    return next((mode for mode in ("captured", "compiled") if mode in modes), "eager")
