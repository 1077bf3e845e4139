"""`FoVBackgroundModel`: the correction that a dataset's instrumental background is multiplied with."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gammaflow.errors import ModelError
from gammaflow.modeling.entries import check_keys
from gammaflow.modeling.model import Model
from gammaflow.modeling.parameter import Parameter
from gammaflow.modeling.parameters import Parameters, parameter_lines
from gammaflow.modeling.spectral.base import SpectralModel
from gammaflow.modeling.spectral.power_law import PowerLawNormSpectralModel


class FoVBackgroundModel(Model):
    """Norm of one dataset's background, as a function of energy.

    Parameters
    ----------
    spectral_model : SpectralModel, optional
        A norm model, by default `PowerLawNormSpectralModel` (norm 1, tilt 0 and frozen).
    dataset_name : str
        The dataset it belongs to.
    name : str, optional
        By default ``<dataset_name>-bkg``.

    Raises
    ------
    ModelError
        Without a dataset name, or with a spectral model that is a flux.
    """

    tag = ("FoVBackgroundModel", "fov-bkg")

    def __init__(
        self,
        spectral_model: SpectralModel | str | None = None,
        dataset_name: str | None = None,
        name: str | None = None,
    ) -> None:
        super().__init__()
        if isinstance(spectral_model, str) and dataset_name is None:
            # Gammapy's first argument is the name of the dataset
            spectral_model, dataset_name = None, spectral_model
        if not dataset_name:
            raise ModelError("a FoVBackgroundModel without a dataset", hint="Give dataset_name")
        spectral_model = PowerLawNormSpectralModel() if spectral_model is None else spectral_model
        if not isinstance(spectral_model, SpectralModel) or not spectral_model.is_norm_spectral_model:
            raise ModelError(
                f"{type(spectral_model).__name__} as norm of a background",
                where=f"{dataset_name}-bkg",
                hint="Give a norm model, e.g. PowerLawNormSpectralModel()",
            )
        self.spectral_model = spectral_model
        self.datasets_names = [dataset_name]
        self.name = name or f"{dataset_name}-bkg"

    @property
    def parameters(self) -> Parameters:
        """Parameters of the spectral model."""
        return self.spectral_model.parameters

    @property
    def parameter_names(self) -> list[str]:
        """Names as the covariance file lists them, ``spectral.norm``."""
        return [f"spectral.{name}" for name in self.spectral_model.parameter_names]

    def evaluate(self, energy_center: NDArray[np.float64]) -> NDArray[np.float64]:
        """Factors at the centres of the reconstructed energy bins.

        Parameters
        ----------
        energy_center : (E,)
            TeV.

        Returns
        -------
        (E,)
        """
        return np.array(self.spectral_model.values(np.asarray(energy_center, dtype=np.float64)))

    def evaluate_and_gradient(
        self, energy_center: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Factors (E,) and their derivatives (n_par, E) with respect to `parameters`."""
        return self.spectral_model.values_and_gradient(np.asarray(energy_center, dtype=np.float64))

    def reset_to_default(self) -> None:
        """Values as they are by default."""
        for parameter, default in zip(self.parameters, self.spectral_model._defaults(), strict=True):
            parameter.value = default.value

    def freeze(self, model_type: str | None = None) -> None:
        """Freeze the parameters (``model_type`` None or "spectral")."""
        if model_type in (None, "spectral"):
            self.spectral_model.freeze()

    def unfreeze(self, model_type: str | None = None) -> None:
        """Frozen status as by default (``model_type`` None or "spectral")."""
        if model_type in (None, "spectral"):
            self.spectral_model.unfreeze()

    def copy(self, name: str | None = None, dataset_name: str | None = None) -> FoVBackgroundModel:
        """Independent copy, perhaps for another dataset."""
        new = copy.deepcopy(self)
        if dataset_name is not None:
            new.datasets_names = [dataset_name]
            if self.name == f"{self.datasets_names[0]}-bkg":
                new.name = f"{dataset_name}-bkg"
        if name is not None:
            new.name = name
        return new

    def _replace(self, old: Parameter, new: Parameter) -> None:
        self.spectral_model._replace(old, new)

    def to_dict(self, full_output: bool = False) -> dict[str, Any]:
        """As it stands in Gammapy's YAML, with its name."""
        return {
            "name": self.name,
            "type": self.tag[0],
            "datasets_names": list(self.datasets_names),
            **self.spectral_model.to_dict(full_output),
        }

    @classmethod
    def _from_entry(cls, entry: dict[str, Any]) -> FoVBackgroundModel:
        check_keys(entry, ("name", "type", "datasets_names", "spectral"))
        names = entry.get("datasets_names")
        names = [names] if isinstance(names, str) else names
        if not isinstance(names, list) or len(names) != 1:
            raise ModelError(
                f"datasets_names is {names!r}",
                hint="A FoVBackgroundModel belongs to exactly one dataset: name it",
            )
        spectral = entry.get("spectral")
        model = None if spectral is None else SpectralModel.from_dict({"spectral": spectral})
        return cls(model, dataset_name=str(names[0]), name=entry.get("name"))

    def __repr__(self) -> str:
        return f"FoVBackgroundModel({self.spectral_model!r}, dataset_name={self.datasets_names[0]!r})"

    def __str__(self) -> str:
        lines = [
            f"FoVBackgroundModel {self.name!r}",
            f"  {'Datasets names':26}: {self.datasets_names}",
            f"  {'Spectral model type':26}: {type(self.spectral_model).__name__}",
            "  Parameters:",
            *(f"    {line}" for line in parameter_lines(self.parameters)),
        ]
        return "\n".join(lines)
