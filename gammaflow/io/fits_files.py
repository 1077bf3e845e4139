"""FITS files as a whole: read with a look at whether they are complete, written under a temporary name."""

from __future__ import annotations

import contextlib
import gzip
import io
import os
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits
from numpy.typing import NDArray

from gammaflow.data.fits_file import FitsFile
from gammaflow.data.fits_table import BLOCK, TRUNCATED, FitsTable
from gammaflow.errors import CorruptFileError, MissingHduError, StorageError
from gammaflow.io.folders import storage_error

#: Endings of FITS files, with the longest first.
ENDINGS = (".fits.gz", ".fits")


class FitsDocument:
    """A complete FITS file in memory: its tables and images by name.

    Parameters
    ----------
    path : str or Path
        A plain or gzipped file.

    Raises
    ------
    MissingFileError
        There is no such file.
    CorruptFileError
        It is no FITS file, or is cut off.
    """

    def __init__(self, path: str | Path, content: bytes | None = None) -> None:
        self.path = str(path)
        self._file = FitsFile.read(path) if content is None else FitsFile(self.path, content)
        # Parsed to the end: that a file is cut off is to be said first, whatever is asked for.
        extensions = self._file.tables()
        content = self._file.content
        if len(content) % BLOCK:
            raise CorruptFileError(
                f"the file is truncated: {len(content)} bytes are no whole number of FITS blocks ({BLOCK} bytes)",
                where=self.path,
                hint=TRUNCATED,
            )
        self.names = frozenset(table.name for table in extensions)
        self._hdus = fits.HDUList.fromstring(content)
        self.primary: fits.Header = self._hdus[0].header

    def __contains__(self, name: object) -> bool:
        return name in self.names

    def header(self, name: str) -> fits.Header:
        """Header of an extension."""
        self._require(name)
        return self._hdus[name].header

    def is_table(self, name: str) -> bool:
        """Whether an extension is a binary table."""
        return str(self.header(name).get("XTENSION", "")).strip() == "BINTABLE"

    def table(self, name: str) -> FitsTable:
        """A table; MissingHduError when there is none of this name."""
        return self._file.table(name)

    def image(self, name: str) -> NDArray[Any]:
        """Values of an image in native byte order, slowest dimension first."""
        self._require(name)
        hdu = self._hdus[name]
        if not hdu.is_image or hdu.data is None:
            raise CorruptFileError(
                f"an image is needed here, this is {self.header(name).get('XTENSION')!r}",
                where=self.where(name),
                hint="Write the file again, or convert it with the program that made it",
            )
        values = np.asarray(hdu.data)
        return values.astype(values.dtype.newbyteorder("="))

    def where(self, name: str) -> str:
        """The place of an extension, for messages."""
        return f"{self.path}[{name}]"

    def _require(self, name: str) -> None:
        if name not in self.names:
            raise MissingHduError(
                f"there is no HDU {name!r}; the file has {', '.join(sorted(self.names)) or 'none'}",
                where=self.path,
                hint="Write the file again with the program that made it",
            )


def refuse_existing(path: Path, overwrite: bool) -> None:
    """StorageError when there is something and it may not be replaced."""
    if path.exists() and not overwrite:
        raise StorageError(
            "something is there already", where=str(path), hint="Choose another name, or overwrite"
        )


def write_fits(hdus: Sequence[Any], path: Path, *, overwrite: bool) -> int:
    """Write a FITS file, gzipped when its name ends on ``.gz``; the same HDUs give the same bytes.

    Returns
    -------
    int
        Bytes written.

    Raises
    ------
    StorageError
        When something is there and ``overwrite`` is False, no space, or no permission.
    """
    refuse_existing(path, overwrite)
    buffer = io.BytesIO()
    fits.HDUList(list(hdus)).writeto(buffer, output_verify="exception")
    content = buffer.getvalue()
    if path.name.endswith(".gz"):
        content = gzip.compress(content, mtime=0)
    replace_file(path, content)
    return len(content)


def replace_file(path: Path, content: bytes) -> None:
    """Write a file under a temporary name, then give it its own: all of it is there, or nothing."""
    temporary = path.with_name(f".{uuid.uuid4().hex[:8]}-{path.name}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_bytes(content)
        os.replace(temporary, path)
    except OSError as error:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise storage_error(error, path, len(content)) from error
