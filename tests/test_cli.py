"""The command line: what it prints, how it exits, and how a second run finishes what the first could not."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from click.testing import CliRunner, Result

from gammaflow.cli import main
from tests import survey as small
from tests.survey import OBS_IDS, SPOILT

FIELDS = [
    *("name", "counts", "background", "excess", "exposure_min", "exposure_max"),
    *("livetime", "ontime", "n_bins", "n_fit_bins"),
]


def call(*args: object) -> Result:
    """Run the command in this process."""
    return CliRunner().invoke(main, [str(arg) for arg in args])


def run(folder: Path, *options: str) -> Result:
    return call("run", folder / "config.yaml", "--run", folder / "run", *(options or ("--serial",)))


def shown(folder: Path) -> dict[str, Any]:
    result = call("show", folder / "run", "--json")
    assert result.exit_code == 0, result.stderr
    content: dict[str, Any] = json.loads(result.stdout)
    return content


@pytest.fixture(scope="session")
def survey(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A whole survey: not to be changed."""
    return small.make_survey(tmp_path_factory.mktemp("survey"))


@pytest.fixture(scope="session")
def done(survey: Path) -> Path:
    """The same, run: not to be changed."""
    result = run(survey)
    assert result.exit_code == 0, result.stderr
    return survey


@pytest.fixture
def own(survey: Path, tmp_path: Path) -> Path:
    """A survey of one's own."""
    return small.copy_survey(survey, tmp_path)


# ------------------------------------------------------------------ what it prints


def test_help_comes_without_the_weight_of_the_package() -> None:
    script = (
        "import sys; from gammaflow.cli import main; main(['--help'], standalone_mode=False); "
        "sys.exit(', '.join({'numpy', 'astropy', 'dask', 'xarray', 'rich', 'pydantic'} & set(sys.modules)) or 0)"
    )
    result = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False
    )
    assert result.returncode == 0, result.stderr
    for command in ("run", "plan", "status", "show", "fit", "simulate"):
        assert f"\n  {command} " in result.stdout


def test_version_is_that_of_the_distribution() -> None:
    from importlib.metadata import version

    assert call("--version").stdout.strip() == f"gammaflow, version {version('gammaflow-survey')}"


def test_a_run_prints_the_sums_and_show_every_dataset(done: Path) -> None:
    again = run(done)
    assert again.exit_code == 0
    assert "3 observations reduced (3 of them before)" in again.stderr
    assert again.stdout.splitlines()[1].startswith("stacked ")
    lines = call("show", done / "run").stdout.splitlines()
    assert "exposure min [m² s]" in lines[0]
    assert [line.split()[0] for line in lines[1:]] == ["obs-100001", "obs-100002", "obs-100003", "stacked"]


def test_show_gives_scripts_the_fields_they_need(done: Path) -> None:
    content = shown(done)
    assert set(content) == {"observations", "stacked", "failed", "fits"}
    assert content["failed"] == []
    rows = [*content["observations"], content["stacked"]]
    assert [row["name"] for row in rows] == ["obs-100001", "obs-100002", "obs-100003", "stacked"]
    for row in rows:
        assert list(row) == FIELDS
        assert isinstance(row["counts"], int)
        assert row["excess"] == pytest.approx(row["counts"] - row["background"], abs=1e-9)
        assert 0 < row["exposure_min"] < row["exposure_max"]
        assert 0 < row["livetime"] < row["ontime"]
        assert 0 < row["n_fit_bins"] < row["n_bins"]
    for field in ("counts", "background", "excess", "ontime"):
        assert sum(row[field] for row in rows[:-1]) == pytest.approx(rows[-1][field], rel=1e-6)


def test_sums_of_observations_are_those_of_the_stack_with_a_fitted_background(own: Path) -> None:
    """The excess is what is left after the norm is applied, in each observation as in the stack."""
    background = "    background: {method: fov_background, parameters: {method: scale}}\n"
    small.write_config(own, own / "survey", more=background)
    result = run(own)
    assert result.exit_code == 0, result.stderr
    content = shown(own)
    assert sum(row["excess"] for row in content["observations"]) == pytest.approx(
        content["stacked"]["excess"], abs=1e-3
    )
    for row in content["observations"]:
        assert row["excess"] == pytest.approx(row["counts"] - row["background"], abs=1e-9)


def test_status_tells_the_stages(done: Path) -> None:
    content = json.loads(call("status", done / "run", "--json").stdout)
    assert content["state"] == "done"
    assert content["stages"]["reduce"] == {"total": 3, "done": 3, "running": [], "failed": []}
    text = call("status", done / "run").stdout.splitlines()
    assert text[0].endswith("run: done")
    assert ["reduce", "3", "3", "0", "0"] in [line.split() for line in text]


def test_plan_tells_what_would_run_and_writes_nothing(survey: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    result = call("plan", survey / "config.yaml", "--run", folder, "--json")
    assert json.loads(result.stdout)["stages"]["reduce"] == {"run": 3, "reuse": 0, "redo": 0}
    assert not folder.exists()
    assert call("plan", survey / "config.yaml").stdout.splitlines()[1].split() == ["reduce", "3", "0", "0"]


def test_plan_tells_what_a_change_of_the_configuration_redoes(done: Path, tmp_path: Path) -> None:
    config = tmp_path / "changed.yaml"
    config.write_text(
        (done / "config.yaml").read_text().replace("[aeff-default, offset-max]", "[aeff-default]")
    )
    result = call("plan", config, "--run", done / "run")
    assert ["reduce", "0", "3", "0"] in [line.split() for line in result.stdout.splitlines()]
    assert "datasets.safe_mask changed" in result.stdout


def test_plan_draws_the_dag(done: Path, tmp_path: Path) -> None:
    dot, svg = tmp_path / "plan.dot", tmp_path / "plan.svg"
    assert call("plan", done / "config.yaml", "--dot", dot, "--svg", svg).exit_code == 0
    assert dot.read_text().count("->") == 3
    texts = [element.text for element in ElementTree.parse(svg).iter("{http://www.w3.org/2000/svg}text")]
    assert {f"observation {obs_id}" for obs_id in OBS_IDS} <= set(texts)


def test_plan_warns_of_files_that_are_not_there(own: Path) -> None:
    small.remove(own / "survey")
    result = call("plan", own / "config.yaml")
    assert result.exit_code == 0
    assert f"observation {SPOILT}: {small.events_file(own / 'survey')}" in result.stdout


def test_show_draws_the_stacked_maps(done: Path, tmp_path: Path) -> None:
    result = call("show", done / "run", "--figures", tmp_path / "figures")
    assert result.exit_code == 0, result.stderr
    names = {"counts", "background", "exposure", "excess", "significance", "overview"}
    assert {path.stem for path in (tmp_path / "figures").glob("*.png")} == names


def test_without_stacking_there_are_observations_only(survey: Path, tmp_path: Path) -> None:
    small.write_config(tmp_path, survey / "survey", stack=False)
    assert run(tmp_path).exit_code == 0
    content = shown(tmp_path)
    assert len(content["observations"]) == 3
    assert content["stacked"] is None
    result = call("show", tmp_path / "run", "--figures", tmp_path / "figures")
    assert result.exit_code == 1
    assert "nothing is stacked" in result.stderr


def test_simulate_writes_a_store_that_runs(tmp_path: Path) -> None:
    result = call("simulate", tmp_path / "survey", "--observations", 1, "--seed", 3, "--ontime", 30)
    assert result.exit_code == 0, result.stderr
    assert result.stdout.startswith("1 observations, ")
    small.write_config(tmp_path, tmp_path / "survey")
    assert run(tmp_path).exit_code == 0
    again = call("simulate", tmp_path / "survey", "--observations", 1)
    assert again.exit_code == 2
    assert "there is already a data store" in again.stderr


# ------------------------------------------------------------------ wrong usage, wrong configuration


def test_an_unknown_key_is_refused_with_the_nearest_named(own: Path) -> None:
    config = own / "config.yaml"
    config.write_text(config.read_text().replace("binsize:", "binsise:", 1))
    result = run(own)
    assert result.exit_code == 2
    assert (
        "unknown key 'datasets.geom.wcs.binsise'; did you mean 'datasets.geom.wcs.binsize'?" in result.stderr
    )
    assert not (own / "run").exists()


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["run", "nowhere.yaml", "--run", "r"], "nowhere.yaml"),
        (["run", "{config}"], "--run DIR"),
        (["run", "{config}", "--run", "r", "--serial", "--workers", "2"], "exclude each other"),
        (["run", "{config}", "--run", "r", "--workers", "0"], "--workers"),
        (
            ["run", "{config}", "--run", "r", "--serial", "--allow-failed", "some"],
            "allow_failed: found 'some'",
        ),
        (["run", "{config}", "--run", "r", "--parallel"], "--parallel"),
        (["runn"], "runn"),
        (["plan", "{syntax}"], "syntax.yaml, line 3"),
        (["plan", "{no_store}"], "observations.datastore"),
        (["plan", "{no_variable}"], "NOT_SET_ANYWHERE"),
        (["plan", "{no_observation}"], "no observation 7"),
        (["simulate", "s", "--observations", "0"], "number of observations"),
    ],
    ids=lambda value: " ".join(value[:2] + value[4:]) if isinstance(value, list) else "",
)
def test_wrong_usage_exits_with_2(
    survey: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, args: list[str], message: str
) -> None:
    right = (survey / "config.yaml").read_text()
    store = f"datastore: {survey / 'survey'}"
    configs = {
        "config": right,
        "syntax": "datasets:\n  type: [3d\n",
        "no_store": right.replace(store, f"datastore: {tmp_path / 'nothing'}"),
        "no_variable": right.replace(store, "datastore: $NOT_SET_ANYWHERE/store"),
        "no_observation": right.replace(store, f"{store}\n    obs_ids: [7]"),
    }
    files = {name: tmp_path / f"{name}.yaml" for name in configs}
    for name, text in configs.items():
        files[name].write_text(text)
    monkeypatch.chdir(tmp_path)
    result = call(*(arg.format(**files) for arg in args))
    assert result.exit_code == 2, (result.stdout, result.stderr)
    assert message in result.stderr
    assert "Traceback" not in result.stderr


def test_a_run_folder_of_another_configuration_is_refused(own: Path) -> None:
    assert run(own).exit_code == 0
    config = own / "config.yaml"
    config.write_text(config.read_text().replace("binsize: 0.2 deg", "binsize: 0.25 deg"))
    result = run(own)
    assert result.exit_code == 2
    assert "belongs to another configuration" in result.stderr
    assert (
        "datasets.geom.wcs.binsize: 0.2 deg in the run folder, 0.25 deg in the configuration" in result.stderr
    )
    assert run(own, "--serial", "--overwrite").exit_code == 0
    assert shown(own)["stacked"]["n_bins"] == 3 * 16 * 24


@pytest.mark.parametrize("options", [[], ["--overwrite"]])
def test_the_users_own_configuration_is_never_written_over(own: Path, options: list[str]) -> None:
    """``--run .`` beside the configuration: a run keeps a config.yaml of its own."""
    text = (own / "config.yaml").read_text()
    result = call("run", own / "config.yaml", "--run", own, "--serial", *options)
    assert result.exit_code == 2
    assert "Give the run a folder of its own" in result.stderr
    assert (own / "config.yaml").read_text() == text
    assert not (own / "observations").exists()


def test_a_run_continues_from_its_own_configuration(own: Path) -> None:
    assert run(own).exit_code == 0
    again = call("run", own / "run" / "config.yaml", "--run", own / "run")
    assert again.exit_code == 0, again.stderr
    assert "(3 of them before)" in again.stderr
    (own / "run" / "plan.json").unlink()  # killed between the two
    assert run(own).exit_code == 0


@pytest.mark.parametrize("command", ["status", "show"])
def test_a_folder_without_a_run_is_an_error(tmp_path: Path, command: str) -> None:
    result = call(command, tmp_path)
    assert result.exit_code == 1
    assert "holds no run" in result.stderr


def test_verbose_shows_where_an_error_comes_from(tmp_path: Path) -> None:
    for args in (["-v", "status", str(tmp_path)], ["status", "-v", str(tmp_path)]):
        result = call(*args)
        assert result.exit_code == 1
        assert "Traceback" in result.stderr
        assert "holds no run" in result.stderr


def test_verbose_shows_where_an_observation_failed(own: Path) -> None:
    small.truncate(own / "survey")
    result = run(own, "--serial", "-v")
    assert result.exit_code == 3
    assert f"observation {SPOILT}:\nTraceback" in result.stderr
    assert "gammaflow.errors.CorruptFileError: " in result.stderr


# ------------------------------------------------------------------ spoilt observations

FAULTS: dict[str, tuple[Callable[[Path], None], str, str]] = {
    "truncated": (small.truncate, "CorruptFileError", "truncated"),
    "missing file": (small.remove, "MissingFileError", "no such file"),
    "missing HDU": (small.lose_hdu, "MissingHduError", "EVENTS"),
    "wrong unit": (small.wrong_unit, "UnitError", "'m'"),
    "no good time": (small.no_good_time, "NoGtiError", "no rows"),
    "outside the map": (small.point_elsewhere, "NoOverlapError", "does not touch the map"),
    "NaN in a response": (small.nan_response, "InvalidResponseError", "not finite"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_spoilt_observation_is_set_aside_and_a_second_run_finishes(
    own: Path, done: Path, fault: str
) -> None:
    spoil, error, message = FAULTS[fault]
    spoil(own / "survey")
    result = run(own)
    assert result.exit_code == 3
    assert "1 of 3 observations could not be reduced" in result.stderr
    told = result.stderr.partition("Error: ")[2].splitlines()
    entry = next(place for place, line in enumerate(told) if line.startswith(f"  observation {SPOILT}: "))
    assert message in told[entry]
    assert error in told[entry]
    assert told[entry + 1].startswith("      "), "what to do about it"
    assert f"flow: {{exclude: [{SPOILT}]}}" in result.stderr
    assert "Traceback" not in result.stderr

    standing = json.loads(call("status", own / "run", "--json").stdout)
    assert standing["state"] == "failed"
    assert standing["stages"]["reduce"]["done"] == 2
    content = shown(own)
    assert [row["name"] for row in content["observations"]] == ["obs-100001", "obs-100003"]
    assert content["stacked"] is None
    assert [(record["name"], record["error"]) for record in content["failed"]] == [(str(SPOILT), error)]

    shutil.rmtree(own / "survey")
    shutil.copytree(
        done / "survey", own / "survey"
    )  # with the times of the files, which are part of the keys
    again = run(own)
    assert again.exit_code == 0, again.stderr
    assert "3 observations reduced (2 of them before)" in again.stderr
    assert shown(own)["stacked"] == shown(done)["stacked"]
    assert shown(own)["failed"] == []


def test_so_many_failures_as_allowed_are_left_out_by_name(own: Path, done: Path) -> None:
    small.truncate(own / "survey")
    result = run(own, "--serial", "--allow-failed", "1")
    assert result.exit_code == 0, result.stderr
    assert "1 observations were set aside, as allowed:" in result.stderr
    assert f"  observation {SPOILT}: " in result.stderr
    content = shown(own)
    rows = {row["name"]: row for row in shown(done)["observations"]}
    assert content["stacked"]["counts"] == rows["obs-100001"]["counts"] + rows["obs-100003"]["counts"]
    assert [record["name"] for record in content["failed"]] == [str(SPOILT)]


def test_an_observation_without_events_is_told_and_counts_with_its_exposure(own: Path, done: Path) -> None:
    small.no_events(own / "survey")
    result = run(own)
    assert result.exit_code == 0, result.stderr
    assert f"observation {SPOILT} has no events" in result.stderr
    assert f"observation {SPOILT} has no events" in call("status", own / "run").stdout
    assert json.loads(call("status", own / "run", "--json").stdout)["warnings"].keys() == {str(SPOILT)}
    empty, full = shown(own), shown(done)
    assert empty["observations"][1]["counts"] == 0
    assert empty["stacked"]["exposure_max"] == full["stacked"]["exposure_max"]


def test_a_response_file_that_all_share_spoils_all(own: Path) -> None:
    path = own / "survey" / "irfs" / "cta_like.fits"
    path.write_bytes(path.read_bytes()[:100_000])
    result = run(own)
    assert result.exit_code == 3
    for obs_id in OBS_IDS:
        assert f"  observation {obs_id}: {path}" in result.stderr


# ------------------------------------------------------------------ no space, interruption, clusters


def test_no_space_left_stops_the_run_and_room_lets_it_finish(
    own: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GAMMAFLOW_FAULT", f"before_receipt:{SPOILT}=enospc")
    result = run(own)
    assert result.exit_code == 1
    assert "No space left on device" in result.stderr
    assert "running again continues" in result.stderr
    monkeypatch.delenv("GAMMAFLOW_FAULT")
    again = run(own)
    assert again.exit_code == 0, again.stderr
    assert "(1 of them before)" in again.stderr


@pytest.fixture
def little_room(tmp_path: Path) -> Iterator[Callable[[str], Path]]:
    """A file system of its own, and the way to make it larger."""
    folder = tmp_path / "little"
    folder.mkdir()

    def resize(size: str) -> Path:
        options = f"size={size}" if not folder.is_mount() else f"remount,size={size}"
        command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)]
        try:
            subprocess.run(command, check=True, capture_output=True, timeout=20)
        except (OSError, subprocess.CalledProcessError) as error:
            pytest.skip(f"needs the right to mount a file system ({error})")
        return folder

    yield resize
    if folder.is_mount():
        subprocess.run(["umount", str(folder)], check=True, timeout=20)


def test_a_full_disk_stops_the_run_and_room_lets_it_finish(
    survey: Path, done: Path, tmp_path: Path, little_room: Callable[[str], Path]
) -> None:
    folder = little_room("240k")
    small.write_config(tmp_path, survey / "survey")
    args = ("run", tmp_path / "config.yaml", "--run", folder / "run", "--serial")
    result = call(*args)
    assert result.exit_code == 1, (result.stdout, result.stderr)
    assert "no space" in result.stderr.lower()
    assert str(folder) in result.stderr
    assert "Traceback" not in result.stderr
    little_room("50m")
    again = call(*args)
    assert again.exit_code == 0, again.stderr
    content = json.loads(call("show", folder / "run", "--json").stdout)
    assert content["stacked"] == shown(done)["stacked"]


@pytest.mark.parametrize(
    ("how", "number"),
    [
        ("--serial", signal.SIGINT),
        ("--serial", signal.SIGTERM),
        pytest.param("--workers=1", signal.SIGINT, marks=pytest.mark.cluster),
    ],
)
def test_an_interrupted_run_says_how_to_go_on(own: Path, how: str, number: signal.Signals) -> None:
    command = [
        sys.executable,
        "-m",
        "gammaflow",
        "run",
        str(own / "config.yaml"),
        "--run",
        str(own / "run"),
        how,
    ]
    environment = {**os.environ, "GAMMAFLOW_FAULT": f"before_task:{SPOILT}=hang", "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(
        command,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        wait_until_hanging(own / "run" / "events.jsonl", process)
        # A terminal sends Ctrl-C to the whole group, a batch system its signal to the process.
        if number is signal.SIGINT:
            os.killpg(process.pid, number)
        else:
            process.send_signal(number)
        _, stderr = process.communicate(timeout=60)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
    assert process.returncode == 130, stderr
    assert "run the same command again to continue" in stderr
    assert "Traceback" not in stderr
    again = run(own)
    assert again.exit_code == 0, again.stderr
    assert "of them before)" in again.stderr


def wait_until_hanging(log: Path, process: subprocess.Popen[str]) -> None:
    """Until the first observation is done and the second has been handed out."""
    end = time.monotonic() + 90.0
    while time.monotonic() < end:
        text = log.read_text() if log.exists() else ""
        events = [json.loads(line) for line in text.splitlines() if line.endswith("}")]
        seen = {(event["event"], event.get("name")) for event in events}
        if {("TaskFinished", str(OBS_IDS[0])), ("TaskSubmitted", str(SPOILT))} <= seen:
            time.sleep(0.5)
            return
        assert process.poll() is None, process.communicate()[1]
        time.sleep(0.1)
    raise AssertionError(f"the run did not get to observation {SPOILT}: {text}")


@pytest.mark.cluster
def test_workers_give_the_same_bits_and_a_link_to_the_dashboard(own: Path, done: Path) -> None:
    result = run(own, "--workers", "2")
    assert result.exit_code == 0, result.stderr
    assert "2 workers; dashboard: http://" in result.stderr
    arrays = [
        json.loads((folder / "run" / "stacked" / "stacked.json").read_text())["arrays"]
        for folder in (own, done)
    ]
    assert arrays[0] == arrays[1]


def test_a_scheduler_that_is_there_is_used(own: Path) -> None:
    from distributed import LocalCluster

    with LocalCluster(
        n_workers=1, threads_per_worker=1, processes=False, protocol="tcp://", dashboard_address=None
    ) as cluster:
        result = run(own, "--scheduler", cluster.scheduler_address)
    assert result.exit_code == 0, result.stderr
    started = json.loads((own / "run" / "events.jsonl").read_text().splitlines()[0])
    assert (started["event"], started["engine"]) == ("RunStarted", "dask")
