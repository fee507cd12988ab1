"""A page as one file: the template, its style and scripts, and what it holds, all in place."""

import json
import webbrowser
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

from pyro_vae.app.writing import write_whole

from .sources import engine_source

__all__ = ["SCRIPTS", "page", "show", "write_page"]

# In the order in which they run: each uses names of those before it.
SCRIPTS = (
    *("engine", "program", "grid", "worker", "canvas", "state"),
    *("content", "picture", "density", "plane", "posteriors", "grids", "backgrounds", "sliders"),
    *("path", "data", "strokes", "draw", "layers", "live", "choices", "main"),
)
_OF_WORKERS = ("worker",)  # which this page's own thread must not run


def page(content: Mapping[str, Any], weights: str) -> str:
    """The page's HTML.

    Args:
        content: What `page_content` gives.
        weights: Likewise.
    """
    scripts = "\n".join(_script(name) for name in SCRIPTS)
    # a "<" in a text, such as that of a program, must not end the script that holds it
    described = json.dumps(content, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")
    parts = {"style": _source("style.css"), "content": described, "weights": weights}
    first, *others = _source("page.html").split("<!-- ")
    found = [first]
    for other in others:
        name, _, rest = other.partition(" -->")
        found += [{**parts, "scripts": scripts}[name], rest]
    return "".join(found)


def write_page(path: Path, content: Mapping[str, Any], weights: str) -> Path:
    """Writes a page, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, page(content, weights).encode())
    return path


def show(path: Path) -> bool:
    """Opens a page in the reader's browser; returns whether one was found."""
    try:
        return webbrowser.open(path.absolute().as_uri())
    except webbrowser.Error:
        return False


def _script(name: str) -> str:
    kind = "text/plain" if name in _OF_WORKERS else "text/javascript"
    source = engine_source() if name == "engine" else _source(f"{name}.js")
    return f'<script id="source-{name}" type="{kind}">\n{source}</script>'


def _source(name: str) -> str:
    return (files(__package__) / "page" / name).read_text(encoding="utf-8")
