"""The folder of what this machine need not work out again: the user's cache of pyro-vae."""

import os
import tempfile
from pathlib import Path

__all__ = ["cache_folder", "cache_file"]


def cache_folder(name: str) -> Path | None:
    """The folder of one kind of cached files, made if it is not there; None if there is to be none.

    It lies in `PYRO_VAE_CACHE`, or else in the user's own cache: `XDG_CACHE_HOME/pyro-vae` or
    `~/.cache/pyro-vae`. With `PYRO_VAE_CACHE` set to an empty text nothing is cached. Nor is it in
    a folder that cannot be made, belongs to another user, or may be written to by others: what lies
    there could be anyone's.

    Args:
        name: Of the kind of files.
    """
    given = os.environ.get("PYRO_VAE_CACHE")
    if given == "":
        return None
    try:
        home = Path(given) if given else _users_cache() / "pyro-vae"
        folder = home.expanduser() / name
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        return folder if _is_ones_own(folder) and os.access(folder, os.W_OK) else None
    except (OSError, RuntimeError):  # no home folder, or one that cannot be written to
        return None


def cache_file(path: Path, content: bytes) -> None:
    """Writes a file of the cache, which only this user may read.

    Processes that write the same file do not meet, and none reads half of one.

    Raises:
        OSError: If it cannot be written; the file is then as it was.
    """
    handle, name = tempfile.mkstemp(dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        os.replace(name, path)
    finally:
        Path(name).unlink(missing_ok=True)


def _users_cache() -> Path:
    given = os.environ.get("XDG_CACHE_HOME")
    return Path(given) if given else Path.home() / ".cache"


def _is_ones_own(path: Path) -> bool:
    """Whether no other user can have put something there, as far as the system tells."""
    if not hasattr(os, "getuid"):
        return True
    status = path.stat()
    return status.st_uid == os.getuid() and not status.st_mode & 0o022
