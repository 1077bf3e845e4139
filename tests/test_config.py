"""The configuration: Gammapy's YAML, errors that help, canonical form."""

import doctest
import json
import logging
import pickle
from pathlib import Path

import numpy as np
import pytest
import yaml
from astropy import units as u
from astropy.coordinates import Angle, SkyCoord
from astropy.time import Time
from hypothesis import given
from hypothesis import strategies as st

import gammaflow.config.analysis
from gammaflow.config import AnalysisConfig, FlowConfig, GeomConfig, SafeMaskConfig, expand_path
from gammaflow.errors import ConfigError, GeometryError

GAMMAPY_DEFAULT = (Path(__file__).parent / "reference" / "gammapy_config.yaml").read_text()
VALID = """
observations: {datastore: $DATA/store, obs_ids: [3, 1, 2]}
datasets:
    type: 3d
    geom:
        wcs:
            skydir: {frame: galactic, lon: 0 deg, lat: 0.5 deg}
            width: {width: 10 deg, height: 8 deg}
        axes:
            energy: {min: 0.1 TeV, max: 10 TeV, nbins: 10}
            energy_true: {min: 80 GeV, max: 12 TeV, nbins: 14}
    safe_mask: {methods: [offset-max, aeff-default], parameters: {offset_max: 150 arcmin}}
    background: {method: fov_background, exclusion: mask.fits, parameters: {method: fit}}
flow: {fan_in: 4, allow_failed: 5%}
"""


def read(text: str) -> AnalysisConfig:
    return AnalysisConfig.from_yaml(text)


# --- Gammapy's file


def test_defaults_are_gammapys():
    expected = yaml.safe_load(GAMMAPY_DEFAULT)
    del expected["metadata"]
    expected["observations"]["datastore"] += "/"
    found = AnalysisConfig().to_dict()
    assert found.pop("flow") == FlowConfig().to_dict()
    assert found == expected


def test_gammapys_own_file_is_read_and_its_metadata_dropped():
    config = read(GAMMAPY_DEFAULT)
    assert config.to_dict() | {"observations": None} == AnalysisConfig().to_dict() | {"observations": None}


def test_yaml_reads_back_the_same_and_gammapy_can_read_it():
    config = read(VALID)
    assert read(config.to_yaml()) == config
    assert read(config.to_yaml()).to_yaml() == config.to_yaml()
    config.flow = {}
    assert "flow" not in yaml.safe_load(config.to_yaml())  # a key that Gammapy would refuse
    assert "flow" in yaml.safe_load(str(config))  # and that a reader wants to see


def test_geometry_of_the_configuration():
    geom = read(VALID).datasets.geom
    made = geom.to_geom()
    assert made.npix == (500, 400)
    assert made.frame == "galactic"
    assert made.sky.crval == (0.0, 0.5)
    assert made.axis("energy").nbin == 10
    assert geom.energy_true_axis().name == "energy_true"
    assert geom.energy_true_axis().edges[0] == pytest.approx(0.08)
    geom.axes.energy_true = {}
    assert geom.energy_true_axis().edges.tolist() == made.axis("energy").edges.tolist()
    geom.wcs.skydir.lon = None
    with pytest.raises(ConfigError, match=r"datasets\.geom\.wcs\.skydir.*position of its centre"):
        geom.to_geom()


@pytest.mark.parametrize("value", ["0.05 deg", "3 arcmin", Angle("0.05 deg"), 0.05 * u.deg, "0d3m"])
def test_angles_come_as_text_or_quantity(value):
    config = AnalysisConfig()
    config.datasets.geom.wcs.binsize = value
    assert config.datasets.geom.wcs.binsize.deg == pytest.approx(0.05)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("2004-03-26T22:00:00", "2004-03-26T22:00:00"),
        ("2004-03-26 22:00:00.250", "2004-03-26T22:00:00.25"),
        (Time(53090.5, format="mjd", scale="utc"), "2004-03-26T12:00:00"),
        (Time("2004-03-26T22:01:04.184", scale="tt"), "2004-03-26T22:00:00"),
    ],
)
def test_times(value, expected):
    config = AnalysisConfig()
    config.observations.obs_time.start = value
    assert config.to_dict()["observations"]["obs_time"]["start"] == expected
    assert read(config.to_yaml()).to_yaml() == config.to_yaml()


def test_dates_of_yaml_and_lists_of_times():
    start, stop = "[2004-03-26, 2004-03-28 12:00:00]", "[2004-03-27, 2004-03-29]"
    config = read(f"light_curve: {{time_intervals: {{start: {start}, stop: {stop}}}}}")
    assert config.canonical()["light_curve"]["time_intervals"]["start"] == [
        "2004-03-26T00:00:00",
        "2004-03-28T12:00:00",
    ]
    assert read(config.to_yaml()) == config


# --- errors


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            "datasets: {geom: {wcs: {binsz: 0.1 deg}}}",
            "unknown key 'datasets.geom.wcs.binsz'; did you mean 'datasets.geom.wcs.binsize'?",
        ),
        ("datasets: {geom: {binsize: 0.1 deg}}", "did you mean 'datasets.geom.wcs.binsize'?"),
        ("dataset: {}", "unknown key 'dataset'; did you mean 'datasets'?"),
        ("flow: {wrokers: 2}", "unknown key 'flow.wrokers'; did you mean 'flow.workers'?"),
        ("flow: {zzz: 2}", "allowed there: run, workers, scheduler"),
        (
            "datasets: {geom: {wcs: {binsize: 0.1}}}",
            "datasets.geom.wcs.binsize: found 0.1; a unit is missing",
        ),
        (
            "datasets: {geom: {wcs: {binsize: '0.1'}}}",
            "datasets.geom.wcs.binsize: found '0.1'; not a quantity",
        ),
        ("datasets: {geom: {wcs: {binsize: 1 TeV}}}", "found '1 TeV'; not a quantity"),
        ("datasets: {geom: {wcs: {binsize: -1 deg}}}", "found '-1 deg'; must be above zero"),
        ("datasets: {geom: {wcs: {binsize: nan deg}}}", "found 'nan deg'; not a quantity"),
        ("datasets: {geom: {axes: {energy: {max: inf TeV}}}}", "found 'inf TeV'; the value is not finite"),
        ("datasets: {geom: {axes: {energy: {min: 1 deg}}}}", "unit 'deg' is not one of energy"),
        ("datasets: {geom: {axes: {energy: {nbins: 0}}}}", "datasets.geom.axes.energy.nbins: found 0"),
        (
            "datasets: {geom: {axes: {energy: {nbins: many}}}}",
            "datasets.geom.axes.energy.nbins: found 'many'",
        ),
        (
            "datasets: {geom: {axes: {energy: {min: 3 TeV, max: 100 GeV}}}}",
            "min 3.0 TeV is not below max 100.0 GeV",
        ),
        ("datasets: {geom: {wcs: {skydir: {lat: 95 deg}}}}", "between -90 and 90"),
        ("datasets: {geom: {wcs: {skydir: {frame: fk4}}}}", "found 'fk4'; allowed is 'icrs' or 'galactic'"),
        ("datasets: {type: 4d}", "datasets.type: found '4d'; allowed is '1d' or '3d'"),
        ("datasets: {stack: perhaps}", "datasets.stack: found 'perhaps'"),
        ("datasets: [1, 2]", "datasets: found [1, 2]; a section with keys of its own is needed"),
        ("datasets: {safe_mask: {methods: [aeff-defualt]}}", "methods[0]: found 'aeff-defualt'; allowed is"),
        ("datasets: {safe_mask: {methods: [aeff-defualt]}}", "did you mean 'aeff-default'?"),
        (
            "datasets: {safe_mask: {parameters: {ofset_max: 3 deg}}}",
            "parameters.ofset_max: SafeMaskMaker has no such parameter; did you mean 'offset_max'?",
        ),
        (
            "datasets: {safe_mask: {parameters: {offset_max: 3}}}",
            "datasets.safe_mask.parameters.offset_max: found 3; a unit is missing",
        ),
        ("datasets: {safe_mask: {parameters: {aeff_percent: 150}}}", "from 0 to 100"),
        ("datasets: {safe_mask: {parameters: {irfs: DL5}}}", "'DL3' or 'DL4'"),
        (
            "datasets: {background: {method: fov}}",
            "found 'fov'; allowed is 'reflected', 'fov_background' or 'ring'",
        ),
        (
            "datasets: {background: {method: fov_background, parameters: {method: fits}}}",
            "found 'fits'; allowed is 'scale' or 'fit'",
        ),
        (
            "datasets: {background: {method: fov_background, parameters: {exclusion_mask: a}}}",
            "datasets.background.exclusion",
        ),
        (
            "datasets: {background: {method: ring, parameters: {r_inn: 1 deg}}}",
            "RingBackgroundMaker has no such parameter; did you mean 'r_in'?",
        ),
        ("flux_points: {parameters: {selection_optional: [uls]}}", "errn-errp, ul, scan, sensitivity"),
        ("excess_map: {parameters: {n_sgma: 3}}", "did you mean 'n_sigma'?"),
        ("general: {log: {level: loud}}", "general.log.level: found 'loud'"),
        ("observations: {obs_ids: [1, two]}", "observations.obs_ids[1]: found 'two'"),
        ("observations: {obs_time: {start: yesterday}}", "not a time"),
        ("observations: {obs_time: {start: 2004-03-02, stop: 2004-03-01}}", "start must be before stop"),
        (
            "observations: {obs_time: {start: [2004-03-01, 2004-03-02], stop: [2004-03-03]}}",
            "2 starts and 1 stops",
        ),
        ("flow: {workers: 0}", "flow.workers: found 0"),
        ("flow: {fan_in: 1}", "flow.fan_in: found 1"),
        ("flow: {retries: -1}", "flow.retries: found -1"),
        ("flow: {allow_failed: 120%}", "flow.allow_failed: found '120%'"),
        ("flow: {allow_failed: -1}", "flow.allow_failed: found -1"),
        ("flow: {timeout: 0 s}", "flow.timeout: found '0 s'; must be above zero"),
        ("flow: {timeout: 60}", "flow.timeout: found 60; a unit is missing"),
        ("flow: {memory_limit: lots}", "flow.memory_limit: found 'lots'"),
        ("flow: {invalid_response: ignore}", "allowed is 'refuse' or 'zero'"),
        ("flow: {workers: 2, scheduler: 'tcp://a:1'}", "give one of them"),
        ("flow: {group_by: {column: ZEN, bins: [3, 2]}}", "increasing edges"),
        ("flow: {group_by: {bins: [3, 4]}}", "flow.group_by.column"),
        ("[1, 2]", "a list where keys are needed"),
        ("datasets:\n  type: 3d\n type: 1d", "line 3"),
        ("datasets:\n  type: 3d\n  type: 1d", "line 3, column 3: not valid YAML (key 'type' stands twice)"),
        ("datasets: {type: 3d", "not valid YAML"),
        ("1: 2", "key 1 is not a text"),
    ],
)
def test_errors_name_key_value_and_remedy(text, words):
    with pytest.raises(ConfigError) as caught:
        read(text)
    assert words in str(caught.value)


def test_all_problems_are_told_at_once():
    with pytest.raises(ConfigError) as caught:
        read(
            """
            datasets: {type: 4d, stak: true, geom: {wcs: {binsize: 3}}, safe_mask: {parameters: {a: 1, b: 2}}}
            flow: {fan_in: 0}
            """
        )
    assert len(caught.value.problems) == 6
    assert str(caught.value).count("\n  - ") == 6
    assert pickle.loads(pickle.dumps(caught.value)).problems == caught.value.problems


@pytest.mark.parametrize(
    ("build", "words"),
    [
        (lambda: GeomConfig(wcs={"binsize": 3}), "wcs.binsize: found 3"),
        (
            lambda: AnalysisConfig(datasets={"geom": {"wcs": {"binsize": 3}}}),
            "datasets.geom.wcs.binsize: found 3",
        ),
        (lambda: setattr(AnalysisConfig().datasets, "type", "2d"), "type: found '2d'"),
        (
            lambda: setattr(AnalysisConfig().datasets, "tpye", "3d"),
            "unknown key 'tpye'; did you mean 'type'?",
        ),
        (lambda: setattr(AnalysisConfig(), "datasets", {"tpye": "3d"}), "did you mean 'datasets.type'?"),
        (lambda: AnalysisConfig().update({"datasets": {"tpye": "3d"}}), "did you mean 'datasets.type'?"),
        (lambda: AnalysisConfig().update(3), "cannot update from int"),
    ],
)
def test_errors_in_python_are_ours(build, words):
    with pytest.raises(ConfigError) as caught:
        build()
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("observations: {obs_file: ids.txt}", "observations.obs_ids and observations.obs_file are both set"),
        ("observations: {obs_cone: {frame: icrs, lon: 3 deg}}", "observations.obs_cone lacks lat, radius"),
        ("observations: {obs_time: {start: 2004-03-01}}", "observations.obs_time lacks stop"),
        (
            "datasets: {geom: {wcs: {skydir: {lon: null}}}}",
            "datasets.geom.wcs.skydir: 3d datasets need it, and lon is not set",
        ),
        (
            "datasets: {geom: {axes: {energy: {nbins: null}}}}",
            "datasets.geom.axes.energy: the energy axis lacks nbins",
        ),
        (
            "datasets: {geom: {axes: {energy_true: {min: null}}}}",
            "datasets.geom.axes.energy_true: the energy_true axis lacks min",
        ),
        (
            "datasets: {geom: {wcs: {width: {width: 400 deg}}}}",
            "datasets.geom.wcs: width 400 x 8 deg is larger than the sky",
        ),
        ("datasets: {type: 1d}", "datasets.on_region: 1d datasets need it"),
        ("datasets: {background: {method: reflected, parameters: {}}}", "reflected is for 1d datasets"),
        (
            "datasets: {background: {method: ring}}",
            "datasets.background.parameters.method: RingBackgroundMaker has no such parameter",
        ),
        ("datasets: {map_selection: [counts]}", "datasets.map_selection: fov_background needs background"),
        (
            "datasets: {background: {method: null}}",
            "datasets.background.parameters are set, but datasets.background.method is not",
        ),
    ],
)
def test_sections_are_checked_against_each_other(change, words):
    whole = read(VALID)
    whole.check()
    changed = yaml.safe_load(change)
    background = changed.get("datasets", {}).get("background", {})
    if background.get("method") == "ring":
        whole.datasets.background.method = "ring"  # with the parameters of another
        with pytest.raises(ConfigError) as caught:
            whole.check()
    else:
        if "parameters" in background:
            whole.datasets.background.parameters = {}
        with pytest.raises(ConfigError) as caught:
            whole.update(change).check()
    assert words in str(caught.value)


def test_ring_needs_one_energy_bin_and_its_radii():
    config = read(VALID)
    config.datasets.background = {"method": "ring", "parameters": {"r_in": "0.5 deg"}}
    assert config.problems() == [
        "datasets.background.method: ring needs one energy bin, geom.axes.energy.nbins is 10",
        "datasets.background.parameters: ring needs width",
    ]
    config.datasets.geom.axes.energy.nbins = 1
    config.datasets.background.parameters = {"r_in": "0.5 deg", "width": "0.3 deg"}
    config.check()


def test_datasets_from_a_file_need_no_geometry():
    config = AnalysisConfig(general={"datasets_file": "datasets.yaml"})
    assert config.problems() == []
    assert AnalysisConfig().problems() != []


# --- canonical form


def test_canonical_form_does_not_see_order_and_units():
    one = read(VALID)
    other = read(
        """
        flow: {allow_failed: 5 %, fan_in: 4}
        datasets:
            background: {parameters: {method: fit}, exclusion: mask.fits, method: fov_background}
            safe_mask: {parameters: {offset_max: 2.5 deg}, methods: [aeff-default, offset-max, offset-max]}
            geom:
                axes:
                    energy: {nbins: 10, max: 10000 GeV, min: 100 GeV}
                    energy_true: {min: 0.08 TeV, max: 1.2e13 eV, nbins: 14}
                wcs:
                    skydir: {lat: 30 arcmin, lon: 0.0 rad, frame: galactic}
                    width: {height: 480 arcmin, width: 10 deg}
                    binsize: 72 arcsec
            type: 3d
        observations: {obs_ids: [1, 2, 3], datastore: $DATA/store}
        """
    )
    assert json.dumps(one.canonical()) == json.dumps(other.canonical())
    assert one == other


CHANGES = {
    "observations": {"obs_ids": [1, 2], "datastore": "elsewhere", "required_irf": ["aeff"]},
    "datasets": {"type": "1d", "stack": False, "map_selection": ["counts"], "containment_correction": False},
    "flow": {
        "fan_in": 5,
        "exclude": [4],
        "group_by": "ZEN_PNT",
        "write_observations": False,
        "timeout": "2 h",
    },
    "general": {"outdir": "there", "n_jobs": 3},
}


@pytest.mark.parametrize(("section", "key"), [(s, k) for s, keys in CHANGES.items() for k in keys])
def test_canonical_form_sees_every_change(section, key):
    config = read(VALID)
    before = json.dumps(config.canonical())
    setattr(getattr(config, section), key, CHANGES[section][key])
    assert json.dumps(config.canonical()) != before


@given(value=st.floats(1e-3, 1e3))
def test_canonical_form_is_free_of_the_rounding_of_units(value):
    energies = [f"{value!r} TeV", f"{value * 1e3!r} GeV", u.Quantity(value * 1e6, "MeV")]
    forms = {
        GeomConfig(axes={"energy": {"min": energy, "max": "1e9 TeV"}}).canonical()["axes"]["energy"]["min"]
        for energy in energies
    }
    assert len(forms) == 1


def test_parameters_keep_their_text_and_lose_their_units_only_in_canonical_form():
    mask = SafeMaskConfig(
        parameters={"offset_max": 30 * u.arcmin, "position": SkyCoord(1, 2, unit="deg"), "aeff_percent": 5}
    )
    assert mask.to_dict()["parameters"]["offset_max"] == "30.0 arcmin"
    assert mask.canonical()["parameters"] == {
        "aeff_percent": 5.0,
        "offset_max": 0.5,
        "position": {"frame": "icrs", "lat": 2.0, "lon": 1.0},
    }
    assert SafeMaskConfig(**mask.to_dict()).canonical() == mask.canonical()


# --- flow


@pytest.mark.parametrize(
    ("allowed", "of", "expected"),
    [
        (0, 100, 0),
        (3, 10, 3),
        ("5%", 100, 5),
        ("7%", 100, 7),
        ("5%", 10, 0),
        ("12.5 %", 16, 2),
        ("100%", 7, 7),
    ],
)
def test_failures_allowed(allowed, of, expected):
    assert FlowConfig(allow_failed=allowed).failures_allowed(of) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [("4 GB", 4 * 10**9), ("512MiB", 512 * 2**20), ("1.5g", 15 * 10**8), ("100", 100), (None, None)],
)
def test_memory_limit(text, expected):
    assert FlowConfig(memory_limit=text).memory_bytes == expected


def test_group_by_may_be_a_column():
    assert FlowConfig(group_by="ZEN_PNT") == FlowConfig(group_by={"column": "ZEN_PNT"})


# --- files, update


def test_write_and_read(tmp_path, monkeypatch):
    monkeypatch.setenv("DATA", "/data")
    config = read(VALID)
    config.write(tmp_path / "config.yaml")
    again = AnalysisConfig.read(tmp_path / "config.yaml")
    assert again == config
    with pytest.raises(ConfigError, match="the file exists"):
        config.write(tmp_path / "config.yaml")
    config.write(tmp_path / "config.yaml", overwrite=True)
    assert again.path(again.observations.datastore) == Path("/data/store")


def test_reading_tells_the_file(tmp_path):
    file = tmp_path / "config.yaml"
    with pytest.raises(ConfigError, match=r"config\.yaml: cannot read it \(No such file"):
        AnalysisConfig.read(file)
    file.write_text("datasets: {tpye: 3d}")
    with pytest.raises(ConfigError, match=r"config\.yaml: unknown key 'datasets\.tpye'"):
        AnalysisConfig.read(file)
    file.write_text("datasets:\n\t type: 3d")
    with pytest.raises(ConfigError, match=r"config\.yaml, line 2"):
        AnalysisConfig.read(file)
    file.write_text("datasets: {type: 3d}")
    with pytest.raises(ConfigError, match=r"config\.yaml: datasets\.geom\.wcs\.skydir"):
        AnalysisConfig.read(file)
    assert AnalysisConfig.read(file, check=False).datasets.type == "3d"
    file.write_bytes(b"\xff\xfe\x81")
    with pytest.raises(ConfigError, match="not a text file"):
        AnalysisConfig.read(file)
    file.write_text("")
    assert AnalysisConfig.read(file, check=False) == AnalysisConfig()


def test_update_changes_what_is_given():
    config = read(VALID)
    updated = config.update("datasets: {geom: {wcs: {binsize: 0.1 deg}}}\nmetadata: {creator: me}")
    assert updated.datasets.geom.wcs.binsize.deg == 0.1
    assert updated.datasets.type == "3d"
    assert config.datasets.geom.wcs.binsize.deg == 0.02
    assert AnalysisConfig().update(config) == config
    assert config.update(AnalysisConfig()) == config


def test_configurations_do_not_share_their_defaults():
    one = AnalysisConfig()
    one.datasets.geom.wcs.binsize = "1 deg"
    one.observations.obs_ids.append(5)
    one.datasets.safe_mask.parameters["offset_max"] = "1 deg"
    assert AnalysisConfig() == read("")
    assert AnalysisConfig().datasets.geom.wcs.binsize.deg == 0.02
    assert AnalysisConfig().observations.obs_ids == []


def test_configurations_survive_pickling():
    config = read(VALID)
    again = pickle.loads(pickle.dumps(config))
    assert again == config
    assert again.to_yaml() == config.to_yaml()


def test_relative_paths_are_also_those_beside_the_file(tmp_path, monkeypatch):
    folder, elsewhere = tmp_path / "analysis", tmp_path / "elsewhere"
    folder.mkdir(), elsewhere.mkdir()
    (folder / "config.yaml").write_text(VALID)
    (folder / "mask.fits").touch()
    monkeypatch.chdir(elsewhere)
    config = AnalysisConfig.read(folder / "config.yaml")
    assert config.path("mask.fits") == folder / "mask.fits"
    absolute = config.with_absolute_paths()
    assert absolute.datasets.background.exclusion == str(folder / "mask.fits")
    assert absolute.observations.datastore == "$DATA/store"
    assert config.datasets.background.exclusion == "mask.fits"
    (elsewhere / "mask.fits").touch()
    assert config.path("mask.fits") == Path("mask.fits")  # the working directory first, as in Gammapy


def test_variables_in_paths(monkeypatch):
    monkeypatch.setenv("SOME_DATA", "/data/here")
    monkeypatch.delenv("NO_SUCH_DATA", raising=False)
    assert expand_path("$SOME_DATA/a") == Path("/data/here/a")
    assert expand_path("${SOME_DATA}2/a") == Path("/data/here2/a")
    assert expand_path("~/a") == Path.home() / "a"
    with pytest.raises(ConfigError, match="variable NO_SUCH_DATA is not set"):
        expand_path("$NO_SUCH_DATA/a")


def test_geometry_errors_pass_through():
    config = read(VALID)
    config.datasets.geom.wcs.binsize = "0.001 arcsec"
    with pytest.raises(GeometryError, match="Check width and binsz"):
        config.datasets.geom.to_geom()


def test_logging_is_set_up(monkeypatch):
    calls = []
    monkeypatch.setattr(logging, "basicConfig", lambda **settings: calls.append(settings))
    AnalysisConfig(general={"log": {"level": "debug", "format": "%(message)s"}}).set_logging()
    assert calls == [{"level": "DEBUG", "format": "%(message)s"}]


def test_quantities_in_yaml_keep_every_digit():
    value = float(np.nextafter(0.1, 1))
    config = read(f"datasets: {{geom: {{wcs: {{binsize: {value!r} deg}}}}}}")
    assert read(config.to_yaml()).datasets.geom.wcs.binsize.deg == value


def test_examples_of_the_docstrings_hold():
    assert doctest.testmod(gammaflow.config.analysis) == (0, 3)
