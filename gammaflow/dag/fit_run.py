"""A fit of the datasets of a run: which datasets, with which models, told as it goes, kept in the run folder."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from gammaflow.dag.callbacks.event_log import EventLog
from gammaflow.dag.engine import Timeouts
from gammaflow.dag.events import Announcer, Callback
from gammaflow.dag.fit_datasets import EVERYTHING, EnergyRange, StoredDataset, stored_datasets
from gammaflow.dag.fit_events import FitFinished, FitStarted, FitStep
from gammaflow.dag.fit_record import (
    FitRecord,
    covariance_file,
    free_name,
    inputs_of,
    parameter_records,
    write_fit,
)
from gammaflow.dag.receipts import Receipt
from gammaflow.dag.run_folder import RunFolder
from gammaflow.dag.status import RunState, RunStatus, status
from gammaflow.dag.tasks import versions
from gammaflow.errors import FitError, RunError
from gammaflow.fit import EvaluatorFactory, Fit, FitProgress, FitResult, Interval, LocalEvaluator
from gammaflow.likelihood import ImageOptions
from gammaflow.modeling import FoVBackgroundModel, Models

if TYPE_CHECKING:
    from distributed import Client

Which = Literal["stacked", "joint"]


@dataclass(frozen=True, eq=False)
class RunFitResult(FitResult):
    """Result of a fit of a run's datasets.

    Parameters
    ----------
    intervals : mapping of str to Interval
        MINOS intervals of the shared parameters, if asked for.
    folder : Path
        Where the result is kept.
    record : FitRecord
        What is kept of it.
    """

    intervals: Mapping[str, Interval] = field(kw_only=True)
    folder: Path = field(kw_only=True)
    record: FitRecord = field(kw_only=True)


@dataclass(frozen=True)
class FitPlan:
    """What a fit of a run is to be.

    Parameters
    ----------
    which : {"stacked", "joint"} or None
        The stacked datasets, or every observation's; None: what the run makes last.
    backend : {"newton", "minuit"}
    minos : bool
        Whether to look for the asymmetric intervals of the shared parameters, too.
    name : str, optional
        Of the folder below ``fits``; "stacked" or "joint" if not given.
    energy_range : EnergyRange
        What takes part.
    options : ImageOptions, optional
        How predicted counts are made.
    overwrite : bool
        Whether a fit of the same name may be replaced.
    """

    which: Which | None = None
    backend: str = "newton"
    minos: bool = False
    name: str | None = None
    energy_range: EnergyRange = EVERYTHING
    options: ImageOptions | None = None
    overwrite: bool = False


def fit_run(
    folder: RunFolder,
    models: Models,
    plan: FitPlan | None = None,
    *,
    client: Client | None = None,
    callbacks: Sequence[Callback] = (),
    timeouts: Timeouts | None = None,
    retries: int = 2,
) -> RunFitResult:
    """Fit models to the datasets of a run, and keep the result in ``fits/<name>`` of its folder.

    Parameters
    ----------
    folder : RunFolder
        Of a run whose datasets are there.
    models : Models
        Values and errors are written to them. Datasets that have no background model get one.
    plan : FitPlan, optional
    client : distributed.Client, optional
        Where to fit; in this process, without Dask, if not given. The result has the same bits.
    callbacks : sequence of Callback
        Told of every event, besides ``events.jsonl``.
    timeouts : Timeouts, optional
    retries : int
        How often a step that lost its workers is tried again.

    Raises
    ------
    RunError
        The datasets are not there, or a fit of the same name is.
    FitError, ModelError
        The models do not fit the datasets; see `Fit.run`.
    """
    plan = plan or FitPlan()
    standing = status(folder)
    which = plan.which or ("stacked" if standing.stage("finish").total else "joint")
    name = free_name(folder, plan.name or which, plan.overwrite, standing.keys)
    receipts = _receipts(standing, which)
    datasets = stored_datasets(folder.path, receipts, plan.energy_range)
    complete = with_backgrounds(models, datasets)
    evaluators, where = _evaluators(client, timeouts or Timeouts(), retries)

    log = EventLog(folder.events)
    announce = Announcer((log, *callbacks))
    started, begin = datetime.now(UTC).isoformat(timespec="seconds"), time.perf_counter()
    fit = Fit(plan.backend, options=plan.options, callback=lambda step: announce(_step(name, step)))
    announce(FitStarted(name=name, datasets=len(datasets), backend=plan.backend, evaluator=where))
    with _told(announce, log, name, begin) as outcome:
        result = fit.run(datasets, complete, client=evaluators)
        intervals: dict[str, Interval] = {}
        warnings = list(result.warnings)
        if plan.minos:
            intervals, failure = _intervals(fit, datasets, complete, evaluators, result)
            warnings += failure
        beside = covariance_file(result.models)
        if result.models.parameters.free_parameters.names and not beside:
            warnings.append(
                f"the covariance of all {len(result.models.parameters)} parameters would make too large a file: "
                "result.json has that of the shared ones, and the errors of all"
            )
        record = FitRecord(
            name=name,
            datasets=which,
            started=started,
            seconds=time.perf_counter() - begin,
            backend=result.backend,
            method=result.method,
            converged=result.converged,
            message=result.message,
            total_stat=result.total_stat,
            stat_per_dataset=dict(result.stat_per_dataset),
            edm=result.edm,
            trips=result.trips,
            evaluations=result.nfev,
            anchors=result.anchors,
            parameters=tuple(parameter_records(result, intervals)),
            covariance=result.to_dict()["covariance"],
            covariance_file=beside,
            energy_range=(_or_nan(plan.energy_range.min), _or_nan(plan.energy_range.max)),
            degenerate=result.degenerate,
            warnings=tuple(warnings),
            trace=tuple(result.to_dict()["trace"]),
            timings=dict(result.timings),
            evaluator=where,
            inputs=inputs_of(folder, datasets),
            versions=dict(versions()),
        )
        path = write_fit(folder, record, result.models)
        outcome.append(record)
    values = {item.name: getattr(result, item.name) for item in fields(FitResult)}
    return RunFitResult(
        **(values | {"warnings": tuple(warnings)}), intervals=intervals, folder=path, record=record
    )


def with_backgrounds(models: Models, datasets: Sequence[StoredDataset]) -> Models:
    """The models, and a free norm for the background of each dataset that has no background model of its own."""
    given = models.background_models
    return Models(
        [
            *models,
            *(
                FoVBackgroundModel(dataset_name=dataset.name)
                for dataset in datasets
                if dataset.has_background and dataset.models is None and dataset.name not in given
            ),
        ]
    )


def _receipts(standing: RunStatus, which: Which) -> tuple[Receipt, ...]:
    """Receipts of the datasets that are to be fitted.

    Raises
    ------
    RunError
        They are not there, or not all of them.
    """
    where = str(standing.folder)
    stage = standing.stage("finish" if which == "stacked" else "reduce")
    if which == "stacked" and not stage.total:
        raise RunError(
            "this run does not stack its observations (datasets.stack: false)",
            where=where,
            hint="Fit them jointly: --joint",
        )
    missing = stage.total - len(stage.done)
    # Observations that were set aside and allowed for are missing in a run that is done.
    if missing and (which == "stacked" or standing.state is not RunState.DONE):
        what = "nothing is stacked yet" if which == "stacked" else f"{missing} observations are not reduced"
        reasons = "; ".join(f"{record.name}: {record.error}" for record in stage.failed[:3])
        raise RunError(
            f"{what}{f' ({reasons})' if reasons else ''}",
            where=where,
            hint="Finish the run first: gammaflow run CONFIG.yaml --run DIR; gammaflow status DIR tells how it stands",
        )
    receipts = standing.stacked if which == "stacked" else standing.observations
    if not receipts:
        raise RunError("there is no dataset to fit", where=where, hint="Finish the run first")
    dropped = [receipt.name for receipt in receipts if receipt.dropped]
    if dropped:
        raise RunError(
            f"the datasets of {len(dropped)} observations were not kept (flow.write_observations: false)",
            where=where,
            hint="Fit the stacked dataset, or run again with flow.write_observations: true",
        )
    return receipts


def _evaluators(client: Client | None, timeouts: Timeouts, retries: int) -> tuple[EvaluatorFactory, str]:
    """Who holds the datasets, and what to call it."""
    if client is None:
        return LocalEvaluator, "in this process"
    from gammaflow.dag.fit_workers import DaskEvaluators  # without a client, Dask is not even imported

    threads = sum(client.ncores().values())
    return DaskEvaluators(client, timeouts, retries), f"on {threads} worker threads"


def _intervals(
    fit: Fit,
    datasets: tuple[StoredDataset, ...],
    models: Models,
    evaluators: EvaluatorFactory,
    result: FitResult,
) -> tuple[dict[str, Interval], list[str]]:
    """MINOS intervals around a minimum, or why there are none."""
    if not result.converged:
        return {}, ["MINOS was left out: there is no minimum to look around"]
    try:
        return fit.minos(datasets, models, client=evaluators), []
    except FitError as error:
        return {}, [f"MINOS found nothing: {error}"]


@contextlib.contextmanager
def _told(announce: Announcer, log: EventLog, name: str, begin: float) -> Iterator[list[FitRecord]]:
    """Tell how the fit ends; the block leaves its record in the list."""
    outcome: list[FitRecord] = []
    ending: dict[str, Any] = {"status": "failed", "message": "interrupted", "trips": 0}
    try:
        yield outcome
        (record,) = outcome
        ending = {
            "status": "converged" if record.converged else "not converged",
            "message": record.message,
            "trips": record.trips,
        }
    except Exception as error:
        ending["message"] = f"{type(error).__name__}: {error}"
        raise
    finally:
        announce(FitFinished(name=name, seconds=time.perf_counter() - begin, **ending))
        log.close()


def _or_nan(limit: float | None) -> float:
    return math.nan if limit is None else limit


def _step(name: str, step: FitProgress) -> FitStep:
    stat, edm = (x if math.isfinite(x) else None for x in (step.stat, step.edm))
    return FitStep(name=name, trip=step.trip, stat=stat, edm=edm, accepted=step.accepted)
