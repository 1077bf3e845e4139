"""The analyses that users copy: each has what a folder of ``workflow/`` must have, and its plan can be made."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from gammaflow import Analysis, AnalysisConfig, Models
from gammaflow.config import GroupByConfig
from tests.oracle import load_oracle

WORKFLOW = Path(__file__).resolve().parent.parent / "workflow"
FOLDERS = sorted(path for path in WORKFLOW.iterdir() if path.is_dir())
CONFIGS = {
    "galactic_centre/config_stacked.yaml": 3,
    "galactic_centre/config_joint.yaml": 3,
    "msh_15_52/config.yaml": 20,
    "crab_1d_reflected/config.yaml": 4,
    "pks2155_ring/config.yaml": 6,
}


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_a_folder_has_a_short_readme_and_configurations_that_it_names(folder: Path) -> None:
    text = (folder / "README.md").read_text()
    assert len(text.splitlines()) <= 15
    configs = sorted(folder.glob("config*.yaml"))
    assert configs or (folder / "datasets.yaml").exists()
    for config in configs:
        assert config.name in text
        AnalysisConfig.read(config)


def test_every_configuration_is_planned_below() -> None:
    found = {str(path.relative_to(WORKFLOW)) for path in WORKFLOW.glob("*/config*.yaml")}
    assert found == {*CONFIGS, "simulated_survey/config.yaml"}


@pytest.mark.parametrize("config", CONFIGS)
@pytest.mark.parametrize("where", ["in its folder", "elsewhere"])
def test_the_plan_of_real_data(
    gammapy_data: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, config: str, where: str
) -> None:
    path = WORKFLOW / config
    monkeypatch.chdir(path.parent if where == "in its folder" else tmp_path)
    diff = Analysis(path).plan()
    assert len(diff.to_do("reduce")) == CONFIGS[config]
    assert len(diff.to_do("finish")) == (0 if "joint" in config else 1)


@pytest.mark.parametrize(
    "name", ["galactic_centre", "msh_15_52", "simulated_survey", "crab_1d_reflected", "crab_joint"]
)
def test_the_models_of_a_folder_are_models_with_something_free(name: str) -> None:
    models = Models.read(WORKFLOW / name / "models.yaml")
    assert models.sky_models
    assert all(not model.frozen for model in models)
    assert "models.yaml" in (WORKFLOW / name / "README.md").read_text()


def test_the_survey_is_fitted_with_its_own_sources_which_start_off_their_places(tmp_path: Path) -> None:
    from gammaflow.data.simulation import simulate_survey

    truth = Models.read(simulate_survey(tmp_path / "survey", 1, seed=42, ontime=60.0).models)
    start = Models.read(WORKFLOW / "simulated_survey" / "models.yaml")
    assert start.names == truth.names
    for mine, theirs in zip(start, truth, strict=True):
        assert mine.parameter_names == theirs.parameter_names
        assert mine.spectral_model.amplitude.value != theirs.spectral_model.amplitude.value


def test_the_two_galactic_centres_differ_in_stacking_and_in_the_range_of_the_fit() -> None:
    """As in the tutorial: the stacked fit begins at 0.3 TeV, the joint one takes all energies."""
    stacked, joint = (
        AnalysisConfig.read(WORKFLOW / "galactic_centre" / f"config_{n}.yaml") for n in ("stacked", "joint")
    )
    assert (stacked.datasets.stack, joint.datasets.stack) == (True, False)
    assert str(stacked.fit.fit_range.min) == "0.3 TeV"
    assert joint.fit.fit_range.min is None
    joint.datasets.stack, joint.fit = True, stacked.fit
    assert stacked == joint


def test_the_galactic_centre_gives_the_tutorials_numbers(gammapy_data: Path, tmp_path: Path) -> None:
    reference = load_oracle("gc")["stacked_info"]
    analysis = Analysis(WORKFLOW / "galactic_centre" / "config_stacked.yaml", run=tmp_path / "run")
    summary = analysis.get_datasets()["stacked"].summary()
    assert summary.counts == reference["counts"] == 121241
    assert summary.background == pytest.approx(reference["background"], rel=1e-6)
    assert (summary.n_bins, summary.n_fit_bins) == (2_000_000, 1_411_180)
    assert f"{summary.exposure_min:.2e} {summary.exposure_max:.2e}" == "6.28e+07 1.90e+10"
    text = str(analysis.datasets["stacked"])
    assert re.search(r"Total counts +: 121241", text)
    assert re.search(r"Total background counts +: 108043\.52", text)


def test_the_crab_spectrum_gives_the_hands_ons_numbers(gammapy_data: Path, tmp_path: Path) -> None:
    analysis = Analysis(WORKFLOW / "crab_1d_reflected" / "config.yaml", run=tmp_path / "run")
    summary = analysis.get_datasets()["stacked"].summary()
    # Gammapy 2.1 on the same configuration
    assert (summary.counts, summary.counts_off, summary.n_bins, summary.n_fit_bins) == (389, 564, 15, 11)
    assert summary.background == pytest.approx(24.306913, rel=1e-6)
    assert summary.livetime == pytest.approx(6313.81165942)
    assert f"{summary.exposure_min:.4e} {summary.exposure_max:.4e}" == "4.8187e+07 2.6329e+09"


def test_the_ring_image_gives_the_numbers_of_the_reference(gammapy_data: Path, tmp_path: Path) -> None:
    oracle = load_oracle("hess_pks2155_ring")
    analysis = Analysis(WORKFLOW / "pks2155_ring" / "config.yaml", run=tmp_path / "run")
    stacked = analysis.get_datasets()["stacked"]
    assert [int(i) for i in stacked.observations["obs_id"]] == oracle["obs_ids"]
    assert stacked.array("counts").sum() == oracle["stacked"]["counts"]["sum"]
    for name in ("background", "counts_off", "acceptance_off"):
        total = float(getattr(stacked, name).values.sum(dtype=float))
        assert total == pytest.approx(oracle["stacked"][name]["sum"], rel=1e-6), name


@pytest.mark.parametrize(
    ("config", "stat", "source", "norms"),
    [("stacked", 180458.61, "gc-source", 1), ("joint", 748258.55, "source-joint", 3)],
)
def test_the_galactic_centre_is_fitted_as_in_the_tutorial(
    gammapy_data: Path, tmp_path: Path, config: str, stat: float, source: str, norms: int
) -> None:
    reference = load_oracle("gc")[f"{config}_fit"]["parameters"]
    folder = WORKFLOW / "galactic_centre"
    analysis = Analysis(folder / f"config_{config}.yaml", run=tmp_path / "run")
    analysis.execute()
    result = analysis.fit(folder / "models.yaml")
    assert result.converged
    assert abs(result.total_stat - stat) < 5
    assert sum("-bkg.spectral.norm" in name for name in result.names) == norms
    for name in ("index", "amplitude", "lambda_"):
        found = f"gc-source.spectral.{name}"
        # amplitudes in TeV-1 s-1 cm-2 here and there
        assert result.values[found] == pytest.approx(
            reference[f"{source}.{name}"]["value"], abs=0.15 * result.errors[found]
        )


@pytest.mark.slow
def test_groups_of_similar_zenith_angle_are_fitted_jointly(gammapy_data: Path, tmp_path: Path) -> None:
    """The compromise that Gammapy's documentation recommends: stack what is alike, and fit the groups together."""
    folder = WORKFLOW / "msh_15_52"
    config = AnalysisConfig.read(folder / "config.yaml")
    config.flow.group_by = GroupByConfig(column="zenith", bins=["36 deg", "36.5 deg", "37 deg", "45 deg"])
    analysis = Analysis(config, run=tmp_path / "run")
    groups = analysis.get_datasets()
    assert groups.names == ["zenith-36-36.5", "zenith-36.5-37", "zenith-37-45"]
    for group, (low, high) in zip(groups, ((36, 36.5), (36.5, 37), (37, 45)), strict=True):
        rows = group.observations["obs_id"]
        zenith = [
            analysis.data_store.obs_table["ZEN_PNT"][analysis.data_store.obs_table["OBS_ID"] == n][0]
            for n in rows
        ]
        assert (np.array(zenith) >= low).all()
        assert (np.array(zenith) < high).all()
    assert sum(len(group.observations) for group in groups) == 20
    whole = groups.stack_reduce()
    assert whole.summary().counts == sum(receipt.summary.counts for receipt in analysis.status().observations)
    by_group = analysis.fit(folder / "models.yaml")
    assert list(by_group.stat_per_dataset) == groups.names
    assert {name for name in by_group.names if "-bkg" in name} == {
        f"{n}-bkg.spectral.norm" for n in groups.names
    }
    by_run = analysis.fit(folder / "models.yaml", "joint")
    assert by_group.converged
    assert by_run.converged
    for name in by_group.names[:5]:  # the same events, with three norms and with twenty
        assert abs(by_group.values[name] - by_run.values[name]) < 0.5 * by_run.errors[name], name
        assert by_group.errors[name] == pytest.approx(by_run.errors[name], rel=0.1), name


def test_msh_15_52_takes_the_runs_of_the_reference() -> None:
    config = AnalysisConfig.read(WORKFLOW / "msh_15_52" / "config.yaml")
    assert config.observations.obs_ids == load_oracle("hess_msh_3d")["obs_ids"]


def test_the_simulated_survey_runs(tmp_path: Path) -> None:
    """The demo's configuration, on one observation: what the simulation writes is what it names."""
    from gammaflow.data.simulation import simulate_survey

    survey = simulate_survey(tmp_path / "survey", 1, seed=42, ontime=60.0)
    settings = {
        "observations": {"datastore": str(survey.folder)},
        "datasets": {
            "geom": {"wcs": {"binsize": "0.1 deg"}},
            "background": {"exclusion": str(survey.folder / "exclusion.fits")},
        },
    }
    config = AnalysisConfig.read(WORKFLOW / "simulated_survey" / "config.yaml").update(settings)
    assert Analysis(config, run=tmp_path / "run").get_datasets()["stacked"].summary().counts > 0


def test_the_workflow_is_the_analysis_that_the_simulation_writes(tmp_path: Path) -> None:
    from gammaflow.data.simulation import simulate_survey

    survey = simulate_survey(tmp_path / "survey", 1, seed=42, ontime=60.0)
    mine = AnalysisConfig.read(WORKFLOW / "simulated_survey" / "config.yaml")
    theirs = AnalysisConfig.read(survey.config)
    for config in (mine, theirs):
        config.observations.datastore = "survey"
        config.datasets.background.exclusion = "exclusion.fits"
    assert mine == theirs


@pytest.mark.cluster
def test_the_demo_simulates_runs_and_draws_and_finds_it_done_the_next_time(tmp_path: Path) -> None:
    demo = [
        sys.executable,
        str(WORKFLOW / "simulated_survey" / "demo.py"),
        str(tmp_path / "demo"),
        "--observations=2",
    ]
    first = subprocess.run(demo, capture_output=True, text=True, timeout=200, check=False)
    assert first.returncode == 0, first.stderr
    assert "2 workers; dashboard: http" in first.stderr
    assert "2 observations reduced" in first.stderr
    for name in ("counts", "background", "exposure", "excess", "residuals_stacked"):
        assert (tmp_path / "demo" / f"{name}.png").stat().st_size > 10_000
    compared = [line.split() for line in first.stdout.splitlines() if re.search(r" [+-]\d\.\d\d( |$)", line)]
    assert len(compared) == 35, "every free parameter of the seven sources"
    assert all(abs(float(pull)) < 4.5 for _name, _true, _found, _error, pull, *_unit in compared)
    again = subprocess.run(demo, capture_output=True, text=True, timeout=200, check=False)
    assert "2 observations reduced (2 of them before)" in again.stderr
    assert "gammaflow simulate" not in again.stderr
    assert again.stdout.splitlines()[-1] == first.stdout.splitlines()[-1]


@pytest.mark.slow
@pytest.mark.parametrize("options", [["--stack"], ["--workers", "2"]])
def test_three_instruments_are_fitted_together(
    gammapy_data: Path, tmp_path: Path, options: list[str]
) -> None:
    out = tmp_path / "fitted.yaml"
    command = [sys.executable, str(WORKFLOW / "crab_joint" / "fit.py"), "--out", str(out), *options]
    result = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert result.returncode == 0, result.stderr
    assert re.search(r"HAWC +5\.\d", result.stdout)
    found = Models.read(out)["Crab Nebula"].spectral_model
    expected = load_oracle("crab_joint")["joint_fit"]["parameters"]
    for parameter in ("alpha", "beta"):
        entry = expected[f"Crab Nebula.{parameter}"]
        value = getattr(found, parameter).value
        assert abs(value - entry["value"]) < 0.3 * getattr(found, parameter).error
