"""Datasets whose background is measured beside the source: ON and OFF counts."""

from __future__ import annotations

from typing import Any, ClassVar, Self

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike, NDArray

from gammaflow.datasets import extraction
from gammaflow.datasets.counts_dataset import CountsDataset, Kind, Rng
from gammaflow.datasets.map_dataset import MapDataset
from gammaflow.datasets.spectrum_dataset import SpectrumDataset
from gammaflow.errors import UnsupportedError
from gammaflow.maps.region_mask import RegionLike
from gammaflow.stats import wstat, wstat_mu_bkg

_EXTRA = ("counts_off", "acceptance", "acceptance_off")

#: Where in ``meta`` the OFF regions of a spectrum are, in DS9's notation.
OFF_REGIONS = "off_regions"


class OnOffDataset(CountsDataset):
    """What maps and spectra of ON and OFF counts have in common.

    ``acceptance`` and ``acceptance_off`` say how much background is to be expected, relative to each other, in
    the ON and in the OFF counts of a bin; alpha is their ratio.
    """

    stat_type = "wstat"
    _takes_background_model = False

    # What it holds

    @property
    def counts_off(self) -> xr.DataArray | None:
        """Counts of the OFF region, int32."""
        return self._labelled("counts_off")

    @property
    def acceptance(self) -> xr.DataArray | None:
        """Relative exposure to background of the ON region, float32."""
        return self._labelled("acceptance")

    @property
    def acceptance_off(self) -> xr.DataArray | None:
        """Relative exposure to background of the OFF region, float32."""
        return self._labelled("acceptance_off")

    @property
    def alpha(self) -> xr.DataArray | None:
        """Acceptance of ON over that of OFF, float64; 0 where there is no OFF acceptance."""
        alpha = self._alpha()
        return None if alpha is None else self._label(alpha, "counts", "alpha")

    def _alpha(self) -> NDArray[np.float64] | None:
        on, off = self.array("acceptance"), self.array("acceptance_off")
        if on is None or off is None:
            return None
        return np.divide(on, off, out=np.zeros(on.shape), where=off > 0, dtype=np.float64)

    @property
    def background(self) -> xr.DataArray | None:
        """Background counts in the ON region, float64: alpha times the OFF counts."""
        off, alpha = self.array("counts_off"), self._alpha()
        return None if off is None or alpha is None else self._label(alpha * off, "counts", "background")

    @property
    def counts_off_normalised(self) -> xr.DataArray | None:
        """The OFF counts as they are expected in the ON region: the `background`, by its other name."""
        return self.background

    def background_counts(self) -> NDArray[np.float64] | None:
        """Alpha times the OFF counts."""
        background = self.background
        return None if background is None else background.values

    def addends(self) -> dict[str, NDArray[Any]]:
        """What stacking adds up, as cubes: with the background in the place of the OFF acceptance."""
        background = self.background
        if background is None:
            return super().addends()
        return super().addends() | {
            "background": background.values.reshape(self.geometry.cube_shapes["counts"])
        }

    # Prediction and statistic

    def npred_background(self) -> xr.DataArray | None:
        """Predicted background counts in the ON region: alpha mu_bkg, of the OFF counts mu_bkg that fit best.

        See `gammaflow.stats.wstat_mu_bkg`. Zero where there is no OFF measurement.
        """
        on, off, alpha = self.array("counts"), self.array("counts_off"), self._alpha()
        if on is None or off is None or alpha is None:
            return None
        measured = alpha > 0
        mu = wstat_mu_bkg(on, off, np.where(measured, alpha, 1.0), self.npred_signal().values)
        return self._label(np.where(measured, alpha * mu, 0.0), "counts", "npred_background")

    def npred_off(self) -> xr.DataArray | None:
        """Predicted OFF counts: the predicted background over alpha; zero where there is no OFF measurement."""
        background, alpha = self.npred_background(), self._alpha()
        if background is None or alpha is None:
            return None
        off = np.divide(background.values, alpha, out=np.zeros(alpha.shape), where=alpha > 0)
        return self._label(off, "counts", "npred_off")

    def stat_array(self) -> xr.DataArray:
        """The W statistic of each bin, whatever the mask; zero where there is no OFF measurement."""
        on, off, alpha = self.array("counts"), self.array("counts_off"), self._alpha()
        if on is None:
            raise UnsupportedError("it has no counts", where=f"dataset {self.name}")
        if off is None or alpha is None:
            if self.mask is not None and not self.mask.any():
                return self._label(np.zeros(on.shape), "counts", "stat")
            raise UnsupportedError(
                "it has no OFF counts, but safe bins", where=f"dataset {self.name}", hint="Mask all of it"
            )
        return self._label(wstat(on, off, alpha, self.npred_signal().values), "counts", "stat")

    def fake(  # type: ignore[override]  # the field's order of arguments
        self, npred_background: ArrayLike | None = None, random_state: Rng = None
    ) -> None:
        """Replace ON and OFF counts by random ones, Poisson distributed.

        Parameters
        ----------
        npred_background : array, optional
            Background to expect in the ON region; alpha times the OFF counts when not given.
        random_state : int or numpy Generator, optional
            Seed.
        """
        alpha, background = self._alpha(), self.background if npred_background is None else npred_background
        if alpha is None or background is None:
            raise UnsupportedError(
                "it has no acceptances, or no background is known", where=f"dataset {self.name}"
            )
        expected = np.broadcast_to(np.asarray(background, dtype=np.float64), alpha.shape)
        random = np.random.default_rng(random_state)
        on = random.poisson(np.maximum(self.npred_signal().values + expected, 0.0))
        off = random.poisson(np.divide(expected, alpha, out=np.zeros(alpha.shape), where=alpha > 0))
        self.data = self.with_arrays(counts=on, counts_off=off).data

    # From and to datasets with a modelled background

    @classmethod
    def from_map_dataset(
        cls,
        dataset: CountsDataset,
        acceptance: ArrayLike,
        acceptance_off: ArrayLike | None,
        counts_off: ArrayLike | None = None,
        name: str | None = None,
    ) -> Self:
        """An ON/OFF dataset from one that brings counts and responses.

        Parameters
        ----------
        dataset : MapDataset or SpectrumDataset
            Its background is not taken over, nor are its models.
        acceptance, acceptance_off : float or array
            Relative exposure to background of ON and OFF region; without the latter there are no OFF counts.
        counts_off : array, optional
            When not given, and the dataset has a background: that over alpha, rounded.
        name : str, optional
            That of the dataset when not given.
        """
        shape = dataset.geometry.shapes["counts"]
        on, off = (
            None if a is None else np.broadcast_to(np.asarray(a, dtype=np.float64), shape)
            for a in (acceptance, acceptance_off)
        )
        background = dataset.npred_background()
        if counts_off is None and background is not None and on is not None and off is not None:
            ratio = np.divide(off, on, out=np.zeros(shape), where=on > 0)
            counts_off = np.rint(background.values * ratio).astype(np.int64)
        shared = [n for n in cls.arrays if n not in _EXTRA]
        arrays: dict[str, Any] = {n: dataset.array(n) for n in shared}
        if counts_off is not None and off is not None:
            arrays["counts_off"] = np.asarray(counts_off)
        made = dataset.of_type(cls, dataset.geometry, name, acceptance=on, acceptance_off=off, **arrays)
        made._workspace = dataset._workspace
        return made

    def _with_background(self, kind: type[Kind], name: str | None) -> Kind:
        """The same as a dataset of another type, whose background is alpha times the OFF counts."""
        arrays = {n: self.array(n) for n in kind.arrays} | {"background": self.background_counts()}
        return self.of_type(kind, self.geometry, name, **arrays)


def _on_off(arrays: tuple[str, ...]) -> tuple[str, ...]:
    return ("counts", *_EXTRA, *(n for n in arrays if n not in ("counts", "background")))


class MapDatasetOnOff(OnOffDataset, MapDataset):
    """Maps of ON counts, with OFF counts and acceptances in the place of a modelled background.

    The arrays are those of a `MapDataset` without ``background``, and ``counts_off``, ``acceptance``,
    ``acceptance_off`` (energy, y, x).
    """

    tag = "MapDatasetOnOff"
    arrays: ClassVar[tuple[str, ...]] = (
        "counts",
        *_EXTRA,
        *(n for n in MapDataset.arrays if n not in ("counts", "background")),
    )

    def to_spectrum_dataset(
        self, on_region: RegionLike, containment_correction: bool = False, name: str | None = None
    ) -> SpectrumDatasetOnOff:
        """What a region holds as a spectrum, see `gammaflow.datasets.extraction`."""
        return extraction.to_spectrum_dataset(
            self, on_region, containment_correction, name, SpectrumDatasetOnOff
        )

    def to_map_dataset(self, name: str | None = None) -> MapDataset:
        """The same with a background of alpha times the OFF counts."""
        return self._with_background(MapDataset, name)


class SpectrumDatasetOnOff(OnOffDataset, SpectrumDataset):
    """ON counts of a region as a function of energy, with OFF counts and acceptances.

    The arrays are those of a `SpectrumDataset` without ``background``, and ``counts_off``, ``acceptance``,
    ``acceptance_off`` (energy,).
    """

    tag = "SpectrumDatasetOnOff"
    arrays: ClassVar[tuple[str, ...]] = (
        "counts",
        *_EXTRA,
        *(n for n in SpectrumDataset.arrays if n not in ("counts", "background")),
    )

    @classmethod
    def from_spectrum_dataset(
        cls,
        dataset: CountsDataset,
        acceptance: ArrayLike,
        acceptance_off: ArrayLike | None,
        counts_off: ArrayLike | None = None,
        name: str | None = None,
    ) -> Self:
        """See `from_map_dataset`."""
        return cls.from_map_dataset(dataset, acceptance, acceptance_off, counts_off, name)

    def to_spectrum_dataset(self, name: str | None = None) -> SpectrumDataset:
        """The same with a background of alpha times the OFF counts."""
        return self._with_background(SpectrumDataset, name)
