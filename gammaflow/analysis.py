"""A whole analysis from Python: a configuration in, datasets and fitted sources out.

The steps are Gammapy's (`Analysis.get_observations`, `Analysis.get_datasets`, `Analysis.set_models`,
`Analysis.run_fit`), or, with more to say about the run, `Analysis.plan`, `Analysis.reduce` and `Analysis.stack`; then
`Analysis.fit`. What is done is kept in the run folder:
the same analysis made again finds it there.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gammaflow.config import AnalysisConfig, expand_path
from gammaflow.dag.analysis_plan import plan as plan_of
from gammaflow.dag.diff import PlanDiff, compare
from gammaflow.dag.engine import Engine, SerialEngine, Timeouts
from gammaflow.dag.fit_models import ModelsLike, models_from, with_backgrounds
from gammaflow.dag.inputs import as_config, missing_is_wrong, named_path, read_data_store, selected_files
from gammaflow.dag.ownership import check_folder, discard, kept_config
from gammaflow.dag.plan import Plan
from gammaflow.dag.policy import ErrorPolicy
from gammaflow.dag.results import read_folder, read_results, read_stacked, write_folder
from gammaflow.dag.run import Run, RunSummary, StageSummary
from gammaflow.dag.run_folder import RunFolder
from gammaflow.dag.status import RunStatus, status
from gammaflow.dag.tasks import FUNCTIONS
from gammaflow.data import DataStore, Observation, ObservationFiles
from gammaflow.datasets import CountsDataset, Datasets
from gammaflow.io import read_dataset

if TYPE_CHECKING:
    from distributed import Client

    from gammaflow.dag.events import Callback
    from gammaflow.dag.fit_run import RunFitResult, Which
    from gammaflow.likelihood import ImageOptions
    from gammaflow.modeling import Models


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
    >>> analysis.get_datasets()  # doctest: +SKIP
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
        self.config = as_config(config)
        self.client = client
        self.callbacks = tuple(callbacks)
        self._temporary: tempfile.TemporaryDirectory[str] | None = None
        self._observations: list[Observation] | None = None
        self._datasets: Datasets | None = None
        #: What `set_models` was given, and the result of `run_fit`.
        self.models: Models | None = None
        self.fit_result: RunFitResult | None = None
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
        return read_data_store(self.config)

    @cached_property
    def observation_files(self) -> tuple[ObservationFiles, ...]:
        """The files of each observation that the configuration selects; nothing is opened."""
        return selected_files(self.data_store, self.config)

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

        RunMismatchError names each key that differs; ConfigError when a ``config.yaml`` there is the user's own.
        """
        check_folder(self.folder, self.config)

    def discard(self) -> None:
        """Remove everything that a run left in the folder, and nothing else.

        ConfigError when a ``config.yaml`` there is the user's own, RunLockedError when a run is going on.
        """
        discard(self.folder, self.config)
        self._datasets = None

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
            files={"config.yaml": kept_config(self.config)},
        )

    @cached_property
    def _plan(self) -> Plan:
        with missing_is_wrong("datasets.background.exclusion"):
            return plan_of(self.config, self.observation_files, self.data_store.obs_table)

    def _engine(self) -> Engine:
        if self.client is None:
            return SerialEngine(self._timeouts)
        from gammaflow.dag.dask_engine import DaskEngine  # without a client, Dask is not even imported

        return DaskEngine(self.client, self._timeouts)

    @property
    def _timeouts(self) -> Timeouts:
        return Timeouts(task=float(self.config.flow.timeout.to_value("s")))

    # What comes out

    def get_datasets(self) -> Datasets:
        """Reduce and stack what is missing, and read the result.

        Returns
        -------
        Datasets
            The stacked one, named ``stacked``; with ``flow.group_by`` one a group, named after it; with
            ``datasets.stack: false`` one an observation. Also kept as ``datasets``.
        """
        self.execute()
        return self.datasets

    @property
    def datasets(self) -> Datasets:
        """The result of the run: what is stacked (one dataset, or one a group), or one an observation.

        Raises
        ------
        RunError
            The run is not done.
        """
        if self._datasets is None:
            self._datasets = read_results(self.folder, "finish" if self.config.datasets.stack else "reduce")
        return self._datasets

    @datasets.setter
    def datasets(self, datasets: Sequence[CountsDataset]) -> None:
        self._datasets = Datasets(datasets)

    @property
    def stacked(self) -> CountsDataset:
        """The stacked dataset; RunError when there is none yet, or one a group."""
        return read_stacked(self.folder)

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
        models: ModelsLike | None = None,
        datasets: Which | None = None,
        *,
        backend: str = "newton",
        minos: bool = False,
        name: str | None = None,
        options: ImageOptions | None = None,
        overwrite: bool | None = None,
    ) -> RunFitResult:
        """Fit models to what the run has made; the result is kept in ``fits/<name>`` of the run folder.

        Energies outside ``fit.fit_range`` take no part. A dataset that has no background model, neither among
        ``models`` nor from its reduction, gets one with a free norm.

        Parameters
        ----------
        models : Models, model, list of models, or path, optional
            Values, errors and covariance are written to them. A path names a YAML file. If not given, what
            `set_models` was given, or ``general.models_file``.
        datasets : {"stacked", "joint"}, optional
            What is stacked (the groups jointly, where there are some), or the datasets of the observations
            jointly; what the run makes last, if not given.
        backend : {"newton", "minuit"}
            See `gammaflow.fit.Fit`.
        minos : bool
            Also look for the asymmetric intervals of the shared parameters: ``result.intervals``.
        name : str, optional
            Of the folder; "stacked" or "joint" if not given.
        options : ImageOptions, optional
            How predicted counts are made.
        overwrite : bool, optional
            Whether a fit of the same name is replaced. If not given, one that was named and whose datasets are still
            the same stays, and an error is raised before anything is computed; one called "stacked" or "joint" for
            want of a name is made anew.

        Returns
        -------
        RunFitResult
            A `FitResult`, with ``intervals``, and ``folder`` where it is kept.

        Raises
        ------
        RunError
            The datasets are not there, or a fit of this name is.
        ModelError, FitError
            The models are wrong, or do not fit the datasets.
        """
        from gammaflow.dag.fit_datasets import EnergyRange
        from gammaflow.dag.fit_run import FitPlan, fit_run

        limits = self.config.fit.fit_range
        low, high = (None if x is None else float(x.to_value("TeV")) for x in (limits.min, limits.max))
        return fit_run(
            self.folder,
            self.read_models(models),
            FitPlan(
                datasets,
                backend,
                minos,
                name,
                EnergyRange(low, high),
                options,
                overwrite=name is None if overwrite is None else overwrite,
            ),
            client=self.client,
            callbacks=self.callbacks,
            timeouts=self._timeouts,
            retries=self.config.flow.retries,
        )

    def set_models(self, models: ModelsLike, extend: bool = True) -> None:
        """Say which models are to be fitted, and give them to the datasets.

        A background model that a dataset has stays, unless there is another; where there is none, the dataset gets one
        with a free norm.

        Parameters
        ----------
        models : Models, model, list of models, path, or text of a YAML file
        extend : bool
            Keep the models that were set before.
        """
        given = self.read_models(models)
        if extend and self.models is not None:
            given = type(given)([*given, *(model for model in self.models if model.name not in given.names)])
        self.datasets.models = self.models = with_backgrounds(given, self.datasets)

    def run_fit(self) -> RunFitResult:
        """Fit the models of `set_models`, or of ``general.models_file``; also kept as ``fit_result``. See `fit`."""
        self.fit_result = self.fit()
        return self.fit_result

    def write_models(self, path: str | Path | None = None, overwrite: bool = False) -> None:
        """Write the models to a YAML file, ``general.models_file`` if none is named."""
        self.read_models().write(named_path(self.config, path, "models_file"), overwrite=overwrite)

    def read_models(self, models: ModelsLike | None = None) -> Models:
        """Models from a YAML file, or from its text; models themselves are handed back.

        If none are named, those of `set_models`, or ``general.models_file``.

        Raises
        ------
        ConfigError
            No file is named, or it is not there, or wrong.
        """
        return models_from(self.models if models is None else models, self.config)

    def write_datasets(self, path: str | Path | None = None, overwrite: bool = False) -> None:
        """Write each dataset to ``<path>/<name>.zarr``.

        Parameters
        ----------
        path : path, optional
            A folder; ``general.datasets_file`` if not given.
        overwrite : bool
            Replace datasets that are there.
        """
        write_folder(named_path(self.config, path, "datasets_file"), self.datasets, overwrite)

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
        self._datasets = read_folder(named_path(self.config, path, "datasets_file"))
        return self._datasets
