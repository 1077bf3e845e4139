"""Runs in groups of similar conditions, from the command line: what is written, said, resumed and fitted."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from tests.survey_models import make_survey, write_start_models
from tests.test_cli_fit import call

NAMES = ["obs_id-100001-100003", "obs_id-100003-100004"]


@pytest.fixture(scope="module")
def grouped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A survey of three observations in two groups, its run and its models."""
    folder = make_survey(tmp_path_factory.mktemp("groups"))
    config = yaml.safe_load((folder / "config.yaml").read_text())
    config["flow"] = {"group_by": {"column": "OBS_ID", "bins": [100001, 100003, 100004]}}
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    result = call("run", folder / "config.yaml", "--run", folder / "run", "--serial")
    assert result.exit_code == 0, result.stderr
    for name in NAMES:
        assert name in result.stdout
    write_start_models(folder, folder / "models.yaml")
    return folder


def test_each_group_has_a_file_of_its_name(grouped: Path) -> None:
    assert sorted(path.name for path in (grouped / "run" / "stacked").glob("*.zarr")) == [
        f"{name}.zarr" for name in NAMES
    ]


def test_show_and_status_tell_of_the_groups(grouped: Path) -> None:
    shown = call("show", grouped / "run")
    assert shown.exit_code == 0
    rows = [line.split()[0] for line in shown.stdout.splitlines() if line.strip()]
    assert rows[-2:] == NAMES
    content = json.loads(call("show", grouped / "run", "--json").stdout)
    assert [group["name"] for group in content["groups"]] == NAMES
    assert content["stacked"] is None
    counts = sum(entry["counts"] for entry in content["observations"])
    assert sum(group["counts"] for group in content["groups"]) == counts
    status = call("status", grouped / "run")
    assert status.stdout.splitlines()[0].endswith(": done")
    assert any(line.split()[:3] == ["finish", "2", "2"] for line in status.stdout.splitlines())


def test_nothing_is_done_the_next_time(grouped: Path) -> None:
    again = call("run", grouped / "config.yaml", "--run", grouped / "run", "--serial")
    assert again.exit_code == 0
    assert "3 observations reduced (3 of them before)" in again.stderr
    plan = call("plan", grouped / "config.yaml", "--run", grouped / "run")
    assert plan.exit_code == 0
    assert "finish" in plan.stdout


def test_the_groups_are_fitted_jointly_with_a_norm_each(grouped: Path) -> None:
    result = call("fit", grouped / "run", "--models", grouped / "models.yaml", "--json", "--name", "groups")
    assert result.exit_code == 0, result.stderr
    record = json.loads(result.stdout)
    assert list(record["stat_per_dataset"]) == NAMES
    assert record["converged"]
    norms = [p["name"] for p in record["parameters"] if p["name"].endswith("-bkg.spectral.norm")]
    assert norms == [f"{name}-bkg.spectral.norm" for name in NAMES]
    assert "fit groups: converged" in call("status", grouped / "run").stdout


def test_bins_that_leave_an_observation_out_are_refused(grouped: Path, tmp_path: Path) -> None:
    config = yaml.safe_load((grouped / "config.yaml").read_text())
    config["flow"] = {"group_by": {"column": "zenith", "bins": ["80 deg", "90 deg"]}}
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
    result = call("run", tmp_path / "config.yaml", "--run", tmp_path / "run", "--serial")
    assert result.exit_code == 2
    assert "3 observations have no group: 100001" in result.stderr
