"""A source in a dataset: everything about its images that stays the same during a fit.

    A_k[p] = exposure_k[p] I_k[p],     I_k = image of H_k(nu) M(nu),     npred_e[p] = sum_k R_ke S_k A_k[p]

k: true energy, e: reconstructed energy, S_k: flux in the bin (m-2 s-1), H: transfer function (`transfer`),
M: the source (`shape`), R: energy dispersion.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from gammaflow.likelihood.frequencies import Frequencies
from gammaflow.likelihood.image_options import ImageOptions
from gammaflow.likelihood.image_state import Channel, ImageState, Transfer, Transfers
from gammaflow.likelihood.lattice import Lattice
from gammaflow.likelihood.projection import Flat, Projector
from gammaflow.likelihood.shape import Shape
from gammaflow.likelihood.transfer import PointSpread, pixel_transfer
from gammaflow.likelihood.window import source_reach

Floats = NDArray[np.float64]
Complexes = NDArray[np.complex128]

#: |Mhat| beyond which a shape that decays fast is cut; a change there is invisible.
BAND_EDGE = 4e-11
#: The cut of such a shape lies on a ladder with this ratio, so that most steps of a fit leave the list of
#: frequencies as it is.
RUNG = 1.25
#: Transforms of point spread functions that add less than this to those that are kept, relative to the largest,
#: are left out: a thousandth of what is left out of each.
BASIS = 1e-9
#: A basis of up to this share of the energies is worth its sums.
WORTHWHILE = 0.8
#: A source that has moved farther than this, in deg, is to get the responses of its new place.
LARGEST_DRIFT = 0.05


@dataclass(frozen=True, eq=False)
class SourceResponses:
    """The responses of a dataset for one source, at the K true energies that matter.

    Parameters
    ----------
    energies : slice
        Which of the dataset's true-energy bins.
    edisp : array (K, E)
    exposure : array (K, ny, nx) float32
        In m2 s, on the part of the window that lies on the map.
    spread : PointSpread
        PSF at the anchor.
    around : tuple of PointSpread
        To the east, west, north and south of it, or nothing.
    span : float
        Distance in deg between two opposite ones.
    exposure_slope : array (K, 2) or None
        ``d exposure / d(east, north)`` at the anchor, m2 s deg-1.
    weights : array (K,)
        Counts expected at each energy, up to a factor.
    """

    energies: slice
    edisp: Floats
    exposure: NDArray[np.float32]
    spread: PointSpread
    around: tuple[PointSpread, ...]
    span: float
    exposure_slope: Floats | None
    weights: Floats

    @property
    def nbytes(self) -> int:
        """Bytes held."""
        spreads = (self.spread, *self.around)
        return (
            self.exposure.nbytes + self.edisp.nbytes + sum(s.phat.nbytes + s.density.nbytes for s in spreads)
        )


class SourceImage:
    """One source in one dataset. Made by `source_image`.

    Attributes
    ----------
    name : str
        The source.
    lattice : Lattice
    shape : Shape
    projector : Flat or Warp
    responses : SourceResponses
    in_map, in_window : tuple of slice
        The part (y, x) of the window that lies on the map, in the map and in the window.
    warnings : tuple of str
    """

    def __init__(
        self,
        name: str,
        lattice: Lattice,
        shape: Shape,
        projector: Projector,
        responses: SourceResponses,
        slices: tuple[tuple[slice, slice], tuple[slice, slice]],
        warnings: tuple[str, ...],
        options: ImageOptions,
    ) -> None:
        self.name = name
        self.lattice = lattice
        self.shape = shape
        self.projector = projector
        self.responses = responses
        self.in_map, self.in_window = slices
        self.warnings = warnings
        self._options = options
        self._lists: dict[float, Transfers] = {}
        self._start_cut = self._cut()
        self._band_limited = self._start_cut < math.inf
        self._start_envelope: tuple[Floats, Floats] | None = None
        if not self._band_limited:
            q = np.linspace(0.0, lattice.highest, 4096)
            shrink = 1.0 / options.size_margin if shape.names else 1.0
            envelope = shape.envelope(q, shrink)
            if np.any(envelope < 1.0):  # a point's is 1 everywhere
                self._start_envelope = (q, envelope)

    @property
    def energies(self) -> slice:
        """Which of the dataset's true-energy bins the images are of."""
        return self.responses.energies

    @property
    def edisp(self) -> Floats:
        """Energy dispersion (K, E)."""
        return self.responses.edisp

    @property
    def exposure(self) -> NDArray[np.float32]:
        """Exposure (K, ny, nx) in m2 s on the part of the window that lies on the map."""
        return self.responses.exposure

    @property
    def size(self) -> int:
        """N, pixels along a side of the window."""
        return self.lattice.size

    @property
    def nbytes(self) -> int:
        """Bytes held."""
        return self.responses.nbytes + sum(listed.nbytes for listed in self._lists.values())

    # --- frequencies -----------------------------------------------------------------------------------

    def _cut(self) -> float:
        """|u| beyond which the shape as it stands has nothing, on the ladder; infinite where it decays
        slowly, or far out.
        """
        top = self.lattice.highest
        first, last = math.floor(math.log(1e-3 * top, RUNG)), math.ceil(math.log(top, RUNG))
        rungs = np.power(RUNG, np.arange(first, last + 1, dtype=np.float64))
        below = np.flatnonzero(self.shape.envelope(rungs) < BAND_EDGE)
        # a shape that is only just not a point is one
        return float(rungs[below[0]]) if len(below) and rungs[below[0]] < top else math.inf

    def _listed(self, cut: float) -> Transfers:
        """The frequencies that matter, and the transfer functions there. Depends on the cut alone."""
        found = self._lists.pop(cut, None)
        if found is None:
            everything = self.lattice.frequencies(min(cut, self._farthest))
            bound = self.responses.spread.envelope_at(everything.radius) * np.abs(pixel_transfer(everything))
            if self._start_envelope is not None:
                bound = bound * np.interp(everything.radius, *self._start_envelope)
            keep = bound > self._options.tolerance
            if self.shape.sampled:
                keep &= np.abs(everything.nu).max(axis=0) < self.shape.highest_nu
            found = self._transfers(everything.select(keep))
        self._lists[cut] = found
        while len(self._lists) > 2:
            del self._lists[next(iter(self._lists))]
        return found

    @cached_property
    def _farthest(self) -> float:
        """|u| beyond which PSF, pixel and shape let nothing through, on the ladder."""
        spread, tolerance = self.responses.spread, self._options.tolerance
        # the larger of two frequencies along the axes is at least |nu| / sqrt 2
        nu = spread.q / np.linalg.norm(self.lattice.jacobian, 2)
        bound = spread.envelope * np.minimum(1.0, np.sqrt(2.0) / np.maximum(np.pi * nu, 1e-9))
        if self._start_envelope is not None:
            bound = bound * np.interp(spread.q, *self._start_envelope)
        above = np.flatnonzero(bound > tolerance)
        last = float(spread.q[min(int(above[-1]) + 1, len(spread.q) - 1)]) if len(above) else 0.0
        return float(RUNG ** math.ceil(math.log(max(last, spread.q[1]), RUNG)))

    def _transfers(self, frequencies: Frequencies) -> Transfers:
        """Plain images; with varying responses those of the moments, and of the PSF's own offset times the
        slope of the exposure, ``exposure(true place) = exposure(p) - slope . (p - true place)``.
        """
        own, pixel, radius = self.responses, pixel_transfer(frequencies), frequencies.radius
        if not own.around and own.exposure_slope is None and not self.shape.depends_on_energy:
            mixing = self._mixing(float(radius.max(initial=0.0)))
            spread = own.spread if mixing is None else own.spread.combined(mixing.T)
            transfer = spread.transform(radius) * pixel
            if frequencies.folds and isinstance(self.projector, Flat):
                stacked = np.ascontiguousarray(frequencies.stack(transfer).transpose(0, 2, 1))
                return Transfers(frequencies, (), mixing, stacked)
            return Transfers(frequencies, (Channel((transfer,)),), mixing)
        transfers: list[Transfer] = [own.spread.transform(radius) * pixel]
        for up, down in (own.around[:2], own.around[2:]) if own.around else ():
            transfers.append((up.transform(radius) - down.transform(radius)) * (pixel / own.span))
        plain = Channel(tuple(transfers))
        if own.exposure_slope is None:
            return Transfers(frequencies, (plain,), None)
        # offset x PSF has the transform (i / 2 pi) Phat'(q) u / q
        slope = own.spread.transform_slope(radius) / np.where(radius > 0, radius, 1.0)
        offset: Complexes = np.multiply(-0.5j / np.pi, slope * (own.exposure_slope @ frequencies.u) * pixel)
        return Transfers(frequencies, (plain, Channel((offset,), self._inverse_exposure)), None)

    def _mixing(self, top: float) -> Floats | None:
        """The basis (K, J) of the point spread functions' transforms up to a frequency; None where it is not much
        smaller than they are.
        """
        spread = self.responses.spread
        used = spread.q <= top + spread.q[1]
        weight = np.sqrt(spread.q[used])  # in the plane there are as many frequencies
        if self._start_envelope is not None:
            weight = weight * np.interp(spread.q[used], *self._start_envelope)
        vectors, sizes, _ = np.linalg.svd(spread.phat[:, used] * weight, full_matrices=False)
        kept = int(np.count_nonzero(sizes > BASIS * sizes[0]))
        return np.ascontiguousarray(vectors[:, :kept]) if kept <= WORTHWHILE * len(vectors) else None

    def _inverse_exposure(self, part: slice) -> Floats:
        exposure = self.exposure_stretch(part)
        return np.divide(1.0, exposure, out=np.zeros_like(exposure), where=exposure > 0)

    # --- images ------------------------------------------------------------------------------------------

    def state(self, values: Floats, order: int = 0) -> ImageState:
        """The images for free spatial parameters ``values`` (r,), with derivatives up to ``order``."""
        self.shape.set(values)
        cut = self._cut() if self._band_limited and len(values) else self._start_cut
        listed = self._listed(cut)
        return ImageState(listed, self.shape.place(listed.frequencies, order), self.projector)

    @property
    def start(self) -> Floats:
        """The free spatial parameters (r,) that the source started with."""
        return self.shape.start

    def in_full(self, window: Floats) -> Floats:
        """The part of window maps (..., N, N) that lies on the map."""
        return window[(..., *self.in_window)]

    def exposure_stretch(self, part: slice) -> Floats:
        """Exposure (c, N, N) of some energies in the whole window, zero off the map, m2 s."""
        out = np.zeros((part.stop - part.start, self.size, self.size))
        out[(slice(None), *self.in_window)] = self.exposure[part]
        return out

    def check(self, values: Floats) -> tuple[float, str]:
        """Distance in deg from the anchor for spatial parameters (r,), and what speaks against going on,
        empty if nothing.
        """
        self.shape.set(values)
        lon, lat = self.shape.lonlat
        drift = self.lattice.drift(lon, lat) if self.shape.has_position else 0.0
        if drift > LARGEST_DRIFT:
            return (
                drift,
                f"the source has moved by {drift:.3f} deg: PSF and energy dispersion belong to where it was",
            )
        if not self.shape.sampled:
            room = (self.lattice.half_size - 1) * self.lattice.pixel_size
            needed = source_reach(
                self.responses.spread, self.shape.model, self.responses.weights, self._options.psf_containment
            )
            if needed + drift > room:
                return drift, f"source and PSF reach {needed + drift:.2f} deg, the window {room:.2f} deg"
        return drift, ""
