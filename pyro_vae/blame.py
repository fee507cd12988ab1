"""What an error says in one line, and which line of a user's own code it comes from."""

import sysconfig
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

__all__ = ["on_data", "sentence_of", "user_line", "user_place"]

_LIBRARIES = {"pyro", "pyro_vae", "torch"}  # also where they run from a checkout
_STANDARD_LIBRARY = sysconfig.get_paths()["stdlib"]


def sentence_of(error: BaseException) -> str:
    """What an error says, without its tables and tensors, and the user's line, if there is one."""
    lines = str(error).strip().split("\n")
    said = lines[0].rstrip(".:")
    if lines[0].startswith("Error while computing") and len(lines) > 1:  # Pyro tells the cause next
        said += f": {lines[1].rstrip('.:')}"
    told = isinstance(error, ValueError | RuntimeError) and said
    line = user_line(error)
    return (said if told else repr(error)) + (f" ({line})" if line else "")


@contextmanager
def on_data(shape: tuple[int, ...]) -> Iterator[None]:
    """Turns what a program raises on data of a shape into a sentence that names the shape.

    Raises:
        ValueError: In place of an error to which Pyro has added the shapes of all sites.
    """
    try:
        yield
    except (ValueError, RuntimeError) as error:
        if "Trace Shapes" not in str(error):  # which Pyro adds to what comes from a user's code
            raise
        raise ValueError(
            f"the program fails on data of shape {tuple(shape)}: {sentence_of(error)}"
        ) from error


def user_line(error: BaseException) -> str | None:
    """File and line of the innermost frame that is the user's, such as "my_vae.py:12".

    Frames of torch, Pyro, pyro_vae, installed packages and the standard library are passed over.
    An error without a frame of the user's has the line of the error that caused it.

    Args:
        error: One that was caught, with its traceback.

    Returns:
        None where no line of the user's had a part in it.
    """
    place = user_place(error)
    return f"{Path(place[0]).name}:{place[1]}" if place else None


def user_place(error: BaseException) -> tuple[str, int] | None:
    """The path and line that `user_line` names."""
    if isinstance(error, SyntaxError) and error.filename and error.lineno:
        return error.filename, error.lineno
    found, step = None, error.__traceback__
    while step is not None:
        if _is_the_users(step.tb_frame):
            found = step.tb_frame.f_code.co_filename, step.tb_lineno
        step = step.tb_next
    return user_place(error.__cause__) if found is None and error.__cause__ else found


def _is_the_users(frame: FrameType) -> bool:
    module, path = frame.f_globals.get("__name__", ""), frame.f_code.co_filename
    if path.startswith("<"):  # generated code, but for what is typed in or given by `python -c`
        return module == "__main__" and path in ("<stdin>", "<string>")
    installed = "site-packages" in path or "torchinductor_" in path
    return not (
        installed or module.partition(".")[0] in _LIBRARIES or path.startswith(_STANDARD_LIBRARY)
    )
