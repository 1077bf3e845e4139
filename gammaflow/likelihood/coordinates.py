"""The shared coordinates of a joint fit: which there are, and where each stands in the vector ``z``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class FluxGrid:
    """The energies at which a dataset asks for the fluxes of its sources.

    Parameters
    ----------
    energies : tuple of float
        TeV: the K + 1 edges of true-energy bins, or K energies.
    differential : bool
        Whether it asks for values at the energies (flux points) instead of integrals between them.
    """

    energies: tuple[float, ...]
    differential: bool = False

    @classmethod
    def of(cls, energies: FluxGrid | Sequence[float] | Floats) -> FluxGrid:
        """Bare energies are edges."""
        if isinstance(energies, FluxGrid):
            return energies
        return cls(tuple(np.asarray(energies, dtype=np.float64).tolist()))

    def is_like(self, other: FluxGrid) -> bool:
        """Whether they ask for the same."""
        return self.differential == other.differential and same_edges(self.energies, other.energies)


@dataclass(frozen=True)
class FluxBlock:
    """The fluxes of one source on one grid of energies.

    Parameters
    ----------
    source : str
        Name of the sky model.
    edges : tuple of float
        The K + 1 edges of the true-energy bins in TeV; or the K energies of a differential flux.
    differential : bool
        False: integrals over the bins, m-2 s-1. True: values at the energies, m-2 s-1 TeV-1.
    """

    source: str
    edges: tuple[float, ...]
    differential: bool = False

    @property
    def size(self) -> int:
        return len(self.edges) - (0 if self.differential else 1)


@dataclass(frozen=True)
class SpatialBlock:
    """The free spatial parameters of one source, in their own units."""

    source: str
    parameters: tuple[str, ...]

    @property
    def size(self) -> int:
        return len(self.parameters)


@dataclass(frozen=True)
class SharedNuisance:
    """One background parameter that several datasets share.

    Parameters
    ----------
    key : str
        Name of the coordinate, for messages.
    members : tuple of (dataset name, parameter name)
        Where it is used.
    """

    key: str
    members: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Layout:
    """Where each shared coordinate stands in ``z``: fluxes, then spatial parameters, then shared nuisances."""

    flux: tuple[FluxBlock, ...] = ()
    spatial: tuple[SpatialBlock, ...] = ()
    nuisance: tuple[SharedNuisance, ...] = ()

    @property
    def n_flux(self) -> int:
        return sum(block.size for block in self.flux)

    @property
    def n_spatial(self) -> int:
        return sum(block.size for block in self.spatial)

    @property
    def size(self) -> int:
        return self.n_flux + self.n_spatial + len(self.nuisance)

    def flux_slice(self, source: str, grid: FluxGrid | Sequence[float]) -> slice | None:
        """Place of a source's fluxes on a grid, or on the axis with these edges (TeV); None if they are no
        coordinates.
        """
        start, grid = 0, FluxGrid.of(grid)
        for block in self.flux:
            own = block.source == source and block.differential == grid.differential
            if own and same_edges(block.edges, grid.energies):
                return slice(start, start + block.size)
            start += block.size
        return None

    def spatial_slice(self, source: str) -> slice | None:
        """Place of a source's free spatial parameters, None if it has none."""
        start = self.n_flux
        for block in self.spatial:
            if block.source == source:
                return slice(start, start + block.size)
            start += block.size
        return None

    def spatial_parameters(self, source: str) -> tuple[str, ...]:
        """Names of a source's free spatial parameters in the order of their coordinates."""
        return next((block.parameters for block in self.spatial if block.source == source), ())

    def nuisance_index(self, dataset: str, parameter: str) -> int | None:
        """Place of a dataset's background parameter if it is shared, else None."""
        for number, shared in enumerate(self.nuisance):
            if (dataset, parameter) in shared.members:
                return self.n_flux + self.n_spatial + number
        return None

    @property
    def names(self) -> tuple[str, ...]:
        """A name per coordinate, e.g. ``crab:flux[3]``, ``crab:lon_0``."""
        flux = [
            f"{block.source}:{'dnde' if block.differential else 'flux'}[{k}]"
            for block in self.flux
            for k in range(block.size)
        ]
        spatial = [f"{block.source}:{name}" for block in self.spatial for name in block.parameters]
        return (*flux, *spatial, *(shared.key for shared in self.nuisance))


def same_edges(first: tuple[float, ...], second: tuple[float, ...]) -> bool:
    """Whether two energy axes are the same to a relative 1e-6."""
    if len(first) != len(second):
        return False
    return first is second or first == second or bool(np.allclose(first, second, rtol=1e-6, atol=0.0))


def point_of(
    layout: Layout, fluxes: Mapping[FluxBlock, Floats], spatial: Mapping[str, Floats], nuisance: Floats
) -> Floats:
    """The vector ``z`` (Z,) from the fluxes of each block, the spatial parameters of each source and the
    shared nuisances.
    """
    parts = [np.asarray(fluxes[block], dtype=np.float64) for block in layout.flux]
    parts += [np.asarray(spatial[block.source], dtype=np.float64) for block in layout.spatial]
    return (
        np.concatenate([*parts, np.asarray(nuisance, dtype=np.float64)])
        if parts or len(nuisance)
        else np.zeros(0)
    )
