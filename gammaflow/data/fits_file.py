"""FITS files: read once, inflated once, parsed as far as they are asked for.

Going through `astropy.io.fits.open` for a gzipped file inflates it through Python's file objects,
and again at every look back; here the bytes are inflated once, and astropy parses the cards that are looked at.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Iterator
from os import PathLike
from pathlib import Path

from astropy.io import fits

from gammaflow.data.fits_table import BLOCK, TRUNCATED, FitsTable
from gammaflow.data.header_cards import CARD, HeaderCards
from gammaflow.errors import CorruptFileError, MissingFileError, MissingHduError

_END = b"END" + b" " * (CARD - 3)


class FitsFile:
    """The HDUs of one FITS file, parsed one after the other as they are asked for.

    Parameters
    ----------
    path : str
        The name the file goes by in messages.
    content : bytes
        The whole file, inflated.
    """

    def __init__(self, path: str, content: bytes) -> None:
        if not content.startswith(b"SIMPLE  ="):
            raise CorruptFileError(
                "this is not a FITS file: "
                + ("it is empty" if not content else f"it begins with {content[:9]!r}"),
                where=path,
                hint="Check what the index names, and get the file again.",
            )
        self.path = path
        self.content = content
        self._tables: dict[str, FitsTable] = {}
        self._next = 0
        self._n_hdus = 0

    @classmethod
    def read(cls, path: str | PathLike[str]) -> FitsFile:
        """Read a plain or gzipped file.

        Raises
        ------
        MissingFileError
            There is no such file, or it may not be read.
        CorruptFileError
            The gzip stream is damaged or ends early, or the content is not FITS.
        """
        name = str(path)
        try:
            content = Path(path).read_bytes()
        except (FileNotFoundError, NotADirectoryError) as error:
            raise MissingFileError(
                "there is no such file",
                where=name,
                hint="Get the file, or leave out the observations that need it.",
            ) from error
        except (PermissionError, IsADirectoryError) as error:
            raise MissingFileError(
                f"this cannot be read as a file ({error.strerror})", where=name, hint="Check its permissions."
            ) from error
        return cls(name, _inflate(content, name) if content[:2] == b"\x1f\x8b" else content)

    def table(self, name: str) -> FitsTable:
        """The first HDU of this name (letter case does not matter), which must be a table.

        Raises
        ------
        MissingHduError
            The file has no such HDU; the message lists those it has.
        CorruptFileError
            The HDU, or the file before it, is cut off; or the HDU is no binary table.
        """
        wanted = name.strip().upper()
        if wanted not in self._tables:
            for table in self._parse():
                if table.name == wanted:
                    break
            else:
                names = ", ".join(self._tables) or "no table at all"
                if self._next > len(self.content):
                    raise CorruptFileError(
                        f"the file is truncated within HDU {self._n_hdus - 1}, there is no HDU {wanted!r}",
                        where=self.path,
                        hint=TRUNCATED,
                    )
                raise MissingHduError(
                    f"there is no HDU {wanted!r}; the file has {names}",
                    where=self.path,
                    hint="Check the HDU_NAME in the index.",
                )
        found = self._tables[wanted]
        found.check()
        return found

    def tables(self) -> list[FitsTable]:
        """All extensions of the file, in its order (of those with one name, the first)."""
        list(self._parse())
        return list(self._tables.values())

    def _parse(self) -> Iterator[FitsTable]:
        """Go on parsing headers where the last call stopped, yielding the extensions."""
        while self._next < len(self.content):
            start = self._next
            if self._n_hdus and not self.content.startswith(b"XTENSION", start):
                # the standard allows "special records" after the last HDU
                break
            header, data_start = self._header(start)
            stop = data_start + _data_size(header, where=f"{self.path}[HDU {self._n_hdus}]")
            self._next = data_start + -(-(stop - data_start) // BLOCK) * BLOCK
            self._n_hdus += 1
            if self._n_hdus == 1:
                continue
            table = FitsTable(self.path, self.content, header, start, data_start, stop)
            self._tables.setdefault(table.name, table)
            yield table
        if self._next > len(self.content) and self._tables:
            # an HDU that is cut off hides all that should follow it
            list(self._tables.values())[-1].check()

    def _header(self, start: int) -> tuple[HeaderCards, int]:
        end = self.content.find(_END, start)
        while end >= 0 and (end - start) % CARD:
            end = self.content.find(_END, end + 1)
        if end < 0:
            raise CorruptFileError(
                f"the file ends within the header of HDU {self._n_hdus}", where=self.path, hint=TRUNCATED
            )
        try:
            header = HeaderCards(self.content[start : end + CARD].decode("ascii"))
        except UnicodeDecodeError as error:
            raise CorruptFileError(
                f"the header of HDU {self._n_hdus} cannot be parsed ({error})",
                where=self.path,
                hint="Get the file again, or run fitsverify on it.",
            ) from error
        return header, start + -(-(end + CARD - start) // BLOCK) * BLOCK


def _inflate(content: bytes, where: str) -> bytes:
    """All members of a gzip stream, checked against their checksums."""
    parts = []
    while content[:2] == b"\x1f\x8b":
        inflater = zlib.decompressobj(wbits=31)
        try:
            parts.append(inflater.decompress(content))
        except zlib.error as error:
            raise CorruptFileError(
                f"the gzip stream is damaged ({error})", where=where, hint=TRUNCATED
            ) from error
        if not inflater.eof:
            raise CorruptFileError(
                "the file is truncated: its gzip stream ends early", where=where, hint=TRUNCATED
            )
        content = inflater.unused_data
    return parts[0] if len(parts) == 1 else b"".join(parts)


def _data_size(header: HeaderCards, where: str) -> int:
    """Bytes of an HDU's data without padding (FITS 4.0, eq. 2)."""
    try:
        axes = [int(header[f"NAXIS{i}"]) for i in range(1, int(header["NAXIS"]) + 1)]
        bits = abs(int(header["BITPIX"]))
    except (KeyError, TypeError, ValueError, fits.VerifyError) as error:
        raise CorruptFileError(
            f"a mandatory header card is missing or no number ({error})",
            where=where,
            hint="Get the file again, or run fitsverify on it.",
        ) from error
    if not axes:
        return 0
    if axes[0] == 0 and header.get("GROUPS"):
        axes = axes[1:]
    return bits // 8 * int(header.get("GCOUNT", 1)) * (int(header.get("PCOUNT", 0)) + math.prod(axes))
