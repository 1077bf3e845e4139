"""Groups of similar conditions: which observations are stacked together, and what the result is called."""

from __future__ import annotations

import datetime

import numpy as np
import pytest
from astropy.coordinates import SkyCoord
from astropy.table import MaskedColumn, Table

from gammaflow.config import AnalysisConfig, GroupByConfig
from gammaflow.dag.groups import center_of, group_names
from gammaflow.dag.plan import make_plan
from gammaflow.data import ObservationFiles
from gammaflow.errors import ConfigError
from gammaflow.maps.frames import position_vector

SOURCE = SkyCoord(83.6, 22.0, unit="deg")
START = np.array([100.0, 86500.0, 172900.0])  # three nights, seconds after MJD 53000.0 (2003-12-27) TT


def table(*without: str, **columns: object) -> Table:
    found = Table(
        {
            "OBS_ID": [1, 2, 3],
            "ZEN_PNT": [5.0, 20.0, 44.9],
            "ALT_PNT": [85.0, 70.0, 45.1],
            "RA_PNT": [83.6, 83.6, 83.6],
            "DEC_PNT": [22.0, 22.5, 20.5],
            "TSTART": START,
            "TSTOP": START + 1800.0,
            "OBJECT": ["Crab", "Crab", "MSH 15-52"],
            **columns,
        },
        meta={"MJDREFI": 53000, "MJDREFF": 0.0, "TIMESYS": "TT"},
    )
    found.remove_columns(list(without))
    return found


def names(table_: Table, column: str, bins: list[object] | None = None) -> list[str]:
    by = GroupByConfig(column=column, bins=bins)
    return list(group_names(by, table_, [1, 2, 3], lambda: position_vector(SOURCE)).values())


@pytest.mark.parametrize(
    ("column", "bins", "expected"),
    [
        ("zenith", [0, 20, 45], ["zenith-0-20", "zenith-20-45", "zenith-20-45"]),
        ("zenith", ["0 deg", "1200 arcmin", "45 deg"], ["zenith-0-20", "zenith-20-45", "zenith-20-45"]),
        ("offset", [0, 0.4, 1, 2], ["offset-0-0.4", "offset-0.4-1", "offset-1-2"]),
        (
            "time",
            ["2003-12-27", "2003-12-28T12:00", datetime.date(2004, 1, 1)],
            [
                "time-2003-12-27_to_2003-12-28t120000",
                "time-2003-12-27_to_2003-12-28t120000",
                "time-2003-12-28t120000_to_2004-01-01",
            ],
        ),
        ("time", [53000, 53001, 53003], ["time-53000-53001", "time-53001-53003", "time-53001-53003"]),
        ("DEC_PNT", [-90, 22, 90], ["dec_pnt-22_to_90", "dec_pnt-22_to_90", "dec_pnt--90_to_22"]),
        ("OBJECT", None, ["object-crab", "object-crab", "object-msh_15-52"]),
    ],
)
def test_conditions_are_binned_and_named(column, bins, expected):
    assert names(table(), column, bins) == expected


def test_the_zenith_angle_follows_from_the_altitude():
    assert names(table("ZEN_PNT"), "zenith", [0, 20, 45]) == names(table(), "zenith", [0, 20, 45])


def test_a_column_of_that_name_comes_first_and_edges_are_in_its_unit():
    own = table(zenith=np.array([300.0, 300.0, 1200.0]))
    own["zenith"].unit = "arcmin"
    assert names(own, "zenith", ["4 deg", "6 deg", "30 deg"])[0] == "zenith-240-360"


def test_large_edges_keep_their_digits():
    edges = [101962602, 101962702, 102962602]
    assert names(table(TSTART=[101962602.0, 101962650.0, 102000000.0]), "TSTART", edges)[::2] == [
        "tstart-101962602-101962702",
        "tstart-101962702-102962602",
    ]


@pytest.mark.parametrize(
    ("where", "column", "bins", "message"),
    [
        (table("ZEN_PNT", "ALT_PNT"), "zenith", [0, 90], "no column 'zenith'.*ZEN_PNT or ALT_PNT"),
        (table("RA_PNT"), "offset", [0, 1], "no column 'offset'.*RA_PNT and DEC_PNT"),
        (table("TSTOP"), "time", [0, 1], "no column 'time'.*TSTART and TSTOP"),
        (table(), "weather", [0, 1], "no column 'weather'; Name another: it has OBS_ID"),
        (table(), "zenith", None, "Give bins"),
        (table(), "zenith", [0, 20], r"2 observations have no group: 2 \(20\), 3 \(44.9\)"),
        (table(), "zenith", ["0 m", "1 m"], "'0 m' is not in deg"),
        (table(), "zenith", [0, "20 deg", "10 deg"], "do not increase"),
        (table(), "time", ["yesterday", "today"], "'yesterday' is not a time"),
        (table(), "OBJECT", [0, 1], "is not a number"),
        (
            table(ZEN_PNT=MaskedColumn([5.0, 20.0, 44.9], mask=[False, True, False])),
            "zenith",
            [0, 90],
            "1 observations have no group: 2",
        ),
    ],
)
def test_what_cannot_be_grouped_is_told(where, column, bins, message):
    with pytest.raises(ConfigError, match=message.replace("; ", ".*")):
        names(where, column, bins)


def test_no_table_is_told():
    with pytest.raises(ConfigError, match="there is no observation table"):
        group_names(GroupByConfig(column="ZEN_PNT"), None, [1])


def test_offsets_are_from_the_centre_of_the_map_or_from_the_region():
    geom = "geom: {wcs: {skydir: {frame: galactic, lon: 10 deg, lat: 1 deg}}}"
    config = AnalysisConfig.from_yaml(f"datasets: {{type: 3d, {geom}}}")
    np.testing.assert_allclose(
        center_of(config), position_vector(SkyCoord(10, 1, unit="deg", frame="galactic")), atol=1e-15
    )
    region = "on_region: {frame: icrs, lon: 83.6 deg, lat: 22 deg, radius: 0.1 deg}"
    config = AnalysisConfig.from_yaml(f"datasets: {{type: 1d, {region}}}")
    np.testing.assert_allclose(center_of(config), position_vector(SOURCE), atol=1e-15)
    with pytest.raises(ConfigError, match="sky position without"):
        center_of(AnalysisConfig.from_yaml("datasets: {type: 1d}"))


def test_groups_stand_in_the_order_of_their_bins():
    files = [ObservationFiles(n, ()) for n in range(1, 5)]
    groups = dict(enumerate(["zenith-10-20", "zenith-5-10", "zenith-100-110", "zenith-5.5-7"], start=1))
    made = make_plan(files, ingredients={}, groups=groups)
    assert [stack.root.name for stack in made.stacks] == [
        "zenith-5-10",
        "zenith-5.5-7",
        "zenith-10-20",
        "zenith-100-110",
    ]
