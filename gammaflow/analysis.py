"""A whole analysis from Python: a configuration in, datasets and fitted sources out.

The steps are Gammapy's (`Analysis.get_observations`, `Analysis.get_datasets`), or, with more to say about the run,
`Analysis.plan`, `Analysis.reduce` and `Analysis.stack`; then `Analysis.fit`. What is done is kept in the run folder:
the same analysis made again finds it there.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gammaflow.config import AnalysisConfig, expand_path
from gammaflow.dag.analysis_plan import plan as plan_of
from gammaflow.dag.diff import PlanDiff, compare
from gammaflow.dag.engine import Engine, SerialEngine, Timeouts
from gammaflow.dag.identity import check_identity, identity
from gammaflow.dag.lock import RunLock
from gammaflow.dag.plan import Plan
from gammaflow.dag.policy import ErrorPolicy
from gammaflow.dag.run import Run, RunSummary, StageSummary
from gammaflow.dag.run_folder import RunFolder
from gammaflow.dag.status import RunStatus, status
from gammaflow.dag.tasks import FUNCTIONS
from gammaflow.data import DataStore, Observation, ObservationFiles, ObservationSelection
from gammaflow.datasets import CountsDataset, Datasets
from gammaflow.errors import ConfigError, MissingFileError, MissingHduError, RunError
from gammaflow.io import read_dataset

if TYPE_CHECKING:
    from distributed import Client

    from gammaflow.dag.events import Callback
    from gammaflow.dag.fit_run import RunFitResult, Which
    from gammaflow.likelihood import ImageOptions
    from gammaflow.modeling import FoVBackgroundModel, Models, SkyModel


class Analysis:
    """An analysis: which observations, reduced how, in which run folder, on which workers.

    Parameters
    ----------
    config : AnalysisConfig, path, or mapping
        The configuration, its YAML file, or its settings.
    client : distributed.Client, optional
        Any client of a Dask cluster. Without one, everything runs in this process, without Dask.
    run : path, optional
        The run folder; ``config.flow.run`` if not given. Without either, results are kept in a temporary folder that
        goes with this object: fine for a first look, on this machine only.
    callbacks : sequence of callable
        Told of every event of the run, e.g. `gammaflow.dag.callbacks.Progress`.

    Raises
    ------
    ConfigError
        The configuration is wrong.

    Examples
    --------
    >>> analysis = Analysis("config.yaml", client=client, run="runs/gc")  # doctest: +SKIP
    >>> analysis.get_observations()  # doctest: +SKIP
    >>> analysis.get_datasets()  # doctest: +SKIP
    >>> print(analysis.datasets["stacked"])  # doctest: +SKIP
    >>> print(analysis.fit("models.yaml"))  # doctest: +SKIP
    """

    def __init__(
        self,
        config: AnalysisConfig | Mapping[str, Any] | str | Path,
        client: Client | None = None,
        run: str | Path | None = None,
        *,
        callbacks: Sequence[Callback] = (),
    ) -> None:
        self.config = _as_config(config)
        self.client = client
        self.callbacks = tuple(callbacks)
        self._temporary: tempfile.TemporaryDirectory[str] | None = None
        self._observations: list[Observation] | None = None
        self._datasets: Datasets | None = None
        named = run if run is not None else self.config.flow.run
        if named is None:
            self._temporary = tempfile.TemporaryDirectory(prefix="gammaflow-")
            named = self._temporary.name
        self.folder = RunFolder(expand_path(named))

    def __repr__(self) -> str:
        return f"Analysis(run={str(self.folder.path)!r})"

    # What goes in

    @cached_property
    def data_store(self) -> DataStore:
        """The data store of the configuration; its index is read, no more."""
        with _missing_is_wrong("observations.datastore"):
            return DataStore.read(self.config.path(self.config.observations.datastore))

    @cached_property
    def observation_files(self) -> tuple[ObservationFiles, ...]:
        """The files of each observation that the configuration selects; nothing is opened."""
        selection = ObservationSelection.from_config(self.config.with_absolute_paths().observations)
        store = self.data_store
        located = []
        for obs_id in store.select_observations(selection):
            try:
                located.append(store.locate(obs_id, selection.intervals))
            except MissingHduError:
                # Its reduction says so and sets it aside; the others go on.
                located.append(ObservationFiles(obs_id, ()))
        return tuple(located)

    def get_observations(self) -> list[Observation]:
        """The observations that the configuration selects, but for those of ``flow.exclude``.

        Returns
        -------
        list of Observation
            Opened when they are used; also kept as ``observations``.
        """
        excluded = set(self.config.flow.exclude)
        self._observations = [
            files.lazy() for files in self.observation_files if files.obs_id not in excluded
        ]
        return self._observations

    @property
    def observations(self) -> list[Observation]:
        """The observations that the configuration selects."""
        return self.get_observations() if self._observations is None else self._observations

    # The run

    def plan(self) -> PlanDiff:
        """What would run, be reused or be redone; nothing is run or written.

        Raises
        ------
        ConfigError
            No observation is selected, or one that the data store does not know.
        RunMismatchError
            The run folder belongs to another configuration.
        """
        self.check_folder()
        return compare(self._plan, self.folder.inventory())

    def reduce(self) -> StageSummary:
        """Reduce every observation that is not done.

        Raises
        ------
        TooManyFailuresError
            More observations failed than ``flow.allow_failed``; the others are done and kept.
        """
        self._datasets = None
        return self._run().reduce()

    def stack(self) -> StageSummary:
        """Stack what is reduced; with ``datasets.stack: false`` there is nothing to do.

        Raises
        ------
        TooManyFailuresError
            More observations are missing than ``flow.allow_failed``.
        """
        self._datasets = None
        return self._run().stack()

    def execute(self) -> RunSummary:
        """Reduce and stack everything that is missing: what ``gammaflow run`` does."""
        self._datasets = None
        return self._run().execute()

    def status(self) -> RunStatus:
        """How the run stands, read from its folder."""
        return status(self.folder)

    def check_folder(self) -> None:
        """Refuse a run folder that belongs to another configuration.

        Raises
        ------
        RunMismatchError
            It names each key that differs.
        ConfigError
            The folder holds a configuration that no run has written.
        """
        self._check_ownership()
        if self.folder.config.exists():
            before = AnalysisConfig.read(self.folder.config, check=False)
            check_identity(self.folder, identity(before), identity(self.config))

    def discard(self) -> None:
        """Remove everything that a run left in the folder, and nothing else.

        Raises
        ------
        ConfigError
            The folder holds a configuration that no run has written.
        RunLockedError
            A run is going on there.
        """
        self._check_ownership()
        if self.folder.path.is_dir():
            with RunLock(self.folder.lock):
                self.folder.clear()
        self._datasets = None

    def _check_ownership(self) -> None:
        """Keep off a ``config.yaml`` that is the user's own: a run writes one into its folder."""
        mine = self.folder.config
        if mine.exists() and not self.folder.plan.exists() and mine.read_text() != self._kept_config:
            raise ConfigError(
                "there is a config.yaml in the folder that no run has written",
                where=str(self.folder.path),
                hint="Give the run a folder of its own",
            )

    @property
    def _kept_config(self) -> str:
        """What the run folder keeps of the configuration: it means the same from anywhere."""
        return self.config.with_absolute_paths().to_yaml()

    def _run(self) -> Run:
        self.check_folder()
        flow = self.config.flow
        return Run(
            self.folder,
            self._plan,
            self._engine(),
            FUNCTIONS,
            policy=ErrorPolicy(flow.retries, flow.allow_failed),
            callbacks=self.callbacks,
            files={"config.yaml": self._kept_config},
        )

    @cached_property
    def _plan(self) -> Plan:
        with _missing_is_wrong("datasets.background.exclusion"):
            return plan_of(self.config, self.observation_files, self.data_store.obs_table)

    def _engine(self) -> Engine:
        timeouts = Timeouts(task=float(self.config.flow.timeout.to_value("s")))
        if self.client is None:
            return SerialEngine(timeouts)
        from gammaflow.dag.dask_engine import DaskEngine  # without a client, Dask is not even imported

        return DaskEngine(self.client, timeouts)

    # What comes out

    def get_datasets(self) -> Datasets:
        """Reduce and stack what is missing, and read the result.

        Returns
        -------
        Datasets
            The stacked one, named ``stacked``; with ``datasets.stack: false`` one an observation. Also kept as
            ``datasets``.
        """
        self.execute()
        return self.datasets

    @property
    def datasets(self) -> Datasets:
        """The result of the run: the stacked dataset, or with ``datasets.stack: false`` one an observation.

        Raises
        ------
        RunError
            The run is not done.
        """
        if self._datasets is None:
            stage = "finish" if self.config.datasets.stack else "reduce"
            self._datasets = Datasets(self._read(stage))
        return self._datasets

    @datasets.setter
    def datasets(self, datasets: Sequence[CountsDataset]) -> None:
        self._datasets = Datasets(datasets)

    @property
    def stacked(self) -> CountsDataset:
        """The stacked dataset.

        Raises
        ------
        RunError
            There is none yet, or there is one a group.
        """
        found = self._read("finish")
        if len(found) != 1:
            raise RunError(
                f"there are {len(found)} stacked datasets: {', '.join(each.name for each in found)}",
                where=str(self.folder.path),
                hint="Runs with flow.group_by have one a group: use Analysis.datasets",
            )
        return found[0]

    def read_observation(self, obs_id: int) -> CountsDataset:
        """The dataset of one observation.

        Raises
        ------
        MissingFileError
            It is not reduced.
        """
        return read_dataset(self.folder.group("reduce", str(obs_id)))

    def fit(
        self,
        models: Models | SkyModel | Sequence[SkyModel | FoVBackgroundModel] | str | Path | None = None,
        datasets: Which | None = None,
        *,
        backend: str = "newton",
        minos: bool = False,
        name: str | None = None,
        options: ImageOptions | None = None,
    ) -> RunFitResult:
        """Fit models to what the run has made; the result is kept in ``fits/<name>`` of the run folder.

        Energies outside ``fit.fit_range`` take no part. A dataset that has no background model, neither among
        ``models`` nor from its reduction, gets one with a free norm.

        Parameters
        ----------
        models : Models, model, list of models, or path, optional
            Values, errors and covariance are written to them. A path names a YAML file; ``general.models_file``
            if not given.
        datasets : {"stacked", "joint"}, optional
            The stacked dataset, or those of the observations together; what the run makes last, if not given.
        backend : {"newton", "minuit"}
            See `gammaflow.fit.Fit`.
        minos : bool
            Also look for the asymmetric intervals of the shared parameters: ``result.intervals``.
        name : str, optional
            Of the folder; "stacked" or "joint" if not given. A fit of the same name is replaced.
        options : ImageOptions, optional
            How predicted counts are made.

        Returns
        -------
        RunFitResult
            A `FitResult`, with ``intervals``, and ``folder`` where it is kept.

        Raises
        ------
        RunError
            The datasets are not there.
        ModelError, FitError
            The models are wrong, or do not fit the datasets.
        """
        from gammaflow.dag.fit_datasets import EnergyRange
        from gammaflow.dag.fit_run import FitPlan, fit_run

        limits = self.config.fit.fit_range
        low, high = (None if x is None else float(x.to_value("TeV")) for x in (limits.min, limits.max))
        plan = FitPlan(datasets, backend, minos, name, EnergyRange(low, high), options)
        flow = self.config.flow
        return fit_run(
            self.folder,
            self.read_models(models),
            plan,
            client=self.client,
            callbacks=self.callbacks,
            timeouts=Timeouts(task=float(flow.timeout.to_value("s"))),
            retries=flow.retries,
        )

    def read_models(
        self, models: Models | SkyModel | Sequence[SkyModel | FoVBackgroundModel] | str | Path | None = None
    ) -> Models:
        """Models from a YAML file, ``general.models_file`` if none is named; models themselves are handed back.

        Raises
        ------
        ConfigError
            No file is named, or it is not there, or wrong.
        """
        from gammaflow.modeling import Models

        if models is None:
            models = self.config.general.models_file
            if models is None:
                raise ConfigError(
                    "no models are given", where="general.models_file", hint="Set it, or pass models"
                )
        if isinstance(models, str | Path):
            return Models.read(self.config.path(str(models)))
        return models if isinstance(models, Models) else Models(models)

    def write_datasets(self, path: str | Path | None = None, overwrite: bool = False) -> None:
        """Write each dataset to ``<path>/<name>.zarr``.

        Parameters
        ----------
        path : path, optional
            A folder; ``general.datasets_file`` if not given.
        overwrite : bool
            Replace datasets that are there.
        """
        folder = self._datasets_folder(path)
        folder.mkdir(parents=True, exist_ok=True)
        for dataset in self.datasets:
            dataset.write(folder / f"{dataset.name}.zarr", overwrite=overwrite)

    def read_datasets(self, path: str | Path | None = None) -> Datasets:
        """Read what `write_datasets` wrote, in the order of the names; also kept as ``datasets``.

        Parameters
        ----------
        path : path, optional
            The folder; ``general.datasets_file`` if not given.

        Raises
        ------
        ConfigError
            No folder is named, or it holds no dataset.
        """
        folder = self._datasets_folder(path)
        groups = sorted(folder.glob("*.zarr"))
        if not groups:
            raise ConfigError(
                "there is no dataset (*.zarr) in it", where=str(folder), hint="Name another folder"
            )
        self._datasets = Datasets(read_dataset(group) for group in groups)
        return self._datasets

    def _datasets_folder(self, path: str | Path | None) -> Path:
        named = path if path is not None else self.config.general.datasets_file
        if named is None:
            raise ConfigError(
                "no folder is named", where="general.datasets_file", hint="Set it, or pass a path"
            )
        return self.config.path(str(named))

    def _read(self, stage: str) -> list[CountsDataset]:
        standing = self.status()
        receipts = standing.stacked if stage == "finish" else standing.observations
        if not receipts:
            raise RunError(
                "there is no stacked dataset" if stage == "finish" else "no observation is reduced",
                where=str(self.folder.path),
                hint="Run it first: Analysis.get_datasets()",
            )
        return [read_dataset(self.folder.path / receipt.group) for receipt in receipts]


@contextmanager
def _missing_is_wrong(key: str) -> Iterator[None]:
    """What the configuration names and is not there makes the configuration wrong, not the data."""
    try:
        yield
    except MissingFileError as error:
        raise ConfigError(error.found, where=f"{key}: {error.where}", hint=error.hint) from error


def _as_config(config: AnalysisConfig | Mapping[str, Any] | str | Path) -> AnalysisConfig:
    if isinstance(config, AnalysisConfig):
        config.check()
        return config
    if isinstance(config, Mapping):
        made = AnalysisConfig(**config)
        made.check()
        return made
    return AnalysisConfig.read(config)
