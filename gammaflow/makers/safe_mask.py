"""`SafeMaskMaker`: the range of energies and offsets in which an observation can be trusted."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from typing import Any, Literal, TypeVar

import astropy.units as u
import numpy as np
from astropy.coordinates import SkyCoord
from numpy.typing import NDArray

from gammaflow.data import Observation
from gammaflow.datasets import (
    CountsDataset,
    DatasetGeometry,
    MapDatasetGeometry,
    OnOffDataset,
    SpectrumDatasetGeometry,
)
from gammaflow.errors import ConfigError, GammaflowError
from gammaflow.irf import Background2D, Background3D, EffectiveAreaTable2D, EnergyDispersion2D
from gammaflow.makers.energy_threshold import (
    bias_threshold,
    fraction_of_maximum,
    kernel_at,
    kernel_of,
    nearest_spectrum,
)
from gammaflow.makers.sky_pass import SkyMaps
from gammaflow.maps import RegionGeom, WcsGeom, lonlat_to_vectors, position_vector, separation

log = logging.getLogger(__name__)

Mask = NDArray[np.bool_]
Kind = TypeVar("Kind", bound=CountsDataset)
METHODS = ("aeff-default", "aeff-max", "edisp-bias", "offset-max", "bkg-peak")


class SafeMaskMaker:
    """Make the mask of the safe data range of an observation.

    First of all a bin is safe where the background is above 0 (if there is one). Each method then takes bins
    away:

    - ``aeff-default``: bins that are not inside the range LO_THRES..HI_THRES of the effective area's header.
    - ``aeff-max``: energies below the one where the effective area first reaches ``aeff_percent`` of its maximum.
    - ``edisp-bias``: energies below the one where the energy bias comes down to ``bias_percent``.
    - ``bkg-peak``: energies below the bin with the largest background.
    - ``offset-max``: pixels at ``offset_max`` or farther from the pointing.

    Thresholds in true energy are applied to reconstructed energies as they are, and a bin is kept if its lower
    edge is not below the threshold.

    Parameters
    ----------
    methods : iterable of str
    aeff_percent, bias_percent : float
    position : SkyCoord or mapping, optional
        Where effective area and bias are taken; a mapping has ``frame``, ``lon`` and ``lat``. The centre of the
        map by default.
    fixed_offset : str, Quantity or float, optional
        Distance (deg) to the north of the pointing where they are taken, instead of ``position``.
    offset_max : str, Quantity or float
        deg.
    irfs : {"DL4", "DL3"}
        Take thresholds from the dataset, or from the responses as they are in the file.

    Raises
    ------
    ConfigError
        If an argument is not one of those.
    """

    tag = "SafeMaskMaker"

    def __init__(
        self,
        methods: Iterable[str] = ("aeff-default",),
        aeff_percent: float = 10.0,
        bias_percent: float = 10.0,
        position: SkyCoord | Mapping[str, Any] | None = None,
        fixed_offset: str | float | u.Quantity | None = None,
        offset_max: str | float | u.Quantity = "3 deg",
        irfs: Literal["DL4", "DL3"] = "DL4",
    ) -> None:
        self.methods = frozenset([methods] if isinstance(methods, str) else methods)
        if unknown := self.methods.difference(METHODS):
            raise ConfigError(
                f"method {sorted(unknown)}", where=self.tag, hint=f"Known are {', '.join(METHODS)}"
            )
        if position is not None and fixed_offset is not None:
            raise ConfigError("both position and fixed_offset", where=self.tag, hint="Give one of them")
        if irfs not in ("DL3", "DL4"):
            raise ConfigError(f"irfs {irfs!r}", where=self.tag, hint="Known are DL3, DL4")
        if isinstance(position, Mapping):
            position = SkyCoord(position["lon"], position["lat"], frame=position["frame"])
        self.aeff_percent = float(aeff_percent)
        self.bias_percent = float(bias_percent)
        self.position: SkyCoord | None = position
        self.fixed_offset = None if fixed_offset is None else float(u.Quantity(fixed_offset, u.deg).value)
        self.offset_max = float(u.Quantity(offset_max, u.deg).value)
        self.irfs = irfs

    def run(self, dataset: Kind, observation: Observation) -> Kind:
        """The dataset with what is not safe taken out of its mask.

        Parameters
        ----------
        dataset : MapDataset or SpectrumDataset, or with ON and OFF counts
            As its maker made it.
        observation : Observation

        Returns
        -------
        dataset : of the same type
            It shares all other arrays with the one given.
        """
        try:
            mask = self._mask(dataset, observation)
        except GammaflowError as error:
            place = f"observation {observation.obs_id}"
            raise error if place in error.where else error.at(place) from None
        return dataset.with_arrays(mask_safe=mask.reshape(dataset.geometry.shapes["mask_safe"]))

    def _mask(self, dataset: CountsDataset, observation: Observation) -> Mask:
        """A new mask, as a cube: bins that were safe, have a background, and that no method takes away."""
        maps = dataset._workspace if isinstance(dataset._workspace, SkyMaps) else None
        background, existing = dataset.cube("background"), dataset.cube("mask_safe")
        positive: Mask | None = None
        if background is not None:
            if maps is not None and maps.positive is not None and maps.background is background:
                positive = maps.positive
            else:
                positive = np.isfinite(background) & (background > 0)
        inside = self._inside(dataset, observation, maps)
        mask = np.zeros(dataset.geometry.cube_shapes["mask_safe"], dtype=bool)
        for k in np.flatnonzero(self._energy_mask(dataset, observation)):
            mask[k] = inside if positive is None else np.logical_and(positive[k], inside)
        # A mask of one True that is seen through broadcasting takes nothing away
        if existing is not None and not (existing.strides == (0, 0, 0) and existing.flat[0]):
            mask &= existing
        return mask

    def _inside(self, dataset: CountsDataset, observation: Observation, maps: SkyMaps | None) -> Mask:
        """Pixels (ny, nx) that are not too far from the pointing."""
        if "offset-max" not in self.methods:
            return np.ones(dataset.geometry.cube_shapes["mask_safe"][1:], dtype=bool)
        pointing = observation.pointing.vector
        if maps is not None and np.array_equal(maps.pointing, pointing):
            offset = maps.offset
        else:
            offset = separation(_vectors(dataset.geometry), pointing)
        return offset < self.offset_max

    def _energy_mask(self, dataset: CountsDataset, observation: Observation) -> Mask:
        axis = dataset.geometry.energy_axis
        mask = np.ones(axis.nbin, dtype=bool)
        if "aeff-default" in self.methods:
            limits = [observation.aeff.meta.get(card) or None for card in ("LO_THRES", "HI_THRES")]
            for limit, side in zip(limits, ("lower", "upper"), strict=True):
                if limit is None:
                    log.info("observation %s has no default %s energy threshold", observation.obs_id, side)
            mask &= axis.energy_mask(*limits)
        for method, threshold in (
            ("aeff-max", self._aeff_threshold),
            ("edisp-bias", self._bias_threshold),
            ("bkg-peak", self._background_threshold),
        ):
            if method in self.methods:
                mask &= axis.energy_mask(threshold(dataset, observation))
        return mask

    def _position(self, dataset: CountsDataset, observation: Observation) -> NDArray[np.float64]:
        """ICRS unit vector of the place where thresholds are taken."""
        if self.fixed_offset is not None:
            pointing = observation.pointing
            return lonlat_to_vectors(pointing.ra, pointing.dec + self.fixed_offset)
        if self.position is not None:
            return position_vector(self.position)
        return _place(dataset.geometry).center_vector

    def _offset(self, observation: Observation) -> float:
        if self.fixed_offset is not None:
            return self.fixed_offset
        if self.position is None:
            return 0.0
        return float(separation(position_vector(self.position), observation.pointing.vector))

    def _aeff_threshold(self, dataset: CountsDataset, observation: Observation) -> float:
        if self.irfs == "DL3":
            aeff = observation.aeff
            assert isinstance(aeff, EffectiveAreaTable2D)  # the only class of effective areas
            edges = aeff.axis("energy_true").edges
            values = aeff.evaluate(energy_true=edges, offset=self._offset(observation))
            above = edges[values > self.aeff_percent / 100 * values.max()]
            return float(above[0]) if above.size else np.inf
        exposure = _required(dataset, "exposure", "aeff-max")
        place = _place(dataset.geometry)
        if isinstance(place, RegionGeom):
            spectrum = exposure.astype(np.float64)
        else:
            spectrum = nearest_spectrum(exposure, place, self._position(dataset, observation))
        if not (spectrum > 0).any():
            log.warning(
                "observation %s: no effective area at the position; nothing is safe", observation.obs_id
            )
            return np.inf
        return fraction_of_maximum(
            dataset.geometry.energy_axis_true.center, spectrum, self.aeff_percent / 100
        )

    def _bias_threshold(self, dataset: CountsDataset, observation: Observation) -> float:
        geometry = dataset.geometry
        if self.irfs == "DL3":
            edisp = observation.edisp
            assert isinstance(edisp, EnergyDispersion2D)  # the only class of energy dispersions
            axis = edisp.axis("energy_true")
            kernel = kernel_of(edisp, self._offset(observation))
            return bias_threshold(kernel, axis.nodes, axis.nodes, self.bias_percent / 100)
        kernel = kernel_at(
            _required(dataset, "edisp", "edisp-bias"), geometry, self._position(dataset, observation)
        )
        true, reco = geometry.energy_axis_true.center, geometry.energy_axis.center
        return bias_threshold(kernel, true, reco, self.bias_percent / 100)

    def _background_threshold(self, dataset: CountsDataset, observation: Observation) -> float:
        if self.irfs == "DL3":
            bkg = observation.bkg
            radial = bkg.to_2d() if isinstance(bkg, Background3D) else bkg
            assert isinstance(radial, Background2D)  # the only other class of backgrounds
            offset = radial.axis("offset")
            spectrum = radial.filled().astype(np.float64) @ (offset.nodes * offset.bin_width)
            return float(radial.axis("energy").edges[int(np.argmax(spectrum))])
        spectrum = _background_spectrum(dataset)
        return float(dataset.geometry.energy_axis.edges[int(np.argmax(spectrum))])

    def __repr__(self) -> str:
        return f"SafeMaskMaker(methods={sorted(self.methods)}, offset_max={self.offset_max} deg)"


def _place(geometry: DatasetGeometry) -> WcsGeom | RegionGeom:
    """The map without its axes, or the region."""
    assert isinstance(geometry, MapDatasetGeometry | SpectrumDatasetGeometry)  # there is no other kind
    return geometry.image if isinstance(geometry, MapDatasetGeometry) else geometry.geom


def _vectors(geometry: DatasetGeometry) -> NDArray[np.float64]:
    """ICRS unit vectors (3, ny, nx) of the pixels; a region is one, at its centre."""
    place = _place(geometry)
    return place.center_vector[:, None, None] if isinstance(place, RegionGeom) else place.pixel_vectors()


def _background_spectrum(dataset: CountsDataset) -> NDArray[np.float64]:
    """Predicted background counts (n_energy,) of all pixels."""
    if isinstance(dataset, OnOffDataset):
        background, factor = dataset.background_counts(), None
    else:
        background, factor = dataset.array("background"), dataset.background_factor()
    if background is None:
        background = _required(dataset, "background", "bkg-peak")
    spectrum = background.reshape(len(background), -1).sum(axis=1, dtype=np.float64)
    return spectrum if factor is None else spectrum * factor


def _required(dataset: CountsDataset, name: str, method: str) -> NDArray[Any]:
    array = dataset.array(name)
    if array is None:
        raise ConfigError(
            f"the method {method} needs the {name}, which the dataset does not have",
            where=f"dataset {dataset.name}",
            hint=f"Add {name} to the map selection",
        )
    return array
