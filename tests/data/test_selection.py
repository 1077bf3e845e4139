"""Which observations a configuration takes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from astropy.table import Table

from gammaflow.config import ObservationsConfig
from gammaflow.data import DataStore
from gammaflow.data.selection import ObservationSelection, read_ids
from gammaflow.errors import ConfigError, MissingHduError

IDS = [100001, 100002, 100003]


def config(**keys: Any) -> ObservationsConfig:
    return ObservationsConfig(**keys)


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ({}, IDS),
        ({"obs_ids": [100003, 100001, 100003]}, [100001, 100003]),
        (
            {"obs_cone": {"frame": "galactic", "lon": "330.7 deg", "lat": "0 deg", "radius": "0.5 deg"}},
            [100001],
        ),
        ({"obs_cone": {"frame": "galactic", "lon": "330 deg", "lat": "0 deg", "radius": "0.71 deg"}}, IDS),
        # the separation must be smaller than the radius
        ({"obs_cone": {"frame": "galactic", "lon": "330 deg", "lat": "0 deg", "radius": "0.699 deg"}}, []),
        ({"obs_cone": {"frame": "icrs", "lon": "10 deg", "lat": "0 deg", "radius": "5 deg"}}, []),
        (
            {
                "obs_ids": [100001, 100002],
                "obs_cone": {"frame": "galactic", "lon": "329.3 deg", "lat": "0 deg", "radius": "0.5 deg"},
            },
            [100002],
        ),
        # observations start at MJD 60000 (TT) and every 2100 s after it
        ({"obs_time": {"start": "2023-02-25T00:00:00", "stop": "2023-02-25T00:10:00"}}, []),
        ({"obs_time": {"start": "2023-02-24T00:00:00", "stop": "2023-02-26T00:00:00"}}, IDS),
        ({"obs_time": {"start": "2023-02-25T00:30:00", "stop": "2023-02-25T01:00:00"}}, [100002]),
        (
            {
                "obs_time": {
                    "start": ["2023-02-24T23:58:00", "2023-02-25T01:00:00"],
                    "stop": ["2023-02-25T00:01:00", "2023-02-25T02:00:00"],
                }
            },
            [100001, 100003],
        ),
    ],
)
def test_every_condition_must_hold(pristine_store: Path, keys: dict[str, Any], expected: list[int]) -> None:
    assert DataStore.from_dir(pristine_store).select(config(**keys)) == expected


def test_an_id_file_has_a_number_a_line(pristine_store: Path, tmp_path: Path) -> None:
    path = tmp_path / "ids.txt"
    path.write_text("# my runs\n100003  good weather\n\n100001, # and this\n")
    store = DataStore.from_dir(pristine_store)
    assert store.select(config(obs_file=str(path))) == [100001, 100003]
    with pytest.raises(ConfigError, match="both obs_ids and obs_file"):
        store.select(config(obs_file=str(path), obs_ids=[100001]))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("100001\nrun 5\n", "line 2 starts with 'run'"),
        ("# nothing\n", "no observation numbers"),
        (None, "cannot be read"),
    ],
)
def test_an_id_file_that_is_none_is_refused(tmp_path: Path, content: str | None, message: str) -> None:
    path = tmp_path / "ids.txt"
    if content is not None:
        path.write_text(content)
    with pytest.raises(ConfigError, match=message):
        read_ids(path)


@pytest.mark.parametrize("with_index", [True, False])
def test_an_unknown_id_is_refused(store_folder: Path, with_index: bool) -> None:
    if not with_index:
        (store_folder / "obs-index.fits.gz").unlink()
    store = DataStore.from_dir(store_folder)
    with pytest.raises(ConfigError, match=r"observations.obs_ids: the index has no observation 100009"):
        store.select(config(obs_ids=[100001, 100009]))
    assert store.select(config(obs_ids=[100002])) == [100002]
    assert store.select(config()) == IDS


def test_the_nearest_id_is_named(pristine_store: Path) -> None:
    with pytest.raises(ConfigError, match="Did you mean 100001"):
        DataStore.from_dir(pristine_store).select(config(obs_ids=[10001]))


def test_intervals_go_to_the_selection(pristine_store: Path) -> None:
    keys = {"start": "2023-02-24T23:58:56", "stop": "2023-02-24T23:59:01"}
    selection = ObservationSelection.from_config(config(obs_time=keys))
    store = DataStore.from_dir(pristine_store)
    (obs_id,) = store.select_observations(selection)
    observation = store.locate(obs_id, selection.intervals).open()
    # the observation starts 69.184 s before midnight UTC
    assert observation.ontime == pytest.approx(5.0, abs=1e-4)


def test_columns_that_a_selection_needs_are_named(store_folder: Path) -> None:
    path = store_folder / "obs-index.fits.gz"
    Table.read(path)["OBS_ID", "TSTART"].write(path, overwrite=True)
    store = DataStore.from_dir(store_folder)
    cone = {"frame": "icrs", "lon": "10 deg", "lat": "0 deg", "radius": "5 deg"}
    with pytest.raises(MissingHduError, match="no column 'RA_PNT', which this selection needs"):
        store.select(config(obs_cone=cone))
    with pytest.raises(MissingHduError, match="no column 'TSTOP'"):
        store.select(config(obs_time={"start": "2023-02-24", "stop": "2023-02-25"}))


@pytest.mark.parametrize(
    ("cone", "count"),
    [
        ({"frame": "icrs", "lon": "83.633 deg", "lat": "22.014 deg", "radius": "2 deg"}, 4),
        ({"frame": "icrs", "lon": "228.53 deg", "lat": "-59.16 deg", "radius": "2.5 deg"}, 20),
    ],
    ids=["Crab", "MSH 15-52"],
)
def test_cones_on_public_data(gammapy_data: Path, cone: dict[str, str], count: int) -> None:
    store = DataStore.from_dir(gammapy_data / "hess-dl3-dr1")
    assert len(store.select(config(obs_cone=cone))) == count
