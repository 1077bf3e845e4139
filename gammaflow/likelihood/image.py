"""A source in a dataset: everything about its images that stays the same during a fit.

    A_k[p] = exposure_k[p] I_k[p],     I_k = image of H_k(nu) M(nu),     npred_e[p] = sum_k R_ke S_k A_k[p]

k: true energy, e: reconstructed energy, S_k: flux in the bin (m-2 s-1), H: transfer function (`transfer`),
M: the source (`shape`), R: energy dispersion.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from gammaflow.likelihood.frequencies import CHUNK, Frequencies
from gammaflow.likelihood.image_options import ImageOptions
from gammaflow.likelihood.lattice import Lattice
from gammaflow.likelihood.projection import Projector
from gammaflow.likelihood.shape import Placed, Shape
from gammaflow.likelihood.transfer import PointSpread, pixel_transfer
from gammaflow.likelihood.window import source_reach

Floats = NDArray[np.float64]
Complexes = NDArray[np.complex128]
Transfer = NDArray[np.float64] | NDArray[np.complex128]

#: |Mhat| beyond which a shape that decays fast is cut; a change there is invisible.
BAND_EDGE = 4e-11
#: The cut of such a shape lies on a ladder with this ratio, so that most steps of a fit leave the list of
#: frequencies as it is.
RUNG = 1.25
#: A source that has moved farther than this, in deg, is to get the responses of its new place.
LARGEST_DRIFT = 0.05


@dataclass(frozen=True, eq=False)
class Channel:
    """One part of a source's images: transfer functions, and what the pixels of the result are multiplied
    with.

    Parameters
    ----------
    transfers : tuple of array (K, Q)
        One, or three: those that go with M, and with its moments to east and north.
    weight : callable or None
        Gives the factors (c, N, N) for a stretch of energies; None for 1.
    """

    transfers: tuple[Transfer, ...]
    weight: Callable[[slice], Floats] | None = None


@dataclass(frozen=True, eq=False)
class ImageState:
    """The images of one source for one set of spatial parameters, still in Fourier space.

    Parameters
    ----------
    frequencies : Frequencies
    channels : tuple of Channel
        C parts that add up.
    placed : tuple of Placed
        M, and its moments if there are any.
    projector : Flat or Warp
    """

    frequencies: Frequencies
    channels: tuple[Channel, ...]
    placed: tuple[Placed, ...]
    projector: Projector

    @property
    def energies(self) -> int:
        """K."""
        return len(self.channels[0].transfers[0])

    def images(self) -> Iterator[tuple[slice, Floats]]:
        """I (c, N, N) for stretches of energies; each array is valid until the next one."""
        return self._synthesised([p.value for p in self.placed])

    def derivative_images(self, number: int) -> Iterator[tuple[slice, Floats]]:
        """``dI / ds_j``, as `images`."""
        return self._synthesised([p.first[number] for p in self.placed])

    def _synthesised(self, sources: Sequence[Complexes]) -> Iterator[tuple[slice, Floats]]:
        for k in range(0, self.energies, CHUNK):
            part = slice(k, min(k + CHUNK, self.energies))
            first, *others = self.channels
            image = self.projector.synthesise(self.frequencies, _spectrum(first, sources, part))
            for channel in others:
                image = image.copy()  # the buffer is used again
                extra = self.projector.synthesise(self.frequencies, _spectrum(channel, sources, part))
                image += extra if channel.weight is None else extra * channel.weight(part)
            yield part, image

    def adjoint(self, maps: Iterator[tuple[slice, Floats]]) -> Complexes:
        """Coefficients B of maps V that come in stretches (c, N, N).

        Returns
        -------
        array (C, K, Q)
            ``sum_p V_k[p] image_k[p] = Re sum_cq conj(B_ckq) spectrum_ckq``.
        """
        out = np.empty((len(self.channels), self.energies, self.frequencies.count), dtype=np.complex128)
        for part, stretch in maps:
            for c, channel in enumerate(self.channels):
                weighted = stretch if channel.weight is None else stretch * channel.weight(part)
                out[c, part] = self.projector.adjoint(self.frequencies, weighted)
        return out

    def flux_sums(self, adjoint: Complexes) -> Floats:
        """``sum_p V_k[p] I_k[p]`` (K,) from B of the maps V."""
        total = np.zeros(self.energies)
        for weighted, placed in self._weighted(adjoint):
            total += _real_sums(weighted, placed.value[None])[0]
        return total

    def derivative_sums(self, adjoint: Complexes, fluxes: Floats | None = None) -> tuple[Floats, Floats]:
        """Sums over the pixels of V times the derivatives of the images.

        Parameters
        ----------
        adjoint : array (C, K, Q)
            B of the maps V.
        fluxes : array (K,), optional
            S; without them no second derivatives are made.

        Returns
        -------
        first : array (r, K)
            ``sum_p V_k[p] dI_k[p] / ds_j``.
        second : array (r, r)
            ``sum_k S_k sum_p V_k[p] d2I_k[p] / ds_i ds_j``.
        """
        r = len(self.placed[0].first)
        first, second = np.zeros((r, self.energies)), np.zeros((r, r))
        for weighted, placed in self._weighted(adjoint):
            first += _real_sums(weighted, placed.first)
            if fluxes is None:
                continue
            if len(placed.value) == 1:
                second += placed.second_sum((fluxes @ weighted).conj()[None])
            else:
                second += placed.second_sum((fluxes[:, None] * weighted).conj())
        return first, second

    def _weighted(self, adjoint: Complexes) -> Iterator[tuple[Complexes, Placed]]:
        """B times the conjugate transfer function, and what it goes with."""
        for own, channel in zip(adjoint, self.channels, strict=True):
            for transfer, placed in zip(channel.transfers, self.placed, strict=False):
                yield own * (transfer.conj() if np.iscomplexobj(transfer) else transfer), placed


def _real_sums(weighted: Complexes, sources: Complexes) -> Floats:
    """``Re sum_q conj(weighted_kq) sources_jkq`` (j, K); the sources may be the same for all energies."""
    if sources.shape[1] > 1:
        return np.einsum("kq,jkq->jk", weighted.conj(), sources).real
    # as a product of real matrices: real and imaginary parts stand side by side
    rows = np.ascontiguousarray(sources[:, 0]).view(np.float64)
    return rows @ weighted.view(np.float64).T


def _spectrum(channel: Channel, sources: Sequence[Complexes], part: slice) -> Complexes:
    """Sum of the transfer functions times what they go with, (c, Q). A channel may leave out the moments."""
    total: Complexes | None = None
    for transfer, source in zip(channel.transfers, sources, strict=False):
        term: Complexes = transfer[part] * (source if len(source) == 1 else source[part])
        total = term if total is None else total + term
    if total is None:
        raise ValueError("a channel without a transfer function")
    return total


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
        self._lists: dict[float, tuple[Frequencies, tuple[Channel, ...]]] = {}
        self._start_cut = self._cut()
        self._band_limited = self._start_cut < math.inf
        self._start_envelope: tuple[Floats, Floats] | None = None
        if not self._band_limited:
            q = np.linspace(0.0, lattice.highest, 4096)
            shrink = 1.0 / options.size_margin if shape.names else 1.0
            self._start_envelope = (q, shape.envelope(q, shrink))

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
        return self.responses.nbytes + sum(
            f.u.nbytes * 3 + sum(t.nbytes for channel in channels for t in channel.transfers)
            for f, channels in self._lists.values()
        )

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

    def _listed(self, cut: float) -> tuple[Frequencies, tuple[Channel, ...]]:
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
            chosen = everything.select(keep)
            found = (chosen, self._channels(chosen))
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

    def _channels(self, frequencies: Frequencies) -> tuple[Channel, ...]:
        """Plain images; with varying responses those of the moments, and of the PSF's own offset times the
        slope of the exposure, ``exposure(true place) = exposure(p) - slope . (p - true place)``.
        """
        own, pixel, radius = self.responses, pixel_transfer(frequencies), frequencies.radius
        transfers: list[Transfer] = [own.spread.transform(radius) * pixel]
        for up, down in (own.around[:2], own.around[2:]) if own.around else ():
            transfers.append((up.transform(radius) - down.transform(radius)) * (pixel / own.span))
        plain = Channel(tuple(transfers))
        if own.exposure_slope is None:
            return (plain,)
        # offset x PSF has the transform (i / 2 pi) Phat'(q) u / q
        slope = own.spread.transform_slope(radius) / np.where(radius > 0, radius, 1.0)
        offset: Complexes = np.multiply(-0.5j / np.pi, slope * (own.exposure_slope @ frequencies.u) * pixel)
        return plain, Channel((offset,), self._inverse_exposure)

    def _inverse_exposure(self, part: slice) -> Floats:
        exposure = self.exposure_stretch(part)
        return np.divide(1.0, exposure, out=np.zeros_like(exposure), where=exposure > 0)

    # --- images ------------------------------------------------------------------------------------------

    def state(self, values: Floats, order: int = 0) -> ImageState:
        """The images for free spatial parameters ``values`` (r,), with derivatives up to ``order``."""
        self.shape.set(values)
        cut = self._cut() if self._band_limited and len(values) else self._start_cut
        frequencies, channels = self._listed(cut)
        return ImageState(frequencies, channels, self.shape.place(frequencies, order), self.projector)

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
