"""``gammaflow run``: carry out an analysis, or continue it."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from multiprocessing import resource_tracker
from pathlib import Path
from typing import TYPE_CHECKING

import click

from gammaflow.cli.exits import QuietCommand
from gammaflow.cli.fit import report_fit
from gammaflow.cli.show import summaries
from gammaflow.cli.terminal import failure_lines, say_table, summary_table, warning_lines

if TYPE_CHECKING:
    from distributed import Client

    from gammaflow.analysis import Analysis
    from gammaflow.config import AnalysisConfig
    from gammaflow.dag.run import RunSummary
    from gammaflow.modeling import Models


@click.command(cls=QuietCommand)
@click.argument("config_file", metavar="CONFIG.yaml", type=click.Path(path_type=Path))
@click.option(
    "--run", "folder", metavar="DIR", type=click.Path(path_type=Path), help="Run folder: where results go."
)
@click.option("--workers", metavar="N", type=click.IntRange(min=1), help="Worker processes on this machine.")
@click.option("--serial", is_flag=True, help="Run in this process, without Dask.")
@click.option(
    "--scheduler", metavar="ADDRESS", help="Run on a Dask cluster that is there, e.g. tcp://head:8786."
)
@click.option("--allow-failed", metavar="N", help='Stack although N observations failed; or a share, "5%".')
@click.option("--models", metavar="MODELS.yaml", help="Then fit these models to the result: gammaflow fit.")
@click.option("--overwrite", is_flag=True, help="Discard what an earlier run left in the folder.")
def run(
    config_file: Path,
    folder: Path | None,
    workers: int | None,
    serial: bool,
    scheduler: str | None,
    allow_failed: str | None,
    models: str | None,
    overwrite: bool,
) -> None:
    """Reduce the observations of a configuration and stack them.

    Runs on as many worker processes as there are cores, unless told otherwise here or in the section flow of the
    configuration. Running again continues: what is done is kept, what depends on a change is redone.
    """
    if sum((workers is not None, serial, scheduler is not None)) > 1:
        raise click.UsageError("--workers, --serial and --scheduler exclude each other.")
    from gammaflow.analysis import Analysis
    from gammaflow.config import AnalysisConfig, LogConfig
    from gammaflow.dag.callbacks import Progress
    from gammaflow.dag.callbacks.fit_line import FitLine
    from gammaflow.errors import RunInterruptedError

    config = AnalysisConfig.read(config_file)
    if config.general.log != LogConfig():
        config.set_logging()
    if folder is None and config.flow.run is None:
        raise click.UsageError("Where to? Give --run DIR, or flow.run in the configuration.")
    if allow_failed is not None:
        config.flow.allow_failed = int(allow_failed) if allow_failed.isdigit() else allow_failed

    analysis = Analysis(config, run=folder, callbacks=[Progress(), FitLine()])
    # Better found wrong now than after the run.
    given = None if models is None else analysis.read_models(models)
    started = time.perf_counter()
    try:
        if overwrite:
            analysis.discard()
        diff = analysis.plan()
        to_do = sum(len(diff.to_do(stage)) for stage in ("reduce", "stack", "finish"))
        with workers_for(config, to_do, workers, serial, scheduler) as client:
            analysis.client = client
            summary = analysis.execute()
            _report(analysis, summary, time.perf_counter() - started)
            if given is not None:
                _fit(analysis, given)
    except KeyboardInterrupt:
        raise RunInterruptedError(
            "the run was stopped before it began",
            where=str(analysis.folder.path),
            hint="Run the same command again",
        ) from None


@contextmanager
def workers_for(
    config: AnalysisConfig, to_do: int, workers: int | None, serial: bool, scheduler: str | None
) -> Iterator[Client | None]:
    """The workers that the command line asks for, else those of the configuration; None: no Dask."""
    if workers is None and scheduler is None:
        workers, scheduler = config.flow.workers, config.flow.scheduler
    if serial or to_do == 0:
        yield None
        return
    from gammaflow.dag.clusters import connect, local_cluster

    if scheduler is not None:
        with connect(scheduler) as client:
            yield client
        return
    if workers is None:
        workers = min(_cores(), to_do)
    with ExitStack() as stack:
        with _ctrl_c_held():
            client = stack.enter_context(local_cluster(workers, memory_limit=config.flow.memory_limit))
        click.echo(f"{workers} workers; dashboard: {client.dashboard_link}", err=True)
        yield client


@contextmanager
def _ctrl_c_held() -> Iterator[None]:
    """Let Ctrl-C wait until the block is over, and never reach the processes that are started in it.

    A cluster interrupted while it starts leaves tracebacks of each of its processes on the terminal. The mask is
    inherited by processes; the run itself stops them.
    """
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    # Started with the first process otherwise, and then it takes the mask off again. What it has to say at the end,
    # of the semaphores of workers that were stopped, is of no use to anybody.
    warnings = os.environ.get("PYTHONWARNINGS", "")
    os.environ["PYTHONWARNINGS"] = ",".join(filter(None, (warnings, "ignore:resource_tracker")))
    resource_tracker.ensure_running()
    os.environ["PYTHONWARNINGS"] = warnings
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


def _cores() -> int:
    """Cores that this process may use; a batch job has fewer than the machine."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _fit(analysis: Analysis, models: Models) -> None:
    """Fit what the run has made."""
    from gammaflow.errors import RunInterruptedError

    if analysis.config.datasets.stack and analysis.config.flow.group_by is None:
        analysis.client = None  # one dataset: this process is faster
    try:
        result = analysis.fit(models)
    except KeyboardInterrupt:
        raise RunInterruptedError(
            "the fit was stopped; the run itself is done",
            where=str(analysis.folder.path),
            hint="Fit again: gammaflow fit DIR --models MODELS.yaml",
        ) from None
    report_fit(result)


def _report(analysis: Analysis, summary: RunSummary, seconds: float) -> None:
    """What was done on stderr, what came out on stdout."""
    failures = summary.reduce.failures
    if failures:
        click.echo(f"{len(failures)} observations were set aside, as allowed:", err=True)
        click.echo("\n".join(failure_lines(failures)), err=True)
    standing = analysis.status()
    warnings = warning_lines((*standing.observations, *standing.stacked))
    if warnings:
        click.echo("Warnings:", err=True)
        click.echo("\n".join(warnings), err=True)
    before = f" ({summary.reduce.reused} of them before)" if summary.reduce.reused else ""
    click.echo(
        f"{summary.reduce.done + summary.reduce.reused} observations reduced{before}, {seconds:.1f} s",
        err=True,
    )
    shown = standing.stacked or standing.observations
    say_table(summary_table(summaries(shown)))
    click.echo(f"Results are in {summary.folder}; gammaflow show lists the observations.", err=True)
