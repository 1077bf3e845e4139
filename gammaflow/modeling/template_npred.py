"""`TemplateNPredModel`: counts that are known, times a norm."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gammaflow.errors import ModelError
from gammaflow.modeling.counts_cube import CountsCube
from gammaflow.modeling.entries import check_keys
from gammaflow.modeling.sky_model import SkyModel
from gammaflow.modeling.spectral.base import SpectralModel
from gammaflow.modeling.spectral.power_law import PowerLawNormSpectralModel

Floats = NDArray[np.float64]


class TemplateNPredModel(SkyModel):
    """Counts in the bins of one dataset, say of a background or of sources that were predicted before, times a norm.

        ``npred_e[p] = counts_e[p] norm(E_e)``,  E_e the bin's logarithmic centre

    Responses do not act on it. Its pixels are those of the dataset, or a part of them.

    Parameters
    ----------
    map : CountsCube
    spectral_model : SpectralModel, optional
        A norm model, by default `PowerLawNormSpectralModel` (norm 1, tilt 0 and frozen).
    name : str, optional
        By default eight random characters.
    filename : str or Path, optional
        Where the counts are; files of models name it.
    datasets_names : list of one str, or str
        The dataset it belongs to.

    Raises
    ------
    ModelError
        Without exactly one dataset, or with a spectral model that is a flux.
    """

    tag = ("TemplateNPredModel", "template-npred")

    def __init__(
        self,
        map: CountsCube,
        spectral_model: SpectralModel | None = None,
        name: str | None = None,
        filename: str | Path | None = None,
        datasets_names: list[str] | str | None = None,
    ) -> None:
        names = [datasets_names] if isinstance(datasets_names, str) else datasets_names
        if names is None or len(names) != 1:
            raise ModelError(
                f"datasets_names is {names!r}",
                where=f"TemplateNPredModel {name or ''}".rstrip(),
                hint="Its counts are those of one dataset: name it",
            )
        self.map = map
        self.filename = None if filename is None else str(filename)
        spectral_model = PowerLawNormSpectralModel() if spectral_model is None else spectral_model
        super().__init__(spectral_model, name=name, datasets_names=names)

    def _check_unit(self) -> None:
        if not self.spectral_model.is_norm_spectral_model:
            raise ModelError(
                f"{type(self.spectral_model).__name__} as norm of counts",
                where=f"TemplateNPredModel {self.name!r}",
                hint="Give a norm model, e.g. PowerLawNormSpectralModel()",
            )

    def norms(self) -> Floats:
        """Factors (E,) on the counts of each energy bin."""
        return np.array(self.spectral_model.values(self.map.centers))

    @classmethod
    def read(cls, filename: str | Path, **kwargs: Any) -> TemplateNPredModel:
        """With the counts of a FITS file, see `CountsCube.read`; other arguments are the class's."""
        return cls(CountsCube.read(filename), filename=filename, **kwargs)

    def write(self, filename: str | Path | None = None, overwrite: bool = False) -> None:
        """Write the counts, by default to `filename`."""
        if filename is not None:
            self.filename = str(filename)
        if self.filename is None:
            raise ModelError("has no filename", where=self.tag[0], hint="Give one to .write()")
        self.map.write(self.filename, overwrite)

    def to_dict(self, full_output: bool = False) -> dict[str, Any]:
        """As it stands in Gammapy's YAML; the counts must have a file."""
        if self.filename is None:
            raise ModelError(
                "counts without a file cannot stand in a file of models",
                where=f"{self.tag[0]} {self.name!r}",
                hint="Write them first: .write('counts.fits')",
            )
        data = super().to_dict(full_output)
        return {**data, "filename": self.filename}

    @classmethod
    def _from_entry(cls, entry: dict[str, Any]) -> TemplateNPredModel:
        check_keys(entry, ("name", "type", "datasets_names", "spectral", "spatial", "filename"))
        if entry.get("spatial") is not None:
            raise ModelError(
                "has a spatial model", hint="Multiply the counts in its file by it, and leave 'spatial:' out"
            )
        if "filename" not in entry:
            raise ModelError("has no filename", hint="Add 'filename:', a FITS cube of counts")
        spectral = entry.get("spectral")
        return cls(
            CountsCube.read(entry["filename"]),
            None if spectral is None else SpectralModel.from_dict({"spectral": spectral}),
            name=entry.get("name"),
            filename=entry["filename"],
            datasets_names=entry.get("datasets_names"),
        )

    def __repr__(self) -> str:
        return f"TemplateNPredModel({self.filename or 'counts'}, shape {self.map.data.shape}, name={self.name!r})"

    def __str__(self) -> str:
        return super().__str__().replace("SkyModel", "TemplateNPredModel", 1)
