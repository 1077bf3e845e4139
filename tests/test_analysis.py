"""The Python face: Gammapy's steps and our own, with and without Dask."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import yaml
from distributed import Client, LocalCluster

import gammaflow
from gammaflow import Analysis, AnalysisConfig, Datasets, MapDataset
from gammaflow.dag.callbacks import History
from gammaflow.dag.events import RunFinished
from gammaflow.dag.fit_events import FitFinished
from gammaflow.errors import (
    ConfigError,
    MissingFileError,
    RunError,
    RunLockedError,
    RunMismatchError,
    TooManyFailuresError,
)
from tests import survey as small
from tests.survey import OBS_IDS, SPOILT
from tests.survey_models import FREE, make_survey, start_models, write_start_models


@pytest.fixture(scope="module")
def survey(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A whole survey: not to be changed."""
    return small.make_survey(tmp_path_factory.mktemp("survey"))


@pytest.fixture(scope="module")
def fit_survey(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same, with smaller pixels."""
    return make_survey(tmp_path_factory.mktemp("fits"))


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    with (
        LocalCluster(
            n_workers=2, threads_per_worker=1, processes=False, protocol="tcp://", dashboard_address=None
        ) as cluster,
        Client(cluster) as connected,
    ):
        yield connected


def digest_of(dataset: MapDataset) -> dict[str, bytes]:
    names = ("counts", "background", "exposure", "mask_safe", "psf", "edisp")
    return {name: np.ascontiguousarray(dataset.array(name)).tobytes() for name in names}


def test_the_steps_that_gammapys_users_know(survey: Path) -> None:
    config = AnalysisConfig.read(survey / "config.yaml")
    config.datasets.geom.selection.offset_max = "1.5 deg"
    analysis = Analysis(config)
    analysis.get_observations()
    assert [observation.obs_id for observation in analysis.observations] == list(OBS_IDS)
    assert analysis.observations[0].ontime == pytest.approx(60.0)
    analysis.get_datasets()
    stacked = analysis.datasets["stacked"]
    assert isinstance(stacked, MapDataset)
    assert stacked.counts.dims == ("energy", "y", "x")
    assert "Total counts" in str(stacked)
    assert int(stacked.counts.sum()) > 0


def test_the_steps_one_by_one(survey: Path, tmp_path: Path) -> None:
    analysis = Analysis(survey / "config.yaml", run=tmp_path / "run")
    assert {step.action for step in analysis.plan().steps} == {"run"}
    reduced = analysis.reduce()
    assert (reduced.done, reduced.reused) == (3, 0)
    with pytest.raises(RunError, match="no stacked dataset"):
        _ = analysis.stacked
    assert analysis.stack().done == 1
    assert {step.action for step in analysis.plan().steps} == {"reuse"}
    assert analysis.read_observation(SPOILT).name == f"obs-{SPOILT}"
    total = sum(int(analysis.read_observation(obs_id).summary().counts) for obs_id in OBS_IDS)
    assert analysis.stacked.summary().counts == total
    with pytest.raises(MissingFileError):
        analysis.read_observation(7)


def test_the_same_analysis_made_again_finds_what_is_done(survey: Path, tmp_path: Path) -> None:
    first = Analysis(survey / "config.yaml", run=tmp_path / "run").get_datasets()
    again = Analysis(survey / "config.yaml", run=tmp_path / "run")
    assert again.execute().tasks == 0
    assert digest_of(again.stacked) == digest_of(first[0])


def test_any_client_gives_the_same_bits_as_none(survey: Path, tmp_path: Path, client: Client) -> None:
    history = History()
    distributed = Analysis(survey / "config.yaml", client=client, run=tmp_path / "dask", callbacks=[history])
    serial = Analysis(survey / "config.yaml", run=tmp_path / "serial")
    assert digest_of(distributed.get_datasets()[0]) == digest_of(serial.get_datasets()[0])
    assert [event.status for event in history.of(RunFinished)] == ["done"]


def test_without_stacking_there_is_a_dataset_an_observation(survey: Path, tmp_path: Path) -> None:
    settings = yaml.safe_load((survey / "config.yaml").read_text())
    settings["datasets"]["stack"] = False
    analysis = Analysis(settings, run=tmp_path / "run")
    datasets = analysis.get_datasets()
    assert datasets.names == [f"obs-{obs_id}" for obs_id in OBS_IDS]
    with pytest.raises(RunError, match="no stacked dataset"):
        _ = analysis.stacked
    table = datasets.info_table()
    assert list(table["name"]) == datasets.names


def test_groups_are_stacked_apart(survey: Path, tmp_path: Path) -> None:
    config = AnalysisConfig.read(survey / "config.yaml").update({"flow": {"group_by": "OBS_ID"}})
    analysis = Analysis(config, run=tmp_path / "run")
    datasets = analysis.get_datasets()
    assert len(datasets) == 3
    with pytest.raises(RunError, match="3 stacked datasets"):
        _ = analysis.stacked


def test_datasets_are_written_and_read(survey: Path, tmp_path: Path) -> None:
    analysis = Analysis(survey / "config.yaml")
    with pytest.raises(ConfigError, match=r"general\.datasets_file"):
        analysis.write_datasets()
    written = analysis.get_datasets()
    analysis.write_datasets(tmp_path / "datasets")
    other = Analysis(survey / "config.yaml")
    read = other.read_datasets(tmp_path / "datasets")
    assert isinstance(read, Datasets)
    assert other.datasets is read
    assert digest_of(read["stacked"]) == digest_of(written["stacked"])
    with pytest.raises(ConfigError, match="no dataset"):
        other.read_datasets(tmp_path)


def test_the_configuration_kept_with_a_run_runs_it_from_anywhere(
    survey: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = small.copy_survey(survey, tmp_path)
    (folder / "config.yaml").write_text(small.CONFIG.format(store="survey", stack="true"))
    Analysis(folder / "config.yaml", run=folder / "run").execute()
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    again = Analysis(folder / "run" / "config.yaml", run=folder / "run")
    assert {step.action for step in again.plan().steps} == {"reuse"}


def test_the_run_folder_may_be_named_in_the_configuration(survey: Path, tmp_path: Path) -> None:
    config = AnalysisConfig.read(survey / "config.yaml").update({"flow": {"run": str(tmp_path / "named")}})
    Analysis(config).execute()
    assert (tmp_path / "named" / "stacked" / "stacked.zarr").is_dir()


def test_excluded_observations_are_left_out(survey: Path, tmp_path: Path) -> None:
    config = AnalysisConfig.read(survey / "config.yaml").update({"flow": {"exclude": [SPOILT]}})
    analysis = Analysis(config, run=tmp_path / "run")
    assert [observation.obs_id for observation in analysis.get_observations()] == [OBS_IDS[0], OBS_IDS[2]]
    assert analysis.execute().reduce.done == 2


def test_an_observation_that_the_hdu_index_lacks_is_set_aside_like_any_other(
    survey: Path, tmp_path: Path
) -> None:
    from astropy.io import fits
    from astropy.table import Table

    folder = small.copy_survey(survey, tmp_path)
    index = folder / "survey" / "hdu-index.fits.gz"
    table = Table.read(index)
    hdu = fits.table_to_hdu(table[table["OBS_ID"] != SPOILT])
    hdu.name = "HDU_INDEX"
    hdu.writeto(index, overwrite=True)
    analysis = Analysis(folder / "config.yaml", run=folder / "run")
    with pytest.raises(TooManyFailuresError, match=f"observation {SPOILT}"):
        analysis.execute()
    assert len(analysis.status().observations) == 2


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"datasets": {"background": {"method": "fov_background", "exclusion": "no.fits"}}}, "exclusion"),
        ({"observations": {"datastore": "/nowhere"}}, "observations.datastore"),
        ({"observations": {"obs_ids": [7]}}, "no observation 7"),
        ({"flow": {"exclude": list(OBS_IDS)}}, "no observation is selected"),
    ],
)
def test_what_the_configuration_names_must_be_there(survey: Path, settings: dict, message: str) -> None:
    config = AnalysisConfig.read(survey / "config.yaml").update(settings)
    with pytest.raises(ConfigError, match=message):
        Analysis(config).plan()


def test_a_folder_of_another_map_is_refused_and_can_be_discarded(survey: Path, tmp_path: Path) -> None:
    Analysis(survey / "config.yaml", run=tmp_path / "run").execute()
    config = AnalysisConfig.read(survey / "config.yaml")
    config.datasets.geom.wcs.binsize = "0.25 deg"
    other = Analysis(config, run=tmp_path / "run")
    with pytest.raises(RunMismatchError, match=r"datasets\.geom\.wcs\.binsize"):
        other.plan()
    other.discard()
    assert other.execute().reduce.done == 3


def test_a_folder_in_use_is_left_alone(survey: Path, tmp_path: Path) -> None:
    from gammaflow.dag.lock import RunLock

    analysis = Analysis(survey / "config.yaml", run=tmp_path / "run")
    analysis.execute()
    with RunLock(analysis.folder.lock):
        with pytest.raises(RunLockedError):
            analysis.discard()
        with pytest.raises(RunLockedError):
            analysis.execute()
    assert analysis.stacked.name == "stacked"


def test_the_public_names_are_there_and_nothing_is_imported_for_them() -> None:
    script = (
        "import sys, gammaflow; gammaflow.__version__; "
        "sys.exit(', '.join({'numpy', 'astropy', 'dask', 'matplotlib'} & set(sys.modules)) or 0)"
    )
    result = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False
    )
    assert result.returncode == 0, result.stderr
    assert sorted(gammaflow.__all__) == sorted(gammaflow._ROOM_OF)
    for name in gammaflow.__all__:
        assert getattr(gammaflow, name).__name__ == name
        assert name in dir(gammaflow)
        assert f"``{name}``" in gammaflow.__doc__
    with pytest.raises(AttributeError, match="has no attribute 'Analyses'"):
        _ = gammaflow.Analyses


# ------------------------------------------------------------------ fits


def test_a_fit_writes_to_the_models_it_was_given_and_to_the_run_folder(
    fit_survey: Path, tmp_path: Path
) -> None:
    analysis = Analysis(fit_survey / "config.yaml", run=tmp_path / "run")
    models = start_models(fit_survey)
    with pytest.raises(RunError, match="holds no run"):
        analysis.fit(models)
    analysis.execute()
    history = History()
    analysis.callbacks = (history,)
    result = analysis.fit(models, minos=True)
    assert result.converged
    assert result.models["point-power-law"] is models["point-power-law"]
    assert models["point-power-law"].spectral_model.index.value == result.values[FREE[0]] != 2.0
    assert models["point-power-law"].spectral_model.index.error == result.errors[FREE[0]] > 0
    assert "stacked-bkg" in result.models.names
    assert set(result.intervals) == set(FREE)
    assert result.folder == tmp_path / "run" / "fits" / "stacked"
    assert [event.status for event in history.of(FitFinished)] == ["converged"]
    assert str(result).startswith("FitResult")


def test_joint_fits_have_the_same_bits_with_any_client_and_with_none(
    fit_survey: Path, tmp_path: Path, client: Client
) -> None:
    analysis = Analysis(fit_survey / "config.yaml", run=tmp_path / "run")
    analysis.execute()
    serial = analysis.fit(start_models(fit_survey), "joint")
    analysis.client = client
    distributed = analysis.fit(start_models(fit_survey), "joint", name="on-workers")
    assert serial.values == distributed.values
    assert serial.errors == distributed.errors
    assert serial.total_stat == distributed.total_stat
    assert len(serial.stat_per_dataset) == 3
    stacked = analysis.fit(start_models(fit_survey), "stacked")
    for name in FREE:  # the same events, seen in two ways
        assert abs(stacked.values[name] - serial.values[name]) < serial.errors[name], name


def test_a_background_that_was_fitted_to_an_observation_stays_its_own(
    fit_survey: Path, tmp_path: Path
) -> None:
    settings = yaml.safe_load((fit_survey / "config.yaml").read_text())
    settings["datasets"]["background"] = {"method": "fov_background", "parameters": {"method": "scale"}}
    analysis = Analysis(settings, run=tmp_path / "run")
    analysis.execute()
    kept = [analysis.read_observation(obs_id).models for obs_id in OBS_IDS]
    result = analysis.fit(start_models(fit_survey), "joint")
    assert [model.name for model in kept] == result.models.names[-3:]
    assert result.converged


def test_the_models_may_be_named_in_the_configuration(fit_survey: Path, tmp_path: Path) -> None:
    write_start_models(fit_survey, tmp_path / "models.yaml")
    config = AnalysisConfig.read(fit_survey / "config.yaml").update(
        {"general": {"models_file": str(tmp_path / "models.yaml")}}
    )
    analysis = Analysis(config, run=tmp_path / "run")
    analysis.execute()
    assert analysis.fit(name="named").folder.name == "named"
    with pytest.raises(ConfigError, match=r"general\.models_file"):
        Analysis(fit_survey / "config.yaml").fit()


def test_a_fit_that_was_named_stays_and_one_without_a_name_is_made_anew(
    fit_survey: Path, tmp_path: Path
) -> None:
    analysis = Analysis(fit_survey / "config.yaml", run=tmp_path / "run")
    analysis.execute()
    for _ in range(2):
        assert analysis.fit(start_models(fit_survey)).folder.name == "stacked"
    assert analysis.fit(start_models(fit_survey), name="mine").folder.name == "mine"
    with pytest.raises(RunError, match="there is a fit 'mine' of these datasets already"):
        analysis.fit(start_models(fit_survey), name="mine")
    with pytest.raises(RunError, match="there is a fit 'stacked'"):
        analysis.fit(start_models(fit_survey), overwrite=False)
    replaced = analysis.fit(start_models(fit_survey), name="mine", backend="minuit", overwrite=True)
    assert replaced.record.backend == "minuit"


def test_groups_are_fitted_together_with_a_norm_each(fit_survey: Path, tmp_path: Path) -> None:
    config = AnalysisConfig.read(fit_survey / "config.yaml").update({"flow": {"group_by": "OBS_ID"}})
    analysis = Analysis(config, run=tmp_path / "run")
    analysis.execute()
    result = analysis.fit(start_models(fit_survey), "stacked")
    assert len(result.stat_per_dataset) == 3
    assert sum("-bkg.spectral.norm" in name for name in result.names) == 3


def test_models_are_set_and_fitted_as_gammapys_users_know(fit_survey: Path, tmp_path: Path) -> None:
    analysis = Analysis(fit_survey / "config.yaml", run=tmp_path / "run")
    with pytest.raises(RunError, match="holds no run"):
        analysis.set_models(start_models(fit_survey))
    analysis.get_datasets()
    with pytest.raises(ConfigError, match="no models are given"):
        analysis.run_fit()
    models = start_models(fit_survey)
    analysis.set_models(models.to_yaml())  # the text of a file
    stacked = analysis.datasets["stacked"]
    assert analysis.models.names == [*models.names, "stacked-bkg"]
    assert [model.name for model in stacked.sky_models] == models.names
    assert stacked.background_model is analysis.models["stacked-bkg"]
    assert analysis.run_fit() is analysis.fit_result
    assert analysis.fit_result.converged
    # the datasets' own models hold what was found: they predict it
    assert stacked.sky_models[0].parameters["index"].value == analysis.fit_result.values[FREE[0]]
    assert float(stacked.npred_signal().sum()) > 0
    assert stacked.stat_sum() == pytest.approx(analysis.fit_result.total_stat, rel=1e-6)
    analysis.write_models(tmp_path / "fitted.yaml")
    assert analysis.read_models(tmp_path / "fitted.yaml").names == analysis.models.names
    other = models[0].copy(name="other")
    analysis.set_models(other, extend=True)
    assert analysis.models.names[0] == "other"
    assert set(models.names) < set(analysis.models.names)
    analysis.set_models(other, extend=False)
    assert analysis.models.names == ["other", "stacked-bkg"]
