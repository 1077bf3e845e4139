"""Observations: every fault says which observation, file and HDU; responses are shared; Gammapy's values."""

from __future__ import annotations

import gzip
import json
import os
import pickle
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from astropy.io import fits
from astropy.time import Time

from gammaflow.data import (
    GTI,
    DataStore,
    FixedPointingInfo,
    Observation,
    ObservationFiles,
    Site,
    TimeReference,
)
from gammaflow.data.fits_file import FitsFile
from gammaflow.data.response_cache import RESPONSES, ResponseCache, ResponseKey
from gammaflow.errors import (
    CorruptFileError,
    GammaflowError,
    MissingFileError,
    MissingHduError,
    NoGtiError,
    UnitError,
    UnsupportedError,
)

OBS_ID = 100001
REFERENCE_FILE = Path(__file__).resolve().parent.parent / "reference" / "observations.json"
Edit = Callable[[Callable[[fits.HDUList], None]], None]


def locate(folder: Path, obs_id: int = OBS_ID) -> ObservationFiles:
    return DataStore.from_dir(folder).locate(obs_id)


def set_card(hdu: str, name: str, value: Any) -> Callable[[fits.HDUList], None]:
    return lambda hdus: hdus[hdu].header.__setitem__(name, value)


def drop_card(hdu: str, name: str) -> Callable[[fits.HDUList], None]:
    return lambda hdus: hdus[hdu].header.remove(name)


def drop_hdu(name: str) -> Callable[[fits.HDUList], None]:
    return lambda hdus: hdus.__delitem__(name)


def rename(hdu: str, column: str, new: str) -> Callable[[fits.HDUList], None]:
    return lambda hdus: hdus[hdu].columns[column].__setattr__("name", new)


def swap_gti(hdus: fits.HDUList) -> None:
    hdus["GTI"].data["STOP"] = hdus["GTI"].data["START"] - 10


FAULTS: list[tuple[str, Callable[[fits.HDUList], None], type[GammaflowError], str, str]] = [
    ("drift", set_card("EVENTS", "OBS_MODE", "DRIFT"), UnsupportedError, "EVENTS", "OBS_MODE is DRIFT"),
    ("slew", set_card("EVENTS", "OBS_MODE", "slew"), UnsupportedError, "EVENTS", "OBS_MODE is SLEW"),
    ("no pointing", drop_card("EVENTS", "RA_PNT"), MissingHduError, "EVENTS", "no card RA_PNT"),
    ("odd pointing", set_card("EVENTS", "DEC_PNT", "up"), CorruptFileError, "EVENTS", "DEC_PNT holds 'up'"),
    ("pointing off the sky", set_card("EVENTS", "DEC_PNT", 97.0), CorruptFileError, "EVENTS", "97.0 deg"),
    ("no dead time", drop_card("EVENTS", "DEADC"), MissingHduError, "EVENTS", "DEADC"),
    ("always dead", set_card("EVENTS", "DEADC", 0.0), CorruptFileError, "EVENTS", r"\(DEADC\) is 0.0"),
    ("no zero of time", drop_card("GTI", "MJDREFI"), MissingHduError, "GTI", "no card MJDREFI"),
    ("local time", set_card("EVENTS", "TIMESYS", "LOCAL"), UnsupportedError, "EVENTS", "'LOCAL'"),
    ("no EVENTS", drop_hdu("EVENTS"), MissingHduError, "", "no HDU 'EVENTS'; the file has GTI"),
    ("no GTI", drop_hdu("GTI"), NoGtiError, "", "no HDU 'GTI'"),
    ("reversed GTI", swap_gti, NoGtiError, "GTI", "stops before it starts"),
    ("no DEC", rename("EVENTS", "DEC", "DECL"), MissingHduError, "EVENTS", "no column 'DEC'"),
    ("unit", set_card("EVENTS", "TUNIT5", "deg"), UnitError, "EVENTS", "the unit is 'deg', one like TeV"),
]


@pytest.mark.parametrize(
    ("change", "error", "hdu", "message"), [fault[1:] for fault in FAULTS], ids=[fault[0] for fault in FAULTS]
)
def test_a_fault_names_observation_file_and_hdu(
    store_folder: Path,
    events_path: Path,
    edit: Edit,
    change: Callable[[fits.HDUList], None],
    error: type[GammaflowError],
    hdu: str,
    message: str,
) -> None:
    if "LIVETIME" in message or "DEADC" in message:
        edit(lambda hdus: hdus["EVENTS"].header.remove("LIVETIME", ignore_missing=True))
    edit(change)
    with pytest.raises(error, match=message) as caught:
        locate(store_folder).open()
    assert str(caught.value).startswith(f"observation {OBS_ID}: {events_path}" + (f"[{hdu}]" if hdu else ""))
    assert str(caught.value).count(f"observation {OBS_ID}") == 1
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)


@pytest.mark.parametrize("compress", [False, True], ids=["plain", "gzip"])
def test_a_truncated_event_file_is_refused(store_folder: Path, events_path: Path, compress: bool) -> None:
    content = events_path.read_bytes()
    events_path.write_bytes((gzip.compress(content) if compress else content)[:-6000])
    with pytest.raises(
        CorruptFileError, match=f"observation {OBS_ID}: {re.escape(str(events_path))}.* truncated"
    ):
        locate(store_folder).open()


def test_missing_files_are_named_when_located_and_when_opened(store_folder: Path, events_path: Path) -> None:
    files = locate(store_folder)
    assert files.missing_files() == ()
    events_path.unlink()
    assert files.missing_files() == (str(events_path),)
    for attempt in (files.identity, files.open):
        with pytest.raises(MissingFileError, match=f"observation {OBS_ID}: .*no such file") as caught:
            attempt()
        assert str(events_path) in str(caught.value)


def test_a_missing_response_file_is_found_when_the_response_is_used(store_folder: Path) -> None:
    shutil.rmtree(store_folder / "irfs")
    observation = locate(store_folder).open()
    with pytest.raises(
        MissingFileError, match=f"observation {OBS_ID}: .*cta_like.fits: there is no such file"
    ):
        _ = observation.aeff


def test_a_response_that_the_index_does_not_name_is_missing(store_folder: Path) -> None:
    files = locate(store_folder)
    observation = replace(files, hdus=tuple(hdu for hdu in files.hdus if hdu.hdu_type != "psf")).open()
    assert observation.missing_irfs == ("psf",)
    assert observation.rad_max is None
    with pytest.raises(MissingHduError, match=f"observation {OBS_ID}: the index names no psf HDU"):
        _ = observation.psf


def test_an_index_without_gti_means_no_good_time(store_folder: Path) -> None:
    files = locate(store_folder)
    with pytest.raises(
        NoGtiError, match=f"observation {OBS_ID}: the index names no table of good time intervals"
    ):
        replace(files, hdus=tuple(hdu for hdu in files.hdus if hdu.hdu_type != "gti")).open()


def test_an_observation_without_events_is_one(store_folder: Path, edit: Edit) -> None:
    def empty(hdus: fits.HDUList) -> None:
        header = hdus["EVENTS"].header
        hdus["EVENTS"] = fits.BinTableHDU(hdus["EVENTS"].data[:0], header=header, name="EVENTS")

    edit(empty)
    observation = locate(store_folder).open()
    assert len(observation.events) == 0
    assert observation.events.ra.shape == (0,)
    assert observation.ontime == pytest.approx(30)


def test_livetime_over_ontime_stands_in_for_deadc(store_folder: Path, edit: Edit) -> None:
    expected = locate(store_folder).open().deadtime_fraction
    edit(drop_card("EVENTS", "DEADC"))
    assert locate(store_folder).open().deadtime_fraction == pytest.approx(expected, rel=1e-12)


def test_responses_are_read_once_for_all_observations(
    store_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads: list[str] = []
    read = FitsFile.read.__func__  # type: ignore[attr-defined]  # a classmethod has it
    monkeypatch.setattr(
        FitsFile, "read", classmethod(lambda cls, path: (reads.append(str(path)), read(cls, path))[1])
    )
    store = DataStore.from_dir(store_folder)
    reads.clear()
    opened = [store.locate(obs_id).open() for obs_id in store.obs_ids]
    for observation in opened:
        assert observation.psf is opened[0].psf
        assert observation.bkg.fov_alignment == "RADEC"
        assert observation.aeff.meta["LO_THRES"] == 0.1
    assert len(reads) == len(opened) + 1
    # a response file that has changed is another one
    path = Path(store.locate(OBS_ID).find("psf").path)
    os.utime(path, ns=(1, 1))
    assert store.locate(OBS_ID).open().psf is not opened[0].psf


def test_old_hess_files_have_the_longitude_reversed(store_folder: Path, edit: Edit) -> None:
    def sash(hdus: fits.HDUList) -> None:
        hdus["EVENTS"].header.update({"CREATOR": "SASH FITS::EventListWriter", "HDUVERS": "0.2"})

    edit(sash)
    store = DataStore.from_dir(store_folder)
    # both orders: the file of responses is shared, the alignment is not
    assert store.locate(OBS_ID).open().bkg.fov_alignment == "REVERSE_LON_RADEC"
    assert store.locate(OBS_ID + 1).open().bkg.fov_alignment == "RADEC"
    assert store.locate(OBS_ID).open().bkg.fov_alignment == "REVERSE_LON_RADEC"


def test_the_response_cache_keeps_the_last_ones_only() -> None:
    cache = ResponseCache(2)
    made: list[int] = []

    def get(number: int) -> Any:
        key = ResponseKey("file", number, 0, "PSF", "psf_king", False)
        return cache.get(key, lambda: made.append(number) or f"response {number}")  # type: ignore[arg-type, return-value]  # a stand-in

    assert [get(n) for n in (1, 2, 1, 3, 1, 2)] == [f"response {n}" for n in (1, 2, 1, 3, 1, 2)]
    assert made == [1, 2, 3, 2]
    assert len(cache) == 2


def test_files_are_small_to_send_and_their_identity_tells_a_change(
    store_folder: Path, events_path: Path
) -> None:
    files = locate(store_folder)
    assert len(pickle.dumps(files)) < 2000
    assert pickle.loads(pickle.dumps(files)) == files
    before = files.identity()
    assert [name for name, _, _ in before] == [f"events/sim_{OBS_ID}.fits", "irfs/cta_like.fits"]
    os.utime(events_path, ns=(5, 5))
    assert files.identity() != before
    moved = Path(shutil.copytree(store_folder, store_folder.parent / "moved"))
    assert locate(moved).identity() == files.identity()


def test_time_intervals_cut_good_time_and_events(store_folder: Path) -> None:
    files = locate(store_folder)
    whole = files.open()
    start = whole.gti.time_reference
    first = TimeReference.from_time(start.at(float(whole.gti.start[0]) + 5))
    last = TimeReference.from_time(start.at(float(whole.gti.start[0]) + 15))
    cut = files.select_time(((first, last),)).open()
    assert cut.ontime == pytest.approx(10, abs=1e-5)
    assert cut.livetime == pytest.approx(10 * (1 - whole.deadtime_fraction), abs=1e-5)
    relative = whole.events.time - whole.gti.start[0]
    assert len(cut.events) == ((relative >= 5) & (relative < 15)).sum()
    late = TimeReference.from_time(start.at(1e9))
    with pytest.raises(NoGtiError, match="no good time lies in the selected time intervals"):
        files.select_time(((late, TimeReference.from_time(start.at(2e9))),)).open()


def test_an_observation_from_parts_in_memory() -> None:
    reference = TimeReference(60000.0, 0.0)
    observation = Observation.create(
        5,
        pointing=FixedPointingInfo(83.6, 22.0, alt=60.0),
        gti=GTI([0, 100], [50, 200], reference),
        deadtime_fraction=0.1,
        site=Site(-70.3, -24.7, 2147.0),
    )
    assert (observation.ontime, observation.livetime) == (150.0, 135.0)
    assert observation.tstop.isclose(Time(60000, 50 / 86400, format="mjd", scale="tt"))
    assert observation.tmid.isclose(Time(60000, 25 / 86400, format="mjd", scale="tt"))
    assert observation.pointing.zenith == 30.0
    assert observation.location is not None
    assert observation.location.lat.deg == pytest.approx(-24.7)
    assert observation.missing_irfs == ("aeff", "edisp", "psf", "bkg")
    np.testing.assert_allclose(
        observation.pointing.vector, observation.pointing.icrs.cartesian.xyz.value, atol=1e-15
    )


@pytest.mark.parametrize(("name", "folder"), [("hess", "hess-dl3-dr1"), ("cta", "cta-1dc/index/gps")])
def test_every_public_observation_has_gammapys_values(gammapy_data: Path, name: str, folder: str) -> None:
    store = DataStore.from_dir(gammapy_data / folder)
    reference = json.loads(REFERENCE_FILE.read_text())[name]
    there = [obs_id for obs_id in store.obs_ids if not store.locate(obs_id).missing_files()]
    assert there == [int(obs_id) for obs_id in reference]
    for obs_id in there:
        observation, expected = store.obs(obs_id), reference[str(obs_id)]
        events, location = observation.events, observation.location
        # Gammapy's days carry 1e-11 of rounding, 1e-6 s
        assert observation.ontime == pytest.approx(expected["ontime"], abs=5e-6)
        assert observation.deadtime_fraction == pytest.approx(expected["deadtime_fraction"], rel=1e-13)
        assert observation.livetime == pytest.approx(expected["livetime"], abs=5e-6)
        assert observation.pointing.ra == pytest.approx(expected["ra"] % 360, abs=1e-11)
        assert observation.pointing.dec == pytest.approx(expected["dec"], abs=1e-11)
        for key in ("tstart", "tstop", "tmid"):
            assert getattr(observation, key).mjd == pytest.approx(expected[f"{key}_mjd_tt"], abs=3e-11)
        assert location is not None
        values = [location.lon.deg, location.lat.deg, location.height.value]
        np.testing.assert_allclose(values, expected["location"], rtol=0, atol=1e-6)
        assert observation.bkg.fov_alignment == expected["fov_alignment"]
        assert len(events) == expected["n_events"]
        assert events.energy.sum(dtype=np.float64) == pytest.approx(expected["energy_sum"], rel=1e-12)
        assert events.dec.sum(dtype=np.float64) == pytest.approx(expected["dec_sum"], rel=1e-12)
        last = events.time_reference.at(float(events.time[-1])).mjd
        assert last == pytest.approx(expected["last_event_mjd_tt"], abs=3e-11)
        assert observation.aeff.data.max() == pytest.approx(expected["aeff_max"], rel=1e-6)
    assert len(RESPONSES) <= RESPONSES.maxsize
