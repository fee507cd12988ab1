"""The command `explore`: a trained program in the browser, as one file."""

from pathlib import Path
from typing import Annotated

import typer

from pyro_vae.app.options import DataDir, Folder, OtherData, Out, Part, Seed, Split

__all__ = ["explore"]


def explore(
    run: Folder,
    other: Annotated[
        Path | None,
        typer.Argument(metavar="[OTHER_RUN]", help="A run to stand beside it, on the same data."),
    ] = None,
    data: OtherData = None,
    split: Split = Part.test,
    data_dir: DataDir = None,
    out: Out = None,
    opens: Annotated[
        bool, typer.Option("--open/--no-open", help="Whether to open it in the browser.")
    ] = True,
    seed: Seed = 0,
) -> None:
    """Writes a page in which one drags a point through the latent space, and opens it.

    It is one file, which needs no network and no server.
    """
    from pyro_vae.app.explorer.contents import page_content
    from pyro_vae.app.explorer.opened import open_runs
    from pyro_vae.app.explorer.write import show, write_page

    folders = [run] if other is None else [run, other]
    content, weights = page_content(open_runs(folders, data, data_dir, split, seed))
    path = write_page(out or run / "explorer.html", content, weights)
    print(f"{path} ({path.stat().st_size / 1e6:.1f} MB)")
    if opens and not show(path):
        print(f"no browser was found here; open {path.absolute()} in one, on any machine")
