"""The simulated survey as a store: the same for the same seed, whole or not there, ready to be analysed."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
import yaml

from gammaflow.config import AnalysisConfig
from gammaflow.data import DataStore
from gammaflow.data.simulation import simulate_survey, store_files
from gammaflow.data.simulation.responses import cta_like_responses
from gammaflow.data.simulation.schedule import observation_rng, schedule
from gammaflow.data.simulation.sphere import offsets
from gammaflow.errors import ConfigError, MissingFileError
from gammaflow.maps import WcsGeom, read_mask

EVENTS = "events/sim_100001.fits"


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_the_same_seed_gives_the_same_bytes(tmp_path: Path) -> None:
    first, again, other = (
        simulate_survey(tmp_path / name, 2, seed=seed, ontime=20.0).folder
        for name, seed in (("first", 5), ("again", 5), ("other", 6))
    )
    ours, theirs = contents(first), contents(again)
    assert list(ours) == list(theirs)
    assert [name for name in ours if ours[name] != theirs[name]] == ["config.yaml"]  # it names the folder
    assert contents(other)[EVENTS] != ours[EVENTS]


def test_an_observation_does_not_depend_on_how_many_there_are(tmp_path: Path) -> None:
    few = contents(simulate_survey(tmp_path / "few", 1, seed=5, ontime=20.0).folder)
    many = contents(simulate_survey(tmp_path / "many", 6, seed=5, ontime=20.0).folder)
    assert few[EVENTS] == many[EVENTS]


def test_gzipped_events_are_the_same_events(tmp_path: Path) -> None:
    plain = DataStore.from_dir(simulate_survey(tmp_path / "plain", 1, seed=5, ontime=20.0).folder).obs(100001)
    packed = DataStore.from_dir(
        simulate_survey(tmp_path / "gz", 1, seed=5, ontime=20.0, compress=True).folder
    )
    assert packed.locate(100001).find("events").path.endswith(".fits.gz")
    for name in plain.events.names:
        np.testing.assert_array_equal(packed.obs(100001).events.column(name), plain.events.column(name))


def test_what_is_written_is_what_was_drawn(pristine_store: Path) -> None:
    store = DataStore.from_dir(pristine_store)
    expected = schedule(1, observation_rng(3, 1), 30.0)
    observation = store.obs(100002)
    assert (observation.pointing.ra, observation.pointing.dec) == (expected.ra, expected.dec)
    assert observation.deadtime_fraction == 1 - expected.deadc
    np.testing.assert_array_equal(observation.gti.stop, expected.gti.stop)
    assert observation.gti.time_reference == expected.gti.time_reference
    events = observation.events
    assert {name: events.column(name).dtype for name in ("RA", "DEC", "ENERGY", "TIME")} == {
        "RA": np.float32,
        "DEC": np.float32,
        "ENERGY": np.float32,
        "TIME": np.float64,
    }
    assert store.obs_table is not None
    assert store.obs_table["EVENT_COUNT"][1] == len(events)
    for name, response in vars(cta_like_responses()).items():
        read = getattr(observation, name)
        assert type(read) is type(response)
        assert read.axes == response.axes
        tables = (
            (read.data, response.data) if name != "psf" else (read.data["sigma_1"], response.data["sigma_1"])
        )
        np.testing.assert_array_equal(*tables)


def test_responses_are_of_the_right_size_and_smooth() -> None:
    responses = cta_like_responses()
    on_axis = responses.aeff.evaluate(energy_true=[0.1, 1.0, 10.0], offset=0.0)
    np.testing.assert_allclose(on_axis, [1.0e5, 1e6, 3e6], rtol=0.1)
    log_area = np.log(responses.aeff.data.astype(float))
    assert np.abs(np.diff(log_area, n=2, axis=0)).max() < 0.15
    assert (np.diff(log_area, axis=1) < 0).all()
    r68 = np.linspace(0, 0.3, 301)[
        np.argmin(np.abs(responses.psf.containment(np.linspace(0, 0.3, 301), 1.0, 0.0) - 0.68))
    ]
    assert 0.04 < r68 < 0.07
    migra = responses.edisp.axis("migra")
    np.testing.assert_allclose((responses.edisp.data * migra.bin_width[:, None]).sum(axis=1), 1, rtol=1e-5)
    for response in vars(responses).values():
        response.check_finite()


def test_a_survey_that_was_not_finished_has_no_index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    simulate_survey(tmp_path, 2, seed=1, ontime=10.0)
    calls = itertools.count()
    write = store_files.write_atomic

    def killed(path: Path, content: bytes) -> None:
        if next(calls) == 2:
            raise KeyboardInterrupt
        write(path, content)

    monkeypatch.setattr("gammaflow.data.simulation.survey.write_atomic", killed)
    with pytest.raises(KeyboardInterrupt):
        simulate_survey(tmp_path, 2, seed=2, ontime=10.0, overwrite=True)
    with pytest.raises(MissingFileError, match=r"no hdu-index.fits.gz"):
        DataStore.from_dir(tmp_path)
    monkeypatch.undo()
    assert simulate_survey(tmp_path, 2, seed=2, ontime=10.0).obs_ids == (100001, 100002)
    assert not [name for name in contents(tmp_path) if Path(name).name.startswith(".")]


def test_writing_leaves_the_old_file_or_the_new_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file"
    store_files.write_atomic(path, b"old")

    def full(self: Path, content: bytes) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OSError, match="No space left"):
        store_files.write_atomic(path, b"new")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("n_observations", "keys", "message"),
    [
        (0, {}, "the number of observations is 0"),
        (1, {"seed": -1}, "the seed is -1"),
        (1, {"ontime": 0.0}, "the good time of an observation is 0.0 s"),
    ],
)
def test_numbers_that_make_no_sense_are_refused(
    tmp_path: Path, n_observations: int, keys: dict[str, float], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        simulate_survey(tmp_path / "survey", n_observations, **keys)  # type: ignore[arg-type]  # wrong on purpose
    assert not (tmp_path / "survey").exists()


def test_a_store_is_not_overwritten_by_accident(store_folder: Path, tmp_path: Path) -> None:
    before = contents(store_folder)
    with pytest.raises(ConfigError, match="there is already a data store in this folder"):
        simulate_survey(store_folder, 1)
    assert contents(store_folder) == before
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="this is a file"):
        simulate_survey(tmp_path / "file", 1)


def test_progress_is_told(tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    simulate_survey(tmp_path, 2, ontime=5.0, progress=lambda done, of: told.append((done, of)))
    assert told == [(1, 2), (2, 2)]


def test_the_configuration_is_ready_to_run(pristine_store: Path) -> None:
    config = AnalysisConfig.read(pristine_store / "config.yaml")
    assert DataStore.read(config.observations.datastore).select(config.observations) == [
        100001,
        100002,
        100003,
    ]
    geom = config.datasets.geom.to_geom()
    assert geom.data_shape == (12, 300, 500)
    # each reconstructed edge is a true edge
    true = config.datasets.geom.energy_true_axis().edges
    for edge in geom.axes[0].edges:
        assert np.abs(true / edge - 1).min() < 1e-8


def test_the_exclusion_covers_the_sources_and_leaves_most_of_the_sky(pristine_store: Path) -> None:
    geom = WcsGeom.create((330.0, 0.0), binsz=0.1, width=(10, 6), frame="galactic")
    mask = read_mask(pristine_store / "exclusion.fits", geom)
    assert 0.6 < mask.mean() < 0.98
    models = yaml.safe_load((pristine_store / "models.yaml").read_text())["components"]
    assert len(models) == 7
    for model in models:
        values = {p["name"]: p["value"] for p in model["spatial"]["parameters"]}
        x, y = geom.sky_to_pix(values["lon_0"], values["lat_0"])
        assert not mask[int(np.rint(y)), int(np.rint(x))]


def test_wobbles_lie_around_fields_along_the_plane() -> None:
    pointings = [schedule(n, observation_rng(0, n), 1800.0) for n in range(56)]
    assert max(abs(p.glat) for p in pointings) == 0.7
    assert {round(p.glon - 330, 1) for p in pointings[:4]} == {0.7, -0.7, 0.0}
    # the next pass is at the same places, later
    for first, second in zip(pointings[:28], pointings[28:], strict=True):
        assert offsets(first.fov[0][:, np.newaxis], second.fov[0])[0] == 0
        assert second.gti.start[0] > first.gti.stop[-1]
    starts = [p.gti.start[0] for p in pointings]
    stops = [p.gti.stop[-1] for p in pointings]
    assert all(stop < start for stop, start in zip(stops, starts[1:], strict=False))
