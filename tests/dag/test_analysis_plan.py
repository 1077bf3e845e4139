"""Which part of a configuration matters to which key, and which makes it another run."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import yaml
from astropy.table import MaskedColumn, Table

from gammaflow.config import AnalysisConfig, GroupByConfig
from gammaflow.dag.analysis_plan import group_names, plan, positions, reduction_ingredients, setup
from gammaflow.dag.identity import check_identity, identity
from gammaflow.dag.keys import digest
from gammaflow.dag.run_folder import RunFolder
from gammaflow.data import ObservationFiles
from gammaflow.errors import ConfigError, MissingFileError, RunMismatchError

YAML = """
observations: {datastore: DATASTORE, obs_ids: [1, 2], required_irf: [aeff, edisp]}
datasets:
  type: 3d
  stack: true
  geom:
    wcs:
      skydir: {frame: galactic, lon: 0 deg, lat: 0 deg}
      binsize: 0.1 deg
      width: {width: 8 deg, height: 6 deg}
    selection: {offset_max: 2 deg}
    axes:
      energy: {min: 0.1 TeV, max: 10 TeV, nbins: 4}
      energy_true: {min: 0.05 TeV, max: 20 TeV, nbins: 8}
  safe_mask: {methods: [aeff-max, offset-max], parameters: {offset_max: 2 deg}}
  background: {method: fov_background, parameters: {method: scale}}
"""


@pytest.fixture
def config(tmp_path) -> AnalysisConfig:
    return AnalysisConfig.from_yaml(YAML.replace("DATASTORE", str(tmp_path)))


def key(config: AnalysisConfig) -> str:
    return plan(config, [ObservationFiles(1, (), 266.4, -29.0)]).reductions[0].key


REDOES = {
    "safe mask method": "datasets: {safe_mask: {methods: [aeff-max], parameters: {offset_max: 2 deg}}}",
    "safe mask parameter": "datasets: {safe_mask: {parameters: {offset_max: 2.1 deg}}}",
    "background method": "datasets: {background: {method: null, parameters: {}}}",
    "background parameter": "datasets: {background: {parameters: {method: fit}}}",
    "cutout": "datasets: {geom: {selection: {offset_max: 2.5 deg}}}",
    "pixel size": "datasets: {geom: {wcs: {binsize: 0.05 deg}}}",
    "pixel size of responses": "datasets: {geom: {wcs: {binsize_irf: 0.3 deg}}}",
    "centre": "datasets: {geom: {wcs: {skydir: {lon: 1 deg}}}}",
    "width": "datasets: {geom: {wcs: {width: {width: 9 deg}}}}",
    "energies": "datasets: {geom: {axes: {energy: {nbins: 5}}}}",
    "true energies": "datasets: {geom: {axes: {energy_true: {max: 30 TeV}}}}",
    "maps": "datasets: {map_selection: [counts, exposure]}",
    "responses": "observations: {required_irf: [aeff]}",
    "NaN in responses": "flow: {invalid_response: zero}",
    "containment": "datasets: {containment_correction: false}",
}

KEEPS = {
    "unit of an angle": "datasets: {geom: {wcs: {binsize: 6 arcmin}}}",
    "unit of an energy": "datasets: {geom: {axes: {energy: {min: 100 GeV}}}}",
    "spelling of a number": "datasets: {geom: {axes: {energy: {max: 1.0e1 TeV}}}}",
    "order of safe mask methods": "datasets: {safe_mask: {methods: [offset-max, aeff-max]}}",
    "order of responses": "observations: {required_irf: [edisp, aeff]}",
    "unit in parameters": "datasets: {safe_mask: {parameters: {offset_max: 120 arcmin}}}",
    "stacking": "datasets: {stack: false}",
    "fan-in": "flow: {fan_in: 4}",
    "workers": "flow: {workers: 3}",
    "retries": "flow: {retries: 7, timeout: 10 s, allow_failed: 3}",
    "the fit": "fit: {fit_range: {min: 1 TeV, max: 5 TeV}}",
    "flux points": "flux_points: {source: crab}",
    "logging": "general: {log: {level: debug}, n_jobs: 4}",
    "observations": "observations: {obs_ids: [1]}",
}


@pytest.mark.parametrize("change", REDOES)
def test_what_matters_to_a_reduction_changes_its_key(config, change):
    assert key(config.update(REDOES[change])) != key(config)


@pytest.mark.parametrize("change", KEEPS)
def test_what_does_not_matter_keeps_the_key(config, change):
    assert key(config.update(KEEPS[change])) == key(config)


def test_no_field_of_the_datasets_section_is_forgotten(config):
    fields = set(type(config.datasets).model_fields) - {"stack"}
    assert {f"datasets.{name}" for name in fields} <= set(reduction_ingredients(config))


def test_the_order_of_yaml_keys_does_not_matter(config):
    lines = config.to_yaml()
    backwards = yaml.safe_dump(_reversed(yaml.safe_load(lines)), sort_keys=False)
    assert backwards != lines
    assert key(AnalysisConfig.from_yaml(backwards)) == key(config)


def _reversed(value):
    return {name: _reversed(value[name]) for name in reversed(value)} if isinstance(value, dict) else value


def test_the_content_of_the_exclusion_mask_matters_and_not_its_place(config, tmp_path):
    first, second = tmp_path / "a" / "mask.reg", tmp_path / "b" / "mask.reg"
    for path in (first, second):
        path.parent.mkdir()
        path.write_text("galactic; circle(0, 0, 1)")
    os.utime(second, ns=(first.stat().st_mtime_ns, first.stat().st_mtime_ns))
    changes = [{"datasets": {"background": {"exclusion": str(path)}}} for path in (first, second)]
    keys = [key(config.update(change)) for change in changes]
    assert keys[0] == keys[1] != key(config)
    second.write_text("galactic; circle(0, 0, 2)")
    assert key(config.update({"datasets": {"background": {"exclusion": str(second)}}})) != keys[0]


def test_an_exclusion_mask_that_is_not_there_is_named(config, tmp_path):
    changed = config.update({"datasets": {"background": {"exclusion": str(tmp_path / "none.fits")}}})
    with pytest.raises(MissingFileError, match=r"none\.fits"):
        key(changed)


def test_excluded_observations_are_left_out(config):
    files = [ObservationFiles(n, ()) for n in (1, 2, 3)]
    made = plan(config.update("flow: {exclude: [2]}"), files)
    assert [node.obs_id for node in made.reductions] == [1, 3]
    with pytest.raises(ConfigError, match="no observation is selected"):
        plan(config.update("flow: {exclude: [1, 2, 3]}"), files)


def test_without_stacking_there_is_no_stack(config):
    assert plan(config.update("datasets: {stack: false}"), [ObservationFiles(1, ())]).stacks == ()


def test_positions_are_fractions_of_the_map(config):
    listed = [
        ObservationFiles(1, (), 266.40499, -28.93617),  # the galactic centre: the middle of the map
        ObservationFiles(2, (), 265.0, -30.0),
        ObservationFiles(3, ()),
    ]
    found = positions(config, listed)
    assert set(found) == {1, 2}
    assert (found[1].u, found[1].v) == pytest.approx((0.5, 0.5), abs=1e-4)
    assert 0.0 < found[2].u < 1.0


def test_positions_without_a_map_are_fractions_of_the_sky(config):
    found = positions(config.update("datasets: {type: 1d}"), [ObservationFiles(1, (), 180.0, 90.0)])
    assert (found[1].u, found[1].v) == pytest.approx((0.5, 1.0))


def test_what_travels_with_a_task_can_be_read_on_a_worker_that_runs_elsewhere(config, tmp_path, monkeypatch):
    monkeypatch.setenv("MASKS", str(tmp_path))
    (tmp_path / "mask.reg").write_text("galactic; circle(0, 0, 1)")
    sent = setup(config.update("datasets: {background: {exclusion: $MASKS/mask.reg}}"))
    monkeypatch.delenv("MASKS")
    read = AnalysisConfig.from_yaml(sent.yaml)
    assert read.datasets.background.exclusion == str(tmp_path / "mask.reg")
    assert sent.digest == digest(sent.yaml)
    assert len(sent.yaml) < 10_000


def table() -> Table:
    muon = MaskedColumn([0.5, 0.95, 1.0], mask=[False, False, False])
    return Table(
        {"OBS_ID": [1, 2, 3], "OBJECT": ["Crab Nebula", "crab nebula", "MSH 15-52"], "MUONEFF": muon}
    )


@pytest.mark.parametrize(
    ("group_by", "names"),
    [
        (
            {"column": "MUONEFF", "bins": [0.0, 0.9, 1.1]},
            ["muoneff-0-0.9", "muoneff-0.9-1.1", "muoneff-0.9-1.1"],
        ),
        ({"column": "MUONEFF"}, ["muoneff-0.5", "muoneff-0.95", "muoneff-1.0"]),
    ],
)
def test_groups_by_a_column(group_by, names):
    assert list(group_names(GroupByConfig(**group_by), table(), [1, 2, 3]).values()) == names


@pytest.mark.parametrize(
    ("group_by", "ids", "message"),
    [
        ({"column": "NONE"}, [1], "no column 'NONE'.*it has OBS_ID, OBJECT, MUONEFF"),
        ({"column": "MUONEFF", "bins": [0.9, 1.1]}, [1, 2], "1 observations have no group: 1"),
        ({"column": "OBJECT"}, [1, 9], "have no group: 9"),
        ({"column": "OBJECT"}, [1, 2], "'Crab Nebula' and 'crab nebula'"),
        ({"column": "OBJECT", "bins": [0, 1]}, [1], "is not a number"),
    ],
)
def test_groups_that_cannot_be_made_are_refused(group_by, ids, message):
    with pytest.raises(ConfigError, match=message):
        group_names(GroupByConfig(**group_by), table(), ids)


def test_a_masked_value_is_no_value():
    masked = table()
    masked["MUONEFF"].mask[0] = True
    with pytest.raises(ConfigError, match="have no group: 1"):
        group_names(GroupByConfig(column="MUONEFF"), masked, [1, 2])


@pytest.mark.parametrize(
    ("change", "path"),
    [
        (
            "datasets: {geom: {wcs: {binsize: 0.05 deg}}}",
            r"datasets\.geom\.wcs\.binsize: 0\.1 deg in .* 0\.05 deg in",
        ),
        (
            "datasets: {geom: {axes: {energy: {nbins: 5}}}}",
            r"datasets\.geom\.axes\.energy\.nbins: 4 in .* 5 in",
        ),
        ("datasets: {type: 1d}", r"datasets\.type: 3d in .* 1d in"),
        ("observations: {datastore: /elsewhere}", r"observations\.datastore: .* /elsewhere in"),
    ],
)
def test_another_map_or_data_store_is_another_run(config, change, path):
    with pytest.raises(RunMismatchError, match=path) as caught:
        check_identity(RunFolder(Path("run")), identity(config), identity(config.update(change)))
    assert "--overwrite" in str(caught.value)


@pytest.mark.parametrize(
    "change",
    [
        *(
            REDOES[name]
            for name in ("safe mask method", "background parameter", "cutout", "maps", "responses")
        ),
        *KEEPS.values(),
    ],
)
def test_other_changes_are_updates_of_the_same_run(config, change):
    check_identity(RunFolder(Path("run")), identity(config), identity(config.update(change)))


def test_one_data_store_by_two_names_is_one(config, tmp_path, monkeypatch):
    monkeypatch.setenv("STORE", str(tmp_path))
    check_identity(
        RunFolder(Path("run")), identity(config), identity(config.update("observations: {datastore: $STORE}"))
    )


def test_a_map_of_ten_thousand_pointings_is_placed_quickly(config):
    rng = np.random.default_rng(0)
    places = zip(rng.uniform(260, 270, 10_000), rng.uniform(-32, -25, 10_000), strict=True)
    listed = [ObservationFiles(n, (), float(ra), float(dec)) for n, (ra, dec) in enumerate(places)]
    assert len(positions(config, listed)) == 10_000
