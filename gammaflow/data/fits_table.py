"""Binary tables of a FITS file: header cards, and columns as numpy arrays.

astropy parses the header, numpy reads the columns in place. Building astropy's column objects costs
a millisecond a table, and most tables of an observation need none of them; unusual columns (scaled,
of variable length, of bits) still go through astropy.
"""

from __future__ import annotations

import math
import re
from functools import cached_property, lru_cache
from typing import Any, NamedTuple

import astropy.units as u
import numpy as np
from astropy.io import fits
from numpy.typing import NDArray

from gammaflow.data.header_cards import HeaderCards
from gammaflow.errors import CorruptFileError, MissingHduError, UnitError

BLOCK = 2880  # bytes
TRUNCATED = "Get the file again: it was not copied whole."
_UNIT_SYNONYMS = {"degree": "deg", "degrees": "deg", "sec": "s", "second": "s", "seconds": "s", "days": "d"}
_PLAIN_CODES = {"L": "i1", "B": "u1", "I": ">i2", "J": ">i4", "K": ">i8", "E": ">f4", "D": ">f8", "A": "S"}
_TFORM = re.compile(r"(\d*)([LXBIJKAEDCMPQ])")


class FitsColumn(NamedTuple):
    """What a plain column is called and measured in; the names are those of astropy's columns."""

    name: str
    unit: str
    bscale: None = None
    bzero: None = None


class FitsTable:
    """One extension of a FITS file, meant to be a binary table.

    Parameters
    ----------
    path : str
        The name the file goes by in messages.
    content : bytes
        The whole file, inflated.
    header : HeaderCards
        The extension's header.
    start, data_start, stop : int
        Where in ``content`` its header begins, its data begin and end (without padding).

    Attributes
    ----------
    header : HeaderCards
        The HDU's header; astropy parses a card when it is looked at.
    name : str
        EXTNAME in upper case, "" if the HDU has none.
    where : str
        ``path[NAME]``, for messages.
    """

    def __init__(
        self, path: str, content: bytes, header: HeaderCards, start: int, data_start: int, stop: int
    ) -> None:
        self.header = header
        self.name = str(header.get("EXTNAME", "")).strip().upper()
        self.where = f"{path}[{self.name}]"
        self._content = content
        self._start, self._data_start, self._stop = start, data_start, stop

    def __len__(self) -> int:
        return int(self.header["NAXIS2"])

    def check(self) -> None:
        """Refuse an HDU that is cut off, or that is no binary table."""
        missing = self._stop - len(self._content)
        if missing > 0:
            raise CorruptFileError(
                f"the file is truncated: {missing} bytes of this HDU are not there",
                where=self.where,
                hint=TRUNCATED,
            )
        if str(self.header.get("XTENSION", "")).strip() not in ("BINTABLE", "A3DTABLE"):
            raise CorruptFileError(
                f"a binary table is needed here, this is {self.header.get('XTENSION')!r}",
                where=self.where,
                hint="Check the HDU_NAME in the index.",
            )

    def to_hdu(self) -> fits.BinTableHDU:
        """The same as astropy's HDU, its data still unparsed."""
        size = -(-(self._stop - self._data_start) // BLOCK) * BLOCK
        content = self._content[self._start : self._data_start + size]
        # some writers leave out the padding of the last block
        return fits.BinTableHDU.fromstring(
            content.ljust(self._data_start - self._start + size, b"\0"), uint=True
        )

    @property
    def is_plain(self) -> bool:
        """Whether every column can be used as it is stored."""
        return len(self._layout[1]) == len(self.names)

    @property
    def data(self) -> NDArray[np.void]:
        """The rows as numpy records in the file's byte order; fields are named as in `names`."""
        return self._records

    @cached_property
    def columns(self) -> tuple[FitsColumn, ...]:
        """Name and unit of each column, as astropy's HDU has them."""
        return tuple(FitsColumn(name, self.unit(name) or "") for name in self.names)

    def to_response(self) -> FitsTable | fits.BinTableHDU:
        """What `gammaflow.irf.read_irf` takes: this table, or astropy's HDU where columns are unusual."""
        return self if self.is_plain else self.to_hdu()

    def card(self, *names: str) -> object:
        """Value of the first header card that is there.

        Raises
        ------
        MissingHduError
            The header has none of them.
        """
        for name in names:
            try:
                value = self.header.get(name)
            except fits.VerifyError as error:
                raise CorruptFileError(
                    f"the header card {name} cannot be parsed", where=self.where, hint="Correct the header."
                ) from error
            if value is not None and not isinstance(value, fits.card.Undefined):
                return value
        raise MissingHduError(
            f"the header has no card {' or '.join(names)}",
            where=self.where,
            hint="The data format (GADF) requires it; ask whoever made the file.",
        )

    def number(self, *names: str) -> float:
        """Like `card`, as a finite number; numbers written as strings are understood."""
        value = self.card(*names)
        try:
            number = float(str(value))
        except ValueError:
            number = math.nan
        if not math.isfinite(number):
            raise CorruptFileError(
                f"header card {' or '.join(names)} holds {value!r}, a number is needed",
                where=self.where,
                hint="Correct the header, or ask whoever made the file.",
            )
        return number

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Column names, in upper case, in the file's order."""
        n_fields = int(self.header["TFIELDS"])
        return tuple(
            str(self.header.get(f"TTYPE{i}", f"COL{i}")).strip().upper() for i in range(1, n_fields + 1)
        )

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and name.upper() in self.names

    def unit(self, name: str) -> str | None:
        """The unit of a column as written in the file; None if it has none."""
        text = self.header.get(f"TUNIT{self._number(name)}")
        return str(text).strip() or None if text is not None else None

    def column(self, name: str, unit: str | None = None) -> NDArray:
        """Values of a column in native byte order: ``(rows,)`` or ``(rows, *dims)``.

        Floats stay as wide as the file has them.

        Parameters
        ----------
        name : str
            Column name; letter case does not matter.
        unit : str, optional
            Convert the values to this unit.

        Raises
        ------
        MissingHduError
            There is no such column.
        UnitError
            The column has no unit, or one of another kind.
        """
        factor = 1.0 if unit is None else unit_factor(self.unit(name), unit, where=f"{self.where}.{name}")
        number = self._number(name)
        dtype, plain = self._layout
        if number in plain:
            values: NDArray[Any] = self._records[(dtype.names or ())[number - 1]]
            if values.dtype.kind == "S":
                text: NDArray[Any] = np.char.decode(values, "ascii", "replace")
                values = np.char.rstrip(text)
            elif str(self.header[f"TFORM{number}"]).strip()[-1] == "L":
                values = values == ord("T")
            else:
                values = values.astype(values.dtype.newbyteorder("="))
        else:
            # field by number: two columns may have names that differ in case only
            values = np.asarray(self.to_hdu().data.field(number - 1))
            values = values.astype(values.dtype.newbyteorder("="))
        return values if factor == 1.0 else values * factor

    def _number(self, name: str) -> int:
        try:
            return self.names.index(name.upper()) + 1
        except ValueError:
            raise MissingHduError(
                f"there is no column {name.upper()!r}; the table has {', '.join(self.names) or 'none'}",
                where=self.where,
                hint="The data format (GADF) requires it; ask whoever made the file.",
            ) from None

    @cached_property
    def _layout(self) -> tuple[np.dtype[np.void], frozenset[int]]:
        """Record dtype of a row, and the numbers of the columns that it shows as they are."""
        fields: list[tuple[str, object]] = []
        plain = set()
        for number, column in enumerate(self.names, start=1):
            # numpy needs different names; FITS only advises them
            field = column if self.names.index(column) == number - 1 else f"{column}:{number}"
            form = str(self.card(f"TFORM{number}")).strip()
            match = _TFORM.match(form)
            if match is None:
                raise CorruptFileError(
                    f"the column format TFORM{number} = {form!r} is unknown", where=self.where
                )
            repeat, code = int(match[1] or 1), match[2]
            shape: tuple[int, ...] = () if repeat == 1 else (repeat,)
            scaled = f"TSCAL{number}" in self.header or f"TZERO{number}" in self.header
            if scaled or code not in _PLAIN_CODES or (code == "A" and f"TDIM{number}" in self.header):
                fields.append((field, (np.void, _field_bytes(repeat, code))))
                continue
            plain.add(number)
            if code == "A":
                fields.append((field, f"S{repeat}"))
                continue
            if f"TDIM{number}" in self.header:
                dims = [int(n) for n in str(self.header[f"TDIM{number}"]).strip(" ()").split(",")]
                if math.prod(dims) == repeat:
                    shape = tuple(reversed(dims))
            fields.append((field, (_PLAIN_CODES[code], shape)))
        dtype = np.dtype(fields)
        if dtype.itemsize != int(self.header["NAXIS1"]):
            raise CorruptFileError(
                f"the columns take {dtype.itemsize} bytes a row, but NAXIS1 = {self.header['NAXIS1']}",
                where=self.where,
                hint="Get the file again, or run fitsverify on it.",
            )
        return dtype, frozenset(plain)

    @cached_property
    def _records(self) -> NDArray[np.void]:
        return np.frombuffer(self._content, self._layout[0], count=len(self), offset=self._data_start)


def unit_factor(found: str | None, wanted: str, where: str = "") -> float:
    """Number that turns values in the unit ``found`` into values in ``wanted``.

    Raises
    ------
    UnitError
        There is no unit, or it is unknown or of another kind.
    """
    if found == wanted:
        return 1.0
    if found is None:
        raise UnitError(
            f"there is no unit, one like {wanted} is needed", where=where, hint="Set TUNIT in the file."
        )
    try:
        return _factor(found, wanted)
    except (ValueError, TypeError, u.UnitConversionError) as error:
        raise UnitError(
            f"the unit is {found!r}, one like {wanted} is needed",
            where=where,
            hint="Correct TUNIT in the file.",
        ) from error


@lru_cache(maxsize=64)
def _factor(found: str, wanted: str) -> float:
    return float(u.Unit(_UNIT_SYNONYMS.get(found.lower(), found)).to(wanted))


def _field_bytes(repeat: int, code: str) -> int:
    sizes = {
        "L": 1,
        "X": 0,
        "B": 1,
        "I": 2,
        "J": 4,
        "K": 8,
        "A": 1,
        "E": 4,
        "D": 8,
        "C": 8,
        "M": 16,
        "P": 8,
        "Q": 16,
    }
    return -(-repeat // 8) if code == "X" else repeat * sizes[code]
