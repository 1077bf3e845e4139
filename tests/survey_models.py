"""The small survey of `tests.survey` for fits, and models for it: its sources, all but one as they truly are."""

from __future__ import annotations

from pathlib import Path

from gammaflow.modeling import Models
from tests import survey as small

SOURCE = "point-power-law"
FREE = (
    f"{SOURCE}.spectral.index",
    f"{SOURCE}.spectral.amplitude",
    f"{SOURCE}.spatial.lon_0",
    f"{SOURCE}.spatial.lat_0",
)


def make_survey(folder: Path) -> Path:
    """`tests.survey.make_survey`, with pixels that the sources are resolved by."""
    return finer(small.make_survey(folder))


def copy_survey(survey: Path, folder: Path) -> Path:
    """One of one's own."""
    return finer(small.copy_survey(survey, folder))


def finer(folder: Path) -> Path:
    """The same with smaller pixels, on a smaller map."""
    path = folder / "config.yaml"
    text = path.read_text().replace("binsize: 0.2 deg", "binsize: 0.05 deg")
    path.write_text(
        text.replace("width: {width: 6 deg, height: 4 deg}", "width: {width: 4 deg, height: 3 deg}")
    )
    return folder


def start_models(survey: Path) -> Models:
    """The sources of a survey; one is free, and starts off its place."""
    models = Models.read(survey / "survey" / "models.yaml")
    models.freeze()
    source = models[SOURCE]
    for parameter in (*source.spectral_model.parameters, *source.spatial_model.parameters):
        parameter.frozen = parameter.name == "reference"
    source.spectral_model.amplitude.value *= 1.5
    source.spectral_model.index.value = 2.0
    return models


def write_start_models(survey: Path, path: Path) -> Path:
    """The same as a YAML file."""
    start_models(survey).write(path, write_covariance=False)
    return path
