"""The JavaScript of the engine, from the folder `page`."""

from importlib.resources import files

__all__ = ["engine_source"]

_FILES = ("kernels.js", "convolutions.js", "engine.js")


def engine_source() -> str:
    """All of the engine as one script, which defines `Engine`; in a page or a worker."""
    folder = files("pyro_vae.app.explorer") / "page"
    parts = [(folder / name).read_text(encoding="utf-8") for name in _FILES]
    return '"use strict";\n' + "\n".join(part.removeprefix('"use strict";\n') for part in parts)
