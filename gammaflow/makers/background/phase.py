"""`PhaseBackgroundMaker`: the background of a pulsar, counted while it is off."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from gammaflow.data import EventList, Observation
from gammaflow.datasets import (
    CountsDataset,
    MapDataset,
    MapDatasetOnOff,
    OnOffDataset,
    SpectrumDataset,
    SpectrumDatasetOnOff,
)
from gammaflow.errors import ConfigError, GammaflowError, UnsupportedError
from gammaflow.makers.counts import make_counts
from gammaflow.makers.region_counts import count_region

Interval = tuple[float, float]


class PhaseBackgroundMaker:
    """Count ON and OFF events by their phase.

    An event is ON where ``low <= phase < high`` for an ON interval, OFF likewise. Acceptances are the sums of the
    intervals' lengths; exposure and responses are as they are, those of all phases.

    Parameters
    ----------
    on_phase, off_phase : pair of float, or sequence of such pairs
        Intervals. One that goes beyond 1, or whose end is below its start, is taken as two: to 1, and from 0.
    phase_column_name : str
        Column of the event list.

    Raises
    ------
    ConfigError
        If an interval is empty, or two of the same kind overlap.
    """

    tag = "PhaseBackgroundMaker"

    def __init__(
        self,
        on_phase: Interval | Sequence[Interval],
        off_phase: Interval | Sequence[Interval],
        phase_column_name: str = "PHASE",
    ) -> None:
        self.on_phase = _intervals(on_phase, "on_phase")
        self.off_phase = _intervals(off_phase, "off_phase")
        self.phase_column_name = phase_column_name

    def run(
        self, dataset: MapDataset | SpectrumDataset, observation: Observation
    ) -> MapDatasetOnOff | SpectrumDatasetOnOff:
        """The dataset with ON counts, and with OFF counts in the place of a background.

        Parameters
        ----------
        dataset : MapDataset or SpectrumDataset
            Of this observation.
        observation : Observation
            Its event list has the column of phases.

        Raises
        ------
        MissingHduError
            The event list has no such column.
        """
        try:
            return self._run(dataset, observation)
        except GammaflowError as error:
            place = f"observation {observation.obs_id}"
            raise error if place in error.where else error.at(place) from None

    def _run(
        self, dataset: MapDataset | SpectrumDataset, observation: Observation
    ) -> MapDatasetOnOff | SpectrumDatasetOnOff:
        if isinstance(dataset, OnOffDataset):
            raise UnsupportedError(
                f"phases for a {dataset.tag}, which has OFF counts already",
                hint="They are for a MapDataset or a SpectrumDataset",
            )
        events = observation.events
        phase = events.column(self.phase_column_name)
        on, off = (
            _counts(dataset, events.select(_inside(phase, intervals)), observation)
            for intervals in (self.on_phase, self.off_phase)
        )
        acceptance, acceptance_off = (
            sum(high - low for low, high in intervals) for intervals in (self.on_phase, self.off_phase)
        )
        kind: Any = MapDatasetOnOff if isinstance(dataset, MapDataset) else SpectrumDatasetOnOff
        made = kind.from_map_dataset(dataset, acceptance, acceptance_off, off).with_arrays(counts=on)
        return cast("MapDatasetOnOff | SpectrumDatasetOnOff", made)

    def __repr__(self) -> str:
        return f"PhaseBackgroundMaker(on_phase={list(self.on_phase)}, off_phase={list(self.off_phase)})"


def _counts(dataset: CountsDataset, events: EventList, observation: Observation) -> NDArray[np.int32]:
    if isinstance(dataset, MapDataset):
        return make_counts(events, dataset.geometry.geom)
    assert isinstance(dataset, SpectrumDataset)  # there is no other kind
    return count_region(events, dataset.geometry.geom, observation)


def _inside(phase: NDArray[Any], intervals: Iterable[Interval]) -> NDArray[np.bool_]:
    inside = np.zeros(phase.shape, dtype=bool)
    for low, high in intervals:
        inside |= (phase >= low) & (phase < high)
    return inside


def _intervals(given: Interval | Sequence[Interval], name: str) -> tuple[Interval, ...]:
    """Sorted intervals between 0 and 1."""
    hint = "Give a pair of phases such as (0.1, 0.4), or a list of pairs"
    pairs: Any = [given] if np.ndim(given) == 1 else given
    parts: list[Interval] = []
    for pair in pairs:
        if np.shape(pair) != (2,) or not np.isfinite(pair).all():
            raise ConfigError(f"{name} {pair!r}", where=PhaseBackgroundMaker.tag, hint=hint)
        low, high = float(pair[0]), float(pair[1])
        if low == high or abs(high - low) > 1:
            raise ConfigError(f"{name} from {low:g} to {high:g}", where=PhaseBackgroundMaker.tag, hint=hint)
        if 0 <= low < high <= 1:
            parts.append((low, high))
        else:
            low, high = low % 1, high % 1
            parts += [(low, high)] if low < high else [(low, 1.0), *([(0.0, high)] if high > 0 else [])]
    parts.sort()
    for (_, end), (start, _) in pairwise(parts):
        if start < end:
            raise ConfigError(
                f"two intervals of {name} overlap between {start:g} and {end:g}",
                where=PhaseBackgroundMaker.tag,
                hint="An event must not count twice",
            )
    return tuple(parts)
