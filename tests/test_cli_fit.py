"""``gammaflow fit``, and what the other commands say about fits."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner, Result

from gammaflow.cli import main
from gammaflow.modeling import Models
from tests import survey as small
from tests.survey_models import (
    FREE,
    SOURCE,
    copy_survey,
    finer,
    make_survey,
    start_models,
    write_start_models,
)

NORMS = ["stacked-bkg.spectral.norm"]
JOINT_NORMS = [f"obs-{obs_id}-bkg.spectral.norm" for obs_id in small.OBS_IDS]


def call(*args: object) -> Result:
    """Run the command in this process."""
    return CliRunner().invoke(main, [str(arg) for arg in args])


@pytest.fixture(scope="module")
def survey(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A survey, its run and its models: not to be changed, but for new fits."""
    folder = make_survey(tmp_path_factory.mktemp("survey"))
    result = call("run", folder / "config.yaml", "--run", folder / "run", "--serial")
    assert result.exit_code == 0, result.stderr
    write_start_models(folder, folder / "models.yaml")
    return folder


@pytest.fixture
def own(survey: Path, tmp_path: Path) -> Path:
    """A survey of one's own, not yet run."""
    folder = copy_survey(survey, tmp_path)
    write_start_models(folder, folder / "models.yaml")
    return folder


def fit(folder: Path, *options: object) -> Result:
    return call("fit", folder / "run", "--models", folder / "models.yaml", *options)


def kept(folder: Path, name: str) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((folder / "run" / "fits" / name / "result.json").read_text())
    return content


# ------------------------------------------------------------------ what it leaves and says


@pytest.mark.parametrize("options", [("--name", "twice"), ("--joint",)])
def test_a_fit_of_the_same_name_stays_unless_it_is_to_be_replaced(
    own: Path, options: tuple[str, ...]
) -> None:
    assert call("run", own / "config.yaml", "--run", own / "run", "--serial").exit_code == 0
    name = "twice" if "--name" in options else "joint"
    assert fit(own, *options).exit_code == 0
    before = kept(own, name)
    refused = fit(own, *options, "--backend", "minuit")
    assert refused.exit_code == 1
    assert f"there is a fit '{name}' of these datasets already" in refused.stderr
    assert "--overwrite" in refused.stderr
    assert kept(own, name) == before
    assert fit(own, *options, "--backend", "minuit", "--overwrite").exit_code == 0
    assert kept(own, name)["backend"] == "minuit"


def test_a_covariance_that_is_too_large_for_a_file_is_told(
    survey: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gammaflow.dag.fit_record.MOST_IN_COVARIANCE_FILE", 3)
    result = fit(survey, "--name", "large")
    assert result.exit_code == 0
    assert "would make too large a file" in result.stderr
    content = kept(survey, "large")
    assert content["covariance_file"] == ""
    assert len(content["covariance"]["matrix"]) == len(FREE)
    assert not (survey / "run" / "fits" / "large" / "models_covariance.dat").exists()


def test_the_stacked_dataset_is_fitted_and_the_result_kept(survey: Path) -> None:
    result = fit(survey)
    assert result.exit_code == 0, result.stderr
    lines = result.stdout.splitlines()
    assert lines[0].split() == ["parameter", "value", "error", "unit"]
    assert [line.split()[0] for line in lines[1:-1]] == [*FREE, *NORMS]
    assert lines[-1].startswith("stacked: converged, statistic ")
    folder = survey / "run" / "fits" / "stacked"
    assert {path.name for path in folder.iterdir()} == {"models.yaml", "models_covariance.dat", "result.json"}

    content = kept(survey, "stacked")
    assert content["converged"]
    assert content["datasets"] == "stacked"
    assert content["total_stat"] == pytest.approx(sum(content["stat_per_dataset"].values()))
    assert content["inputs"]["stacked"]["group"] == "stacked/stacked.zarr"
    assert content["trips"] == len(content["trace"]) <= 15
    assert content["versions"]["numpy"]
    assert content["covariance"]["names"] == list(FREE)
    parameters = {p["name"]: p for p in content["parameters"]}
    assert {name for name, p in parameters.items() if not p["frozen"]} == {*FREE, *NORMS}
    amplitude = parameters[f"{SOURCE}.spectral.amplitude"]
    assert amplitude["unit"] == "TeV-1 s-1 cm-2"
    assert abs(amplitude["value"] - 8e-12) < 4 * amplitude["error"]
    assert parameters["stacked-bkg.spectral.norm"]["dataset"] == "stacked"
    assert parameters["stacked-bkg.spectral.tilt"]["frozen"]
    assert amplitude["minos"] is None


def test_the_models_are_kept_with_values_and_covariance(survey: Path) -> None:
    assert fit(survey, "--name", "kept").exit_code == 0
    content = kept(survey, "kept")
    models = Models.read(survey / "run" / "fits" / "kept" / "models.yaml")
    fitted = {p["name"]: p for p in content["parameters"]}
    values = dict(zip(models.parameter_names, models[SOURCE].parameters, strict=False))
    assert values
    for model in models:
        for name, parameter in zip(model.parameter_names, model.parameters, strict=True):
            found = fitted[f"{model.name}.{name}"]
            assert parameter.value == pytest.approx(found["value"], rel=1e-12)
            if not found["frozen"]:
                assert parameter.error == pytest.approx(found["error"], rel=1e-6)
    row = models.covariance.data[models[SOURCE].parameters.names.index("index")]
    assert row.any()


def test_observations_are_fitted_jointly_with_a_norm_each(survey: Path) -> None:
    result = fit(survey, "--joint", "--minos", "--json")
    assert result.exit_code == 0, result.stderr
    content = json.loads(result.stdout)
    assert content == kept(survey, "joint")
    assert list(content["stat_per_dataset"]) == [f"obs-{obs_id}" for obs_id in small.OBS_IDS]
    free = {p["name"]: p for p in content["parameters"] if not p["frozen"]}
    assert sorted(free) == sorted([*FREE, *JOINT_NORMS])
    for name in FREE:
        minos = free[name]["minos"]
        assert minos["success"], minos
        assert 0.5 < minos["errp"] / free[name]["error"] < 2.0
        assert 0.5 < minos["errn"] / free[name]["error"] < 2.0


def test_the_minuit_backend_agrees(survey: Path) -> None:
    for backend in ("newton", "minuit"):
        result = fit(survey, "--backend", backend, "--name", backend)
        assert result.exit_code == 0, result.stderr
    newton, minuit = (
        {p["name"]: p for p in kept(survey, name)["parameters"]} for name in ("newton", "minuit")
    )
    for name in FREE:
        assert minuit[name]["value"] == pytest.approx(newton[name]["value"], abs=0.05 * newton[name]["error"])


@pytest.mark.cluster
def test_workers_give_the_same_numbers(survey: Path) -> None:
    serial = fit(survey, "--joint", "--name", "here", "--serial")
    workers = fit(survey, "--joint", "--name", "there", "--workers", "2")
    assert (serial.exit_code, workers.exit_code) == (0, 0), workers.stderr
    assert "on 2 worker threads" in workers.stderr
    here, there = kept(survey, "here"), kept(survey, "there")
    for key in ("parameters", "total_stat", "stat_per_dataset", "covariance", "trips"):
        assert here[key] == there[key], key


def test_the_fit_range_of_the_configuration_counts(own: Path) -> None:
    models = start_models(own)
    models.freeze()
    models[SOURCE].spectral_model.amplitude.frozen = False  # few counts are left for more
    models.write(own / "models.yaml", overwrite=True, write_covariance=False)
    config = own / "config.yaml"
    config.write_text(config.read_text() + "fit:\n    fit_range: {max: 10 TeV}\n")
    result = call("run", config, "--run", own / "run", "--serial", "--models", own / "models.yaml")
    assert result.exit_code == 0, result.stderr
    assert "stacked: converged, statistic " in result.stdout
    content = kept(own, "stacked")
    assert content["energy_range"] == [None, 10.0]
    assert fit(own, "--joint").exit_code == 0
    whole = own / "whole.yaml"
    whole.write_text(config.read_text().partition("fit:\n")[0])
    assert call("run", whole, "--run", own / "run", "--serial").exit_code == 0
    assert fit(own, "--name", "whole").exit_code == 0
    assert kept(own, "whole")["energy_range"] == [None, None]
    # the bins that are left out would have had their say
    assert kept(own, "whole")["total_stat"] > content["total_stat"] + 10


# ------------------------------------------------------------------ show and status


def test_show_and_status_list_the_fits(own: Path) -> None:
    assert call("run", own / "config.yaml", "--run", own / "run", "--serial").exit_code == 0
    assert json.loads(call("show", own / "run", "--json").stdout)["fits"] == []
    assert fit(own).exit_code == 0
    assert fit(own, "--joint", "--name", "all-together").exit_code == 0
    for command in ("show", "status"):
        fits = json.loads(call(command, own / "run", "--json").stdout)["fits"]
        assert [entry["name"] for entry in fits] == ["all-together", "stacked"]
        assert all(entry["converged"] and entry["current"] for entry in fits)
        assert fits[1]["folder"] == "fits/stacked"
        assert {p["name"] for p in fits[1]["parameters"]} >= set(FREE)
        said = call(command, own / "run").stdout
        assert "fit stacked: converged, statistic " in said
        assert "fit all-together: converged, statistic " in said
    assert FREE[0] in call("show", own / "run").stdout


def test_a_fit_of_datasets_that_have_changed_is_marked(own: Path) -> None:
    assert call("run", own / "config.yaml", "--run", own / "run", "--serial").exit_code == 0
    assert fit(own).exit_code == 0
    config = own / "config.yaml"
    config.write_text(
        config.read_text().replace("parameters: {offset_max: 2 deg}", "parameters: {offset_max: 1 deg}")
    )
    assert call("run", config, "--run", own / "run", "--serial").exit_code == 0
    (entry,) = json.loads(call("show", own / "run", "--json").stdout)["fits"]
    assert not entry["current"]
    assert "the datasets have changed since" in call("show", own / "run").stdout
    assert fit(own).exit_code == 0
    (entry,) = json.loads(call("show", own / "run", "--json").stdout)["fits"]
    assert entry["current"]


def test_figures_show_what_a_fit_has_left(own: Path) -> None:
    run = call("run", own / "config.yaml", "--run", own / "run", "--serial", "--models", own / "models.yaml")
    assert run.exit_code == 0, run.stderr
    assert call("show", own / "run", "--figures", own / "figures").exit_code == 0
    assert (own / "figures" / "residuals_stacked.png").stat().st_size > 10_000


def test_overwrite_discards_the_fits_too(own: Path) -> None:
    models = ("--models", own / "models.yaml")
    assert call("run", own / "config.yaml", "--run", own / "run", "--serial", *models).exit_code == 0
    assert (own / "run" / "fits" / "stacked").is_dir()
    assert call("run", own / "config.yaml", "--run", own / "run", "--serial", "--overwrite").exit_code == 0
    assert not (own / "run" / "fits").exists()


# ------------------------------------------------------------------ when something is wrong


def spoilt(survey: Path, path: Path, change: Any) -> Path:
    """A models file, changed as YAML."""
    content = yaml.safe_load(write_start_models(survey, path).read_text())
    change(content["components"])
    path.write_text(yaml.safe_dump(content))
    return path


def unknown_type(components: list[dict[str, Any]]) -> None:
    components[0]["spectral"]["type"] = "PowerLow"


def unknown_dataset(components: list[dict[str, Any]]) -> None:
    components[0]["datasets_names"] = ["stackd"]


def elsewhere(components: list[dict[str, Any]]) -> None:
    lat = next(p for p in components[0]["spatial"]["parameters"] if p["name"] == "lat_0")
    lat["value"] = 40.0


@pytest.mark.parametrize(
    ("change", "status", "message"),
    [
        (unknown_type, 2, "PowerLow"),
        (unknown_dataset, 1, "Did you mean 'stacked'?"),
        (elsewhere, 1, "outside every dataset"),
    ],
)
def test_models_that_are_wrong_are_refused_in_words(
    survey: Path, tmp_path: Path, change: Any, status: int, message: str
) -> None:
    models = spoilt(survey, tmp_path / "wrong.yaml", change)
    result = call("fit", survey / "run", "--models", models, "--name", "wrong")
    assert result.exit_code == status, result.stderr
    assert message in result.stderr
    assert "Traceback" not in result.stderr
    assert not (survey / "run" / "fits" / "wrong").exists()


@pytest.mark.parametrize(
    ("options", "status", "message"),
    [
        (["--models", "/nowhere/models.yaml"], 2, "/nowhere/models.yaml"),
        ([], 2, "general.models_file"),
        (["--models", "{}", "--name", "../up"], 2, "cannot be the name of a fit"),
        (["--models", "{}", "--serial", "--workers", "2"], 2, "exclude each other"),
        (["--models", "{}", "--backend", "simplex"], 2, "simplex"),
    ],
)
def test_a_wrong_call_is_refused_in_words(
    survey: Path, options: list[str], status: int, message: str
) -> None:
    options = [option.replace("{}", str(survey / "models.yaml")) for option in options]
    result = call("fit", survey / "run", *options)
    assert result.exit_code == status
    assert message in result.stderr


def test_a_run_with_wrong_models_does_not_begin(own: Path) -> None:
    result = call("run", own / "config.yaml", "--run", own / "run", "--serial", "--models", own / "no.yaml")
    assert result.exit_code == 2
    assert "no.yaml" in result.stderr
    assert not (own / "run" / "observations").exists()


def test_nothing_can_be_fitted_before_it_is_there(own: Path, tmp_path: Path) -> None:
    from gammaflow import Analysis

    empty = call("fit", tmp_path, "--models", own / "models.yaml")
    assert (empty.exit_code, "holds no run" in empty.stderr) == (1, True)
    Analysis(own / "config.yaml", run=own / "run").reduce()
    result = fit(own)
    assert result.exit_code == 1
    assert "nothing is stacked yet" in result.stderr
    assert "gammaflow run" in result.stderr


def test_a_run_that_does_not_stack_is_fitted_jointly(own: Path) -> None:
    small.write_config(own, own / "survey", stack=False)
    finer(own)
    assert call("run", own / "config.yaml", "--run", own / "run", "--serial").exit_code == 0
    refused = fit(own, "--stacked")
    assert refused.exit_code == 1
    assert "--joint" in refused.stderr
    assert fit(own).exit_code == 0
    assert kept(own, "joint")["datasets"] == "joint"


def test_a_fit_that_does_not_converge_has_a_status_of_its_own(survey: Path, tmp_path: Path) -> None:
    models = start_models(survey)
    twin = models[SOURCE].copy(name="twin")
    models[SOURCE].spatial_model.freeze()
    twin.spatial_model.freeze()
    twin.spectral_model.index.frozen = models[SOURCE].spectral_model.index.frozen = True
    Models([*models, twin]).write(tmp_path / "twins.yaml", write_covariance=False)
    result = call("fit", survey / "run", "--models", tmp_path / "twins.yaml", "--name", "twins")
    assert result.exit_code == 4, result.stderr
    assert "The fit did not converge" in result.stderr
    assert "twin.spectral.amplitude" in result.stderr
    content = kept(survey, "twins")
    assert not content["converged"]
    assert sorted(content["degenerate"][0]) == [f"{SOURCE}.spectral.amplitude", "twin.spectral.amplitude"]
