"""What a fit is to find: the datasets, the models that describe them, and which parameter belongs where."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Protocol

from gammaflow.errors import FitError
from gammaflow.likelihood import Layout, SharedNuisance, SpatialBlock, grid_of, layout_of
from gammaflow.modeling import FoVBackgroundModel, Models, Parameter, RadialSpatialModel, SkyModel
from gammaflow.modeling.spatial.ellipse import COVARIANCE


class FitDataset(Protocol):
    """What a fit looks at in a dataset; a reference to one on disk may stand for it.

    Flux points are recognised as such; anything else has a ``geometry`` with an ``energy_axis_true``.
    """

    @property
    def name(self) -> str:
        """Name, which models refer to."""

    @property
    def models(self) -> Any:
        """None, a model, or several."""


@dataclass(frozen=True, eq=False)
class FitParameter:
    """A free parameter with the name that tells it apart.

    Parameters
    ----------
    parameter : Parameter
        The user's own object.
    name : str
        ``model.spectral.index``; of a linked parameter the first of its places.
    dataset : str
        The dataset that it is local to, empty for a shared one.
    """

    parameter: Parameter
    name: str
    dataset: str = ""


@dataclass(frozen=True, eq=False)
class Problem:
    """The datasets of a fit, their models and their free parameters.

    Parameters
    ----------
    datasets : tuple of FitDataset
    models : Models
        All models that the fit moves or needs, backgrounds included.
    layout : Layout
        Shared coordinates of the likelihood.
    shared : tuple of FitParameter
        The free parameters that the fit moves itself.
    local : tuple of FitParameter
        Those that each dataset finds for itself, dataset by dataset.
    warnings : tuple of str
    collections : tuple of Models
        The user's own collections, which are to get the covariance, too.
    """

    datasets: tuple[FitDataset, ...]
    models: Models
    layout: Layout
    shared: tuple[FitParameter, ...]
    local: tuple[FitParameter, ...]
    warnings: tuple[str, ...] = ()
    collections: tuple[Models, ...] = ()

    @classmethod
    def of(
        cls,
        datasets: FitDataset | Sequence[FitDataset],
        models: Any = None,
        promoted: Iterable[Parameter] = (),
    ) -> Problem:
        """Collect and check everything.

        Parameters
        ----------
        datasets : dataset or sequence of datasets
        models : model or iterable of models, optional
            By default those of the datasets. A dataset without a background model among them keeps
            its own.
        promoted : iterable of Parameter
            Local parameters that are to be shared ones, so that the fit moves them itself.

        Raises
        ------
        FitError
            No dataset, no model, two datasets of one name, a model for a dataset that is not there.
        ModelError
            A parameter outside its limits, a source without a spatial model.
        """
        given = _listed(datasets)
        if not given:
            raise FitError("there are no datasets", hint="Give at least one")
        names = [dataset.name for dataset in given]
        repeated = (
            sorted({name for name in names if names.count(name) > 1}) if len(set(names)) < len(names) else []
        )
        if repeated:
            raise FitError(f"two datasets are named {repeated[0]!r}", hint="Give each a name of its own")
        collected = _collect(given, models)
        if not len(collected):
            raise FitError(
                "there are no models", where=_shown(names), hint="Give models=, or set dataset.models"
            )
        warnings = _check_places(collected, names)
        for parameter in collected.parameters.unique_parameters:
            parameter.check()
        grids = {dataset.name: grid_of(dataset) for dataset in given}
        layout = _elliptical(layout_of(collected, grids), collected)
        layout = replace(layout, nuisance=(*layout.nuisance, *_promoted(collected, layout, promoted)))
        shared, local = _sorted_out(collected, layout)
        owned = (models, *(dataset.models for dataset in given)) if models is None else (models,)
        collections = {id(each): each for each in owned if isinstance(each, Models)}
        return cls(given, collected, layout, shared, local, warnings, tuple(collections.values()))

    @property
    def parameters(self) -> tuple[FitParameter, ...]:
        """All free parameters: shared, then local ones."""
        return (*self.shared, *self.local)

    def models_of(self, dataset: FitDataset) -> list[SkyModel | FoVBackgroundModel]:
        """The models that describe one dataset."""
        own = self._backgrounds.get(dataset.name)
        sources: list[SkyModel | FoVBackgroundModel] = [
            m for m in self._sources if m.belongs_to(dataset.name)
        ]
        return sources if own is None else [*sources, own]

    @cached_property
    def _backgrounds(self) -> dict[str, FoVBackgroundModel]:
        return self.models.background_models

    @cached_property
    def _sources(self) -> list[SkyModel]:
        return self.models.sky_models


def _listed(datasets: FitDataset | Sequence[FitDataset]) -> tuple[FitDataset, ...]:
    return tuple(datasets) if isinstance(datasets, Iterable) else (datasets,)


def _collect(datasets: Sequence[FitDataset], models: Any) -> Models:
    """The models given, or those of the datasets, each once; and the own background of a dataset that has no other."""
    found: dict[int, Any] = {}
    for model in _each(models):
        found.setdefault(id(model), model)
    if models is None:
        for dataset in datasets:
            for model in _each(dataset.models):
                found.setdefault(id(model), model)
    with_background = {m.datasets_names[0] for m in found.values() if isinstance(m, FoVBackgroundModel)}
    for dataset in datasets:
        for model in _each(dataset.models):
            if isinstance(model, FoVBackgroundModel) and dataset.name not in with_background:
                found.setdefault(id(model), model)
    if isinstance(models, Models) and len(found) == len(models):
        return models
    return Models(found.values())


def _each(models: Any) -> list[Any]:
    if models is None:
        return []
    return [models] if isinstance(models, SkyModel | FoVBackgroundModel) else list(models)


def _check_places(models: Models, names: Sequence[str]) -> tuple[str, ...]:
    """Refuse models that are for none of the datasets; warn of those that are for some others, too."""
    there, warnings = set(names), []
    for model in models:
        if model.datasets_names is None:
            continue
        wanted = list(model.datasets_names)
        missing = [name for name in wanted if name not in there]
        if len(missing) == len(wanted):
            near = difflib.get_close_matches(missing[0], names, n=1) if missing else []
            raise FitError(
                f"the model is for dataset {missing[0]!r}, which is not there"
                if missing
                else "it names no dataset",
                where=f"model {model.name!r}",
                hint=f"Did you mean {near[0]!r}?" if near else f"The datasets are {_shown(names)}",
            )
        if missing:
            warnings.append(f"model {model.name!r} is also for {', '.join(missing)}, not in this fit")
    return tuple(warnings)


def _shown(names: Sequence[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")


def _elliptical(layout: Layout, models: Models) -> Layout:
    """The same with the entries of the ellipse's matrix in the place of size, e and phi, where e or phi is free."""
    sources = {model.name: model for model in models.sky_models}
    blocks = []
    for block in layout.spatial:
        shape = sources[block.source].spatial_model
        if isinstance(shape, RadialSpatialModel) and {"e", "phi"} & set(block.parameters):
            kept = tuple(name for name in block.parameters if name not in (shape.size, "e", "phi"))
            block = SpatialBlock(block.source, (*kept, *COVARIANCE))
        blocks.append(block)
    return replace(layout, spatial=tuple(blocks))


def _promoted(models: Models, layout: Layout, promoted: Iterable[Parameter]) -> list[SharedNuisance]:
    wanted = {id(parameter) for parameter in promoted}
    return [
        SharedNuisance(f"{model.name}:{parameter.name}", ((dataset, parameter.name),))
        for dataset, model in models.background_models.items()
        for parameter in model.parameters.free_unique_parameters
        if id(parameter) in wanted and layout.nuisance_index(dataset, parameter.name) is None
    ]


def _named(model: SkyModel | FoVBackgroundModel) -> list[tuple[Parameter, str]]:
    """The parameters of a model with their names; one that stands twice in a part stands here once for it."""
    parts = model.parts if isinstance(model, SkyModel) else {"spectral": model.spectral_model}
    return [
        (parameter, f"{model.name}.{kind}.{name}")
        for kind, part in parts.items()
        for parameter, name in zip(part.parameters.unique_parameters, part.parameter_names, strict=True)
    ]


def _sorted_out(models: Models, layout: Layout) -> tuple[tuple[FitParameter, ...], tuple[FitParameter, ...]]:
    """Free parameters: shared ones (of sources, or of several backgrounds), and those local to a dataset."""
    shared: dict[int, FitParameter] = {}
    local: dict[int, FitParameter] = {}
    members = {member for nuisance in layout.nuisance for member in nuisance.members}
    for model in models:
        is_source = isinstance(model, SkyModel)
        dataset = "" if isinstance(model, SkyModel) else model.datasets_names[0]
        for parameter, name in _named(model):
            if parameter.frozen:
                continue
            if is_source or (dataset, parameter.name) in members:
                shared.setdefault(id(parameter), FitParameter(parameter, name))
            else:
                local.setdefault(id(parameter), FitParameter(parameter, name, dataset))
    return tuple(shared.values()), tuple(own for key, own in local.items() if key not in shared)
