"""`FoVBackgroundMaker`: the norm of the background, from the counts outside of known sources."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from gammaflow.data import Observation
from gammaflow.datasets import MapDataset
from gammaflow.errors import ConfigError
from gammaflow.makers.background.exclusion import Exclusion, exclusion_of
from gammaflow.makers.background.failure import unsafe
from gammaflow.makers.background.norm_fit import EnergySums, fit_norm, scale_norm
from gammaflow.maps.region_mask import RegionLike
from gammaflow.modeling import FoVBackgroundModel, Model, SpectralModel


class FoVBackgroundMaker:
    """Adjust the background of a dataset to its counts in the whole field of view.

    Only bins count that are safe, chosen for the fit, and not excluded. With N their counts and B their
    background, ``scale`` sets the norm to N / B with the error sqrt(N) / B; ``fit`` minimises the Cash statistic
    in the free parameters of the norm model, which for the norm alone is the same.

    The norm cannot be determined where no bin counts, N / B is not finite, ``B <= min_npred_background``,
    ``N <= min_counts``, N is not positive, or the fit finds no minimum. Then no bin of the dataset is safe any
    more, a warning is logged, and the reason is in ``dataset.meta["background_failure"]``.

    Parameters
    ----------
    method : {"scale", "fit"}
    exclusion_mask : ExclusionMask, ExclusionRegions, region, DS9 string, list of them, or path, optional
        What must not be used: regions, or False in a mask.
    spectral_model : SpectralModel or str
        A norm model, or its tag.
    spatial_model : None
        Only None: the background is adjusted as a function of energy.
    min_counts : float
    min_npred_background : float

    Raises
    ------
    ConfigError
        If an argument is not one of those, or the mask excludes everything.
    """

    tag = "FoVBackgroundMaker"

    def __init__(
        self,
        method: Literal["scale", "fit"] = "scale",
        exclusion_mask: Exclusion | RegionLike | Path | None = None,
        spectral_model: SpectralModel | str = "pl-norm",
        spatial_model: None = None,
        min_counts: float = 0.0,
        min_npred_background: float = 0.0,
    ) -> None:
        if method not in ("scale", "fit"):
            raise ConfigError(f"method {method!r}", where=self.tag, hint="Known are scale, fit")
        if spatial_model is not None:
            raise ConfigError(
                f"spatial_model {spatial_model!r}",
                where=self.tag,
                hint="Leave it out: only the energy matters",
            )
        model: SpectralModel = (
            Model.create(spectral_model, "spectral") if isinstance(spectral_model, str) else spectral_model
        )
        if method == "scale" and "norm" not in model.parameters.names:
            raise ConfigError(
                f"the method scale needs a model with a parameter norm, {type(model).__name__} has none",
                where=self.tag,
                hint="Use the method fit, or the model pl-norm",
            )
        self.method = method
        self.exclusion_mask = exclusion_of(exclusion_mask, self.tag)
        if self.exclusion_mask is not None:
            self.exclusion_mask.require_some(self.tag)
        self.spectral_model = model
        self.min_counts = float(min_counts)
        self.min_npred_background = float(min_npred_background)

    def run(self, dataset: MapDataset, observation: Observation | None = None) -> MapDataset:
        """The dataset with its background model set; ``mask_fit`` is as it was.

        Parameters
        ----------
        dataset : MapDataset
            With counts and background. If it has a background model, that is adjusted.
        observation : Observation, optional
            Not used; makers are all called alike.
        """
        model = dataset.models
        model = (
            FoVBackgroundModel(self.spectral_model.copy(), dataset_name=dataset.name)
            if model is None
            else model.copy()
        )
        sums, used = self._sums(dataset)
        reason = used or self._refusal(sums, model)
        if reason is None:
            if self.method == "scale":
                norm = model.parameters["norm"]
                norm.value, norm.error = scale_norm(sums, model)
            else:
                result = fit_norm(sums, model)
                reason = None if result.success else f"the fit did not converge: {result.message}"
        dataset = dataset.with_arrays()  # what was given stays as it is
        if reason is not None:
            dataset = unsafe(dataset, reason)
        dataset.models = model
        _record(dataset, model)
        return dataset

    def _sums(self, dataset: MapDataset) -> tuple[EnergySums, str | None]:
        """Counts and background of the bins that count, and why there are none if there are none."""
        counts, background, mask = (dataset.array(name) for name in ("counts", "background", "mask_safe"))
        if counts is None or background is None or mask is None:
            raise ConfigError(
                "no counts, no background or no safe mask",
                where=f"dataset {dataset.name}",
                hint="A field-of-view background needs counts and background in the map selection",
            )
        mask_fit = dataset.array("mask_fit")
        if mask_fit is not None:
            mask = mask & mask_fit
        reason = None if mask.any() else "no bin was safe and chosen for the fit before"
        if self.exclusion_mask is not None and reason is None:
            mask = mask & self.exclusion_mask.on(dataset.geometry.geom)
            reason = None if mask.any() else "the exclusion mask covers every safe bin of this observation"
        energy = dataset.geometry.energy_axis.center
        return EnergySums(_masked_sums(counts, mask), _masked_sums(background, mask), energy), reason

    def _refusal(self, sums: EnergySums, model: FoVBackgroundModel) -> str | None:
        """Why the norm cannot be determined, None if it can."""
        counts, background = float(sums.counts.sum()), sums.npred(model)
        with np.errstate(divide="ignore", invalid="ignore"):
            norm = np.float64(counts) / background
        if not np.isfinite(norm):
            return f"{counts:.0f} counts over a background of {background:g} is not a finite norm"
        if background <= self.min_npred_background:
            return f"only {background:g} background counts outside the exclusion mask"
        if counts <= self.min_counts:
            return f"only {counts:.0f} counts outside the exclusion mask"
        if counts <= 0:
            return "no counts outside the exclusion mask"
        return None

    def __repr__(self) -> str:
        return f"FoVBackgroundMaker(method={self.method!r}, spectral_model={self.spectral_model!r})"


def _masked_sums(values: NDArray[np.generic], mask: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Sum over the pixels of each energy bin, in float64; values that are not finite are left out."""
    sums = np.empty(len(values))
    for k, (plane, inside) in enumerate(zip(values, mask, strict=True)):
        chosen = plane[inside]
        sums[k] = chosen.sum(dtype=np.float64)
        if not np.isfinite(sums[k]):
            sums[k] = chosen[np.isfinite(chosen)].sum(dtype=np.float64)
    return sums


def _record(dataset: MapDataset, model: FoVBackgroundModel) -> None:
    """Put norm and tilt into the dataset's row of observations."""
    for column, name in (("background_norm", "norm"), ("background_tilt", "tilt")):
        if name in model.parameters.names and len(dataset.observations) == 1:
            variable = dataset.data.variables[column]
            variable.data = np.array([model.parameters[name].value])
