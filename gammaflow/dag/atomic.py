"""Small files that are either whole or not there.

A file is written under a temporary name beside its own, flushed to the disk and then given its name in one
step. A process that dies in between leaves a temporary file, never a half-written one.
"""

from __future__ import annotations

import os
import uuid
from pathlib import Path

from gammaflow.io.folders import TEMPORARY, storage_error


def write(path: Path, text: str) -> None:
    """Give ``path`` the content ``text``, replacing what is there.

    Raises
    ------
    StorageError
        No space, no permission.
    """
    temporary = _write_temporary(path, text)
    try:
        temporary.replace(path)
    except OSError as error:
        _discard(temporary)
        raise storage_error(error, path, len(text)) from error


def create(path: Path, text: str) -> bool:
    """Give ``path`` the content ``text`` if nothing has that name: True if this call did it.

    Of several processes that try, exactly one succeeds (a hard link is never made over an existing name).

    Raises
    ------
    StorageError
        No space, no permission.
    """
    temporary = _write_temporary(path, text)
    try:
        os.link(temporary, path)
    except FileExistsError:
        return False
    except OSError as error:
        raise storage_error(error, path, len(text)) from error
    finally:
        _discard(temporary)
    return True


def _write_temporary(path: Path, text: str) -> Path:
    temporary = path.with_name(f"{TEMPORARY}{uuid.uuid4().hex}")
    try:
        with temporary.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        _discard(temporary)
        raise storage_error(error, path, len(text)) from error
    return temporary


def _discard(temporary: Path) -> None:
    temporary.unlink(missing_ok=True)
