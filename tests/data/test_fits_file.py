"""Reading FITS bytes: the same values as astropy, and a message for all that can be wrong with a file."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits

from gammaflow.data.fits_file import FitsFile
from gammaflow.data.fits_table import unit_factor
from gammaflow.errors import CorruptFileError, DataError, MissingFileError, MissingHduError, UnitError

BLOCK = 2880


@pytest.fixture
def plain(tmp_path: Path) -> Path:
    """Two tables: EVENTS of 2 blocks and GTI of one."""
    path = tmp_path / "file.fits"
    events = fits.BinTableHDU.from_columns(
        [fits.Column("RA", "E", unit="deg", array=np.arange(1000, dtype=np.float32))], name="EVENTS"
    )
    gti = fits.BinTableHDU.from_columns([fits.Column("START", "D", unit="s", array=[1.0])], name="GTI")
    fits.HDUList([fits.PrimaryHDU(), events, gti]).writeto(path)
    return path


def cut(keep: Callable[[bytes], int]) -> Callable[[bytes], bytes]:
    return lambda content: content[: keep(content)]


def flipped(content: bytes) -> bytes:
    packed = bytearray(gzip.compress(content))
    packed[len(packed) // 2] ^= 0xFF
    return bytes(packed)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        pytest.param(lambda c: b"", "it is empty", id="empty"),
        pytest.param(lambda c: b"<html>404</html>", "not a FITS file", id="a web page"),
        pytest.param(
            cut(lambda c: 3 * BLOCK), "truncated: .* bytes of this HDU", id="cut in the data of EVENTS"
        ),
        pytest.param(
            cut(lambda c: BLOCK + 500), "within the header of HDU 1", id="cut in the header of EVENTS"
        ),
        pytest.param(lambda c: gzip.compress(c)[:-20], "gzip stream ends early", id="cut gzip"),
        pytest.param(flipped, "gzip stream is damaged", id="damaged gzip"),
        pytest.param(lambda c: gzip.compress(b"no FITS"), "not a FITS file", id="gzip of something else"),
        pytest.param(
            lambda c: c.replace(b"NAXIS2  =                 1000", b"NAXIS2  =                 many"),
            "mandatory header card",
            id="a number that is none",
        ),
    ],
)
@pytest.mark.parametrize("wanted", ["EVENTS", "GTI"])
def test_a_damaged_file_is_refused_by_name(
    plain: Path, damage: Callable[[bytes], bytes], message: str, wanted: str
) -> None:
    plain.write_bytes(damage(plain.read_bytes()))
    with pytest.raises(CorruptFileError, match=message) as caught:
        FitsFile.read(plain).table(wanted)
    assert str(plain) in str(caught.value)


def test_what_lies_before_the_cut_can_still_be_read(plain: Path) -> None:
    content = plain.read_bytes()
    plain.write_bytes(content[: len(content) - 2 * BLOCK + 300])
    file = FitsFile.read(plain)
    assert len(file.table("EVENTS").column("RA")) == 1000
    with pytest.raises(CorruptFileError, match="within the header of HDU 2"):
        file.table("GTI")


def test_a_missing_hdu_is_named_with_those_that_are_there(plain: Path) -> None:
    with pytest.raises(MissingHduError, match=r"no HDU 'BKG'; the file has EVENTS, GTI"):
        FitsFile.read(plain).table("bkg")


def test_a_missing_column_is_named_with_those_that_are_there(plain: Path) -> None:
    with pytest.raises(
        MissingHduError, match=r"file.fits\[EVENTS\]: there is no column 'DEC'; the table has RA"
    ):
        FitsFile.read(plain).table("EVENTS").column("dec")


@pytest.mark.parametrize("make", [lambda p: p / "none.fits", lambda p: p], ids=["no file", "a folder"])
def test_a_file_that_cannot_be_read_is_missing(tmp_path: Path, make: Callable[[Path], Path]) -> None:
    with pytest.raises(MissingFileError, match=str(tmp_path)):
        FitsFile.read(make(tmp_path))


def test_an_image_is_no_table(tmp_path: Path) -> None:
    path = tmp_path / "image.fits"
    fits.HDUList([fits.PrimaryHDU(), fits.ImageHDU(np.zeros((2, 3)), name="EVENTS")]).writeto(path)
    with pytest.raises(CorruptFileError, match="a binary table is needed here"):
        FitsFile.read(path).table("EVENTS")


def test_rows_that_do_not_fit_their_columns_are_refused(plain: Path) -> None:
    plain.write_bytes(plain.read_bytes().replace(b"TFORM1  = 'E       '", b"TFORM1  = 'D       '"))
    with pytest.raises(CorruptFileError, match="the columns take 8 bytes a row"):
        FitsFile.read(plain).table("EVENTS").column("RA")


def test_gzip_is_told_by_content_and_may_have_several_members(plain: Path) -> None:
    content = plain.read_bytes()
    plain.write_bytes(gzip.compress(content[:3000]) + gzip.compress(content[3000:]))
    assert FitsFile.read(plain).table("EVENTS").column("RA")[-1] == 999


COLUMNS = [
    fits.Column("INT16", "I", array=np.array([1, -2], dtype=np.int16)),
    fits.Column("UINT32", "J", bzero=2**31, array=np.array([1, 2**32 - 1], dtype=np.uint32)),
    fits.Column("SCALED", "I", array=np.array([3, 4], dtype=np.int16)),
    fits.Column("INT64", "K", array=np.array([2**40, -1])),
    fits.Column("FLOAT", "E", unit="GeV", array=np.array([1.5, np.nan], dtype=np.float32)),
    fits.Column("DOUBLE", "D", array=np.array([1e300, 2.0])),
    fits.Column("NAME", "10A", array=np.array(["obs", "a longer 1"])),
    fits.Column("GOOD", "L", array=np.array([True, False])),
    fits.Column("BITS", "11X", array=np.array([[True] * 11, [False] * 11])),
    fits.Column("BYTES", "3B", array=np.array([[1, 2, 3], [4, 5, 6]], dtype=np.uint8)),
    fits.Column("CUBE", "6E", dim="(3,2)", array=np.arange(12, dtype=np.float32).reshape(2, 2, 3)),
    fits.Column("COMPLEX", "C", array=np.array([1 + 2j, 0])),
    fits.Column("VARIABLE", "PE()", array=np.array([np.ones(2), np.ones(3)], dtype=object)),
]


@pytest.fixture
def columns_path(tmp_path: Path) -> Path:
    """A table T of all `COLUMNS`; astropy writes scaled floats only when told by hand."""
    path = tmp_path / "columns.fits"
    hdu = fits.BinTableHDU.from_columns(COLUMNS, name="T")
    hdu.header["TSCAL3"], hdu.header["TZERO3"] = 0.5, 3.0
    fits.HDUList([fits.PrimaryHDU(), hdu]).writeto(path)
    return path


@pytest.mark.parametrize("column", COLUMNS, ids=[column.name for column in COLUMNS])
def test_every_kind_of_column_reads_as_astropy_reads_it(columns_path: Path, column: fits.Column) -> None:
    table = FitsFile.read(columns_path).table("T")
    with fits.open(columns_path) as hdus:
        expected = np.array(hdus["T"].data[column.name])
    values = table.column(column.name)
    if column.name == "VARIABLE":
        assert [list(row) for row in values] == [list(row) for row in expected]
        return
    np.testing.assert_array_equal(values, expected)
    assert values.dtype.isnative
    assert values.dtype.kind == expected.dtype.kind
    assert table.unit(column.name) == (column.unit or None)
    assert not table.is_plain


def test_units_are_converted_and_float32_stays_float32(columns_path: Path) -> None:
    table = FitsFile.read(columns_path).table("T")
    values = table.column("FLOAT", unit="TeV")
    assert values.dtype == np.float32
    assert values[0] == np.float32(0.0015)
    with pytest.raises(UnitError, match=r"\[T\].FLOAT: the unit is 'GeV', one like deg is needed"):
        table.column("FLOAT", unit="deg")
    with pytest.raises(UnitError, match="there is no unit, one like s is needed"):
        table.column("DOUBLE", unit="s")


@pytest.mark.parametrize(
    ("found", "wanted", "factor"),
    [
        ("TeV", "TeV", 1),
        ("GeV", "TeV", 1e-3),
        ("degree", "deg", 1),
        ("sec", "s", 1),
        ("rad", "deg", 180 / np.pi),
    ],
)
def test_unit_factors(found: str, wanted: str, factor: float) -> None:
    assert unit_factor(found, wanted) == pytest.approx(factor, rel=1e-15)


def test_errors_are_data_errors_so_that_only_their_observation_is_set_aside() -> None:
    for error in (CorruptFileError, MissingFileError, MissingHduError, UnitError):
        assert issubclass(error, DataError)


@pytest.mark.parametrize(
    "name",
    [
        "cta-1dc/caldb/data/cta/1dc/bcf/South_z20_50h/irf_file.fits",
        "cta-1dc/data/baseline/gps/gps_baseline_110380.fits",
        "cta-1dc/index/gps/hdu-index.fits.gz",
        "hess-dl3-dr1/obs-index.fits.gz",
        "hess-dl3-dr1/data/hess_dl3_dr1_obs_id_020136.fits.gz",
    ],
)
def test_public_files_read_as_astropy_reads_them(gammapy_data: Path, name: str) -> None:
    tables = {table.name: table for table in FitsFile.read(gammapy_data / name).tables()}
    with fits.open(gammapy_data / name) as hdus:
        assert list(tables) == [hdu.name for hdu in hdus[1:]]
        for hdu in hdus[1:]:
            table = tables[hdu.name]
            assert table.names == tuple(column.upper() for column in hdu.columns.names)
            for column in hdu.columns:
                expected = np.asarray(hdu.data[column.name])
                np.testing.assert_array_equal(table.column(column.name), expected)
                assert table.unit(column.name) == (column.unit or None)
            assert {c.name: c.unit for c in table.columns} == {
                c.name.upper(): (c.unit or "") for c in hdu.columns
            }
