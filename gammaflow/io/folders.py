"""Where the files of a group are kept. A group is there as a whole, or it is not there.

The contents of a group are a flat mapping of keys such as ``counts/c.0.0.0`` to bytes. `LocalFolders` keeps
it as a folder; an object store needs the same three methods.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Final, Protocol

from gammaflow.errors import CorruptFileError, MissingFileError, StorageError

#: What temporary names begin with, so that what a killed process left can be told and swept.
TEMPORARY: Final = ".tmp-"

_STORAGE_ERRNO: Final = {
    errno.ENOSPC: "no space is left on the device",
    errno.EDQUOT: "the disk quota is used up",
    errno.EROFS: "the file system is read-only",
    errno.EACCES: "permission denied",
    errno.EPERM: "the operation is not permitted",
    errno.ENAMETOOLONG: "the name is too long",
    errno.ENOTDIR: "a file stands where a folder is needed",
    errno.EEXIST: "a file stands where a folder is needed",
}


class GroupFiles(Protocol):
    """Where groups are kept."""

    def put(self, path: Path, files: Mapping[str, memoryview], *, overwrite: bool) -> None:
        """Store a group under ``path``: all of it or nothing."""
        ...

    def get(self, path: Path, *, only: str | None = None) -> dict[str, bytes]:
        """Everything stored under ``path``, or the one file asked for if it is there."""
        ...

    def exists(self, path: Path) -> bool:
        """Whether something is stored under ``path``."""
        ...


class LocalFolders:
    """Groups as folders of the local file system, or of one that is mounted."""

    def put(self, path: Path, files: Mapping[str, memoryview], *, overwrite: bool) -> None:
        """Write a group into a folder with a temporary name, which is then given the name ``path``.

        What was there before is moved aside when the new group is complete, and then removed. The bytes are
        handed to the system but not forced onto the disk: a process may die at any moment; after the death of
        the machine a group has to be checked by its checksums.

        Raises
        ------
        StorageError
            When there is something already and ``overwrite`` is False, no space, or no permission.
        """
        if not overwrite and path.exists():
            raise StorageError(
                "something is there already", where=str(path), hint="Choose another name, or overwrite"
            )
        temporary = path.with_name(f"{TEMPORARY}{os.getpid()}-{uuid.uuid4().hex[:8]}-{path.name}")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            _write_folder(str(temporary), files)
            _give_name(temporary, path)
        except OSError as error:
            _discard(temporary)
            raise storage_error(error, path, sum(len(b) for b in files.values())) from error
        except BaseException:
            _discard(temporary)
            raise

    def get(self, path: Path, *, only: str | None = None) -> dict[str, bytes]:
        """Read every file of a group, or one of them.

        Raises
        ------
        MissingFileError
            When nothing is there.
        CorruptFileError
            When it is no folder.
        """
        files: dict[str, bytes] = {}
        try:
            _read_folder(str(path), "", files, only)
        except FileNotFoundError as error:
            raise MissingFileError(
                "there is no such group", where=str(path), hint="Write it first"
            ) from error
        except NotADirectoryError as error:
            raise CorruptFileError("it is a file, not a Zarr group", where=str(path)) from error
        return files

    def exists(self, path: Path) -> bool:
        """Whether something is there."""
        return path.exists()


def storage_error(error: OSError, path: Path, wanted: int) -> OSError | StorageError:
    """The same error as one that says what to do, if it is about the place written to; else itself."""
    if error.errno not in _STORAGE_ERRNO:
        return error
    place = next((p for p in (path, *path.parents) if p.exists()), None)
    free = "" if place is None else f", {shutil.disk_usage(place).free / 1e6:.1f} MB free"
    return StorageError(
        f"{_STORAGE_ERRNO[error.errno]} ({wanted / 1e6:.1f} MB to write{free})",
        where=str(path),
        hint="Make room, or write to another folder; running again continues where this run stopped",
    )


def _write_folder(root: str, files: Mapping[str, memoryview]) -> None:
    os.mkdir(root)
    made = {""}
    for key, content in files.items():
        folder = key.rpartition("/")[0]
        if folder not in made:
            _make_folders(root, folder, made)
        # Plain system calls: the contents are complete, and seventy file objects would cost a millisecond.
        file = os.open(
            f"{root}/{key}", os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o666
        )
        try:
            rest = content
            while len(rest):
                rest = rest[os.write(file, rest) :]
        finally:
            os.close(file)


def _make_folders(root: str, folder: str, made: set[str]) -> None:
    above = folder.rpartition("/")[0]
    if above not in made:
        _make_folders(root, above, made)
    os.mkdir(f"{root}/{folder}")
    made.add(folder)


def _read_folder(root: str, prefix: str, files: dict[str, bytes], only: str | None) -> None:
    with os.scandir(f"{root}/{prefix}" if prefix else root) as entries:
        for entry in entries:
            key = prefix + entry.name
            if entry.is_dir():
                if only is None or only.startswith(f"{key}/"):
                    _read_folder(root, f"{key}/", files, only)
            elif only is None or only == key:
                with open(entry.path, "rb", buffering=0) as file:
                    files[key] = file.read()


def _give_name(temporary: Path, path: Path) -> None:
    try:
        temporary.rename(path)
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR) or not path.exists():
            raise
        former = temporary.with_name(f"{temporary.name}-former")
        path.rename(former)
        temporary.rename(path)
        _discard(former)


def _discard(path: Path) -> None:
    # What cannot be removed now is swept later, by its temporary name; the error that led here matters more.
    with contextlib.suppress(OSError):
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
