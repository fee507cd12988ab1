"""Writing files whole or not at all: a full disk or a killed process leaves the last one."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

__all__ = ["write_json", "write_whole"]


def write_whole(path: Path, content: bytes) -> None:
    """Puts a file in the place of the last one once all of it is on the disk.

    Raises:
        OSError: If it cannot be written, with the path; the last one is then as it was.
    """
    temporary = path.with_name(f".{path.name}.new")
    try:
        with open(temporary, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())  # else a crash after the renaming can leave an empty file
        os.replace(temporary, path)
    except OSError as error:  # writing and fsync name no file
        raise OSError(error.errno, error.strerror or str(error), str(path)) from error
    finally:
        temporary.unlink(missing_ok=True)


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Writes values as JSON, whole or not at all."""
    write_whole(path, (json.dumps(content, indent=2) + "\n").encode())
