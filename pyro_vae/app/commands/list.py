"""The command `list`: the names that programs, losses and data may be written with."""

from typing import Annotated, Any

import typer

from pyro_vae.app.tables import print_rows

__all__ = ["list_"]


def list_(
    kind: Annotated[
        str | None, typer.Argument(help="Only these: programs, losses, data, priors, ...")
    ] = None,
) -> None:
    """Lists the names that one may write in programs, losses and data."""
    import difflib
    import inspect

    from pyro_vae.app.catalogue import catalogue

    kinds = catalogue()
    if kind is not None and kind not in kinds:
        near = difflib.get_close_matches(kind, kinds, 1)
        meant = f", did you mean {near[0]!r}" if near else ""
        raise ValueError(f"there is no kind {kind!r}{meant}; the kinds are {', '.join(kinds)}")
    for title, names in kinds.items():
        if kind in (None, title):
            about = {
                n + _arguments(value): (inspect.getdoc(value) or "").split("\n")[0]
                for n, value in names.items()
            }
            print_rows((title, ""), list(about.items()))


def _arguments(value: Any) -> str:
    import inspect

    try:
        return f"({', '.join(inspect.signature(value).parameters)})"
    except ValueError:
        return ""
