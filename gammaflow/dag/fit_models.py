"""The models of an analysis: from what a user names, completed for its datasets."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from gammaflow.config import AnalysisConfig
from gammaflow.datasets import CountsDataset, Datasets
from gammaflow.errors import ConfigError
from gammaflow.modeling import FoVBackgroundModel, Models, SkyModel

ModelsLike = Models | SkyModel | Sequence[SkyModel | FoVBackgroundModel] | str | Path
"""Models; or a YAML file of them, or its text."""


def models_from(models: ModelsLike | None, config: AnalysisConfig) -> Models:
    """Models from what a user names: a YAML file or its text, ``general.models_file`` if None, or models themselves.

    Raises
    ------
    ConfigError
        No file is named, or it is not there, or wrong.
    """
    if models is None:
        models = config.general.models_file
        if models is None:
            raise ConfigError(
                "no models are given", where="general.models_file", hint="Set it, or pass models"
            )
    if isinstance(models, str) and "\n" in models:
        return Models.from_yaml(models)
    if isinstance(models, str | Path):
        return Models.read(config.path(str(models)))
    return models if isinstance(models, Models) else Models(models)


def with_backgrounds(models: Models, datasets: Datasets) -> Models:
    """The models, and for each modelled background that none of them is for its own model, or one with a free norm."""
    given = models.background_models
    missing = [
        dataset.background_model or FoVBackgroundModel(dataset_name=dataset.name)
        for dataset in datasets
        if isinstance(dataset, CountsDataset)
        and dataset.stat_type == "cash"
        and "background" in dataset.data.variables
        and dataset.name not in given
    ]
    return Models([*models, *missing])
