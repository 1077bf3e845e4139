"""Event lists: columns in the unit they are used in, as wide as stored, and selections."""

from __future__ import annotations

from pathlib import Path

import astropy.units as u
import numpy as np
import pytest
from astropy.coordinates import SkyCoord
from astropy.io import fits
from regions import CircleSkyRegion

from gammaflow.data import GTI, EventList, TimeReference
from gammaflow.data.fits_file import FitsFile
from gammaflow.errors import GammaflowError, MissingHduError, UnitError
from gammaflow.maps import WcsGeom

REFERENCE = TimeReference(60000.0, 0.0)
UNITS = {"RA": "deg", "DEC": "deg", "ENERGY": "TeV", "TIME": "s"}


def events_hdu(
    n: int = 4, without: str = "", forms: dict[str, str] | None = None, **units: str | None
) -> fits.BinTableHDU:
    values = {
        "RA": np.linspace(-2, 2, n),
        "DEC": np.linspace(10, 11, n),
        "ENERGY": np.arange(1.0, n + 1),
        "TIME": np.arange(n),
    }
    columns = [
        fits.Column(
            name,
            (forms or {}).get(name, "D" if name == "TIME" else "E"),
            unit={**UNITS, **units}[name],
            array=v,
        )
        for name, v in values.items()
        if name != without
    ]
    hdu = fits.BinTableHDU.from_columns(columns, name="EVENTS")
    hdu.header.update({"MJDREFI": 60000, "MJDREFF": 0.0, "OBS_ID": 7})
    return hdu


def read(path: Path, hdu: fits.BinTableHDU) -> EventList:
    fits.HDUList([fits.PrimaryHDU(), hdu]).writeto(path / "events.fits", overwrite=True)
    return EventList.from_table(FitsFile.read(path / "events.fits").table("EVENTS"))


def test_columns_are_as_wide_as_stored_and_not_wrapped(tmp_path: Path) -> None:
    events = read(tmp_path, events_hdu(forms={"DEC": "D", "TIME": "E"}))
    assert len(events) == 4
    assert (events.ra.dtype, events.dec.dtype, events.energy.dtype) == (np.float32, np.float64, np.float32)
    assert events.time.dtype == np.float64
    assert events.ra[0] == -2
    assert events.ra is events.ra
    assert not events.ra.flags.writeable
    assert events.meta["OBS_ID"] == 7


@pytest.mark.parametrize(
    ("units", "column", "expected"),
    [
        ({"ENERGY": "GeV"}, "energy", 1e-3),
        ({"ENERGY": "MeV"}, "energy", 1e-6),
        ({"RA": "rad"}, "ra", -2 * 180 / np.pi),
        ({"TIME": "d"}, "time", 0.0),
    ],
)
def test_units_are_read_and_converted(
    tmp_path: Path, units: dict[str, str], column: str, expected: float
) -> None:
    values = getattr(read(tmp_path, events_hdu(**units)), column)
    assert values[0] == pytest.approx(expected, rel=1e-6)
    assert values.dtype == (np.float64 if column == "time" else np.float32)


@pytest.mark.parametrize(
    ("hdu", "error", "message"),
    [
        (
            events_hdu(ENERGY="deg"),
            UnitError,
            r"\[EVENTS\].ENERGY: the unit is 'deg', one like TeV is needed",
        ),
        (events_hdu(ENERGY=None), UnitError, r"\.ENERGY: there is no unit"),
        (events_hdu(RA="TeV"), UnitError, r"\.RA: the unit is 'TeV'"),
        (events_hdu(DEC="furlong"), UnitError, r"\.DEC: the unit is 'furlong'"),
        (events_hdu(without="TIME"), MissingHduError, "no column 'TIME'; the table has RA, DEC, ENERGY"),
        (events_hdu(without="ENERGY"), MissingHduError, "no column 'ENERGY'"),
    ],
)
def test_what_is_missing_or_of_another_kind_is_refused_when_opened(
    tmp_path: Path, hdu: fits.BinTableHDU, error: type[GammaflowError], message: str
) -> None:
    with pytest.raises(error, match=message):
        read(tmp_path, hdu)


def test_eunit_stands_in_for_a_missing_energy_unit(tmp_path: Path) -> None:
    hdu = events_hdu(ENERGY=None)
    hdu.header["EUNIT"] = "GeV"
    assert read(tmp_path, hdu).energy[0] == np.float32(1e-3)


def test_no_events_are_an_event_list_too(tmp_path: Path) -> None:
    events = read(tmp_path, events_hdu(0))
    assert len(events) == 0
    assert events.energy.shape == (0,)
    assert len(events.select_energy(1 * u.TeV)) == 0
    assert len(events.select_time(GTI([0], [1], REFERENCE))) == 0


def test_selections(tmp_path: Path) -> None:
    events = read(tmp_path, events_hdu(101))
    assert events.select_energy(10 * u.TeV, 20 * u.TeV).energy.tolist() == list(range(10, 20))
    gti = GTI([10, 50], [20, 50.5], REFERENCE).to_reference(TimeReference(59990.0, 0.5))
    assert events.select_time(gti).time.tolist() == [*range(10, 20), 50]
    assert len(events.select_time(GTI([], [], REFERENCE))) == 0
    centre = SkyCoord(0, 10.5, unit="deg")
    near = events.select_offset(centre, 0.3 * u.deg)
    assert 0 < len(near) < 101
    assert near.radec.separation(centre).deg.max() < 0.3
    geom = WcsGeom.create((0, 10.5), binsz=0.1, width=5, proj="TAN")
    inside = events.select_region(CircleSkyRegion(centre, 0.3 * u.deg), geom.wcs)
    assert inside.energy.tolist() == near.energy.tolist()
    assert inside.names == events.names


def test_the_table_has_units_and_reference(tmp_path: Path) -> None:
    table = read(tmp_path, events_hdu(ENERGY="GeV")).to_table()
    assert table["ENERGY"].unit == u.TeV
    assert table["ENERGY"][1] == np.float32(2e-3)
    assert TimeReference.from_cards(table.meta) == REFERENCE


def test_arrays_make_an_event_list() -> None:
    columns = {name: np.zeros(3) for name in UNITS} | {"MC_ID": np.arange(3)}
    events = EventList.from_arrays(columns, REFERENCE, units={"MC_ID": ""})
    assert events.column("mc_id").tolist() == [0, 1, 2]
    with pytest.raises(MissingHduError, match="no column 'ENERGY'"):
        EventList.from_arrays({"RA": np.zeros(1)} | {"DEC": np.zeros(1)}, REFERENCE)
    with pytest.raises(ValueError, match="different lengths"):
        EventList.from_arrays({**columns, "RA": np.zeros(2)}, REFERENCE)
