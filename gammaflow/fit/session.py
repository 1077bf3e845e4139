"""A fit under way: the datasets condensed, the parameters in their coordinates, and the trips between them."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gammaflow.errors import FitError
from gammaflow.fit.coordinates import Coordinates
from gammaflow.fit.evaluator import Evaluator, EvaluatorFactory
from gammaflow.fit.problem import Problem
from gammaflow.fit.search import Answer
from gammaflow.likelihood import Expansion, ImageOptions, Reply, Request
from gammaflow.modeling import Models, SkyModel

Floats = NDArray[np.float64]

#: A source further than this from its anchor, deg, is given a new one before anything else is asked about it.
FAR = 0.1
#: The same when little is left to gain, so that the end needs no other one.
NEAR = 0.045
#: A source that has grown or shrunk to this share of its size at the anchor is given a new window.
LARGER, SMALLER = 1.35, 0.4
#: What "little" is.
_LITTLE = 10.0
MAX_ANCHORS = 8


@dataclass
class Tally:
    """What a session has done.

    Parameters
    ----------
    trips : int
        Requests sent to the datasets.
    points : int
        Points in them.
    anchors : int
        How often the datasets were condensed.
    condense_seconds : float
        Time that took.
    worker_seconds : float
        Time the datasets took to answer, summed over them.
    """

    trips: int = 0
    points: int = 0
    anchors: int = 0
    condense_seconds: float = 0.0
    worker_seconds: float = 0.0


class Session:
    """The datasets of a problem, condensed, and everything a search can ask them.

    Parameters
    ----------
    problem : Problem
    factory : EvaluatorFactory
        Condenses the datasets, here or on workers.
    options : ImageOptions, optional

    Raises
    ------
    FitError
        When every bin of every dataset is masked.
    """

    def __init__(
        self, problem: Problem, factory: EvaluatorFactory, options: ImageOptions | None = None
    ) -> None:
        self.problem = problem
        self.options = options
        self.tally = Tally()
        self.coordinates = Coordinates.of(problem)
        self._factory = factory
        self._constant: float | None = None
        self._checked = False
        self._anchor = self.coordinates.start
        self.evaluator: Evaluator = self._condensed(problem)
        empty = [info.dataset for info in self.evaluator.info() if info.bins == 0]
        if len(empty) == len(problem.datasets):
            raise FitError(
                "every bin is masked" + (" in every dataset" if len(empty) > 1 else ""),
                where=f"dataset {empty[0]!r}",
                hint="Look at mask_safe and mask_fit",
            )
        self.empty = tuple(empty)

    def close(self) -> None:
        """Let go of the condensed datasets."""
        self.evaluator.close()

    # --- questions -------------------------------------------------------------------------------------

    def ask(self, thetas: Sequence[Floats]) -> list[Answer]:
        """Expansions of the likelihood at some points, in one trip."""
        points = np.array([self.coordinates.point(theta) for theta in thetas])
        # a spectrum may have no value where a search would like to go
        usable = np.flatnonzero(np.isfinite(points).all(axis=1))
        answers = [self._nowhere(points.shape[1])] * len(thetas)
        if len(usable):
            reply = self.send(Request(points[usable], order=2))
            shift = reply.constant - self._origin(reply)
            for number, i in enumerate(usable):
                answers[i] = Answer(reply.at(number, points.shape[1]), float(reply.variable[number]) + shift)
        return answers

    def send(self, request: Request) -> Reply:
        """One trip."""
        reply = self.evaluator.evaluate(request)
        self.tally.trips += 1
        self.tally.points += len(request.points)
        self.tally.worker_seconds += reply.seconds
        if not self._checked:
            self._checked = True
            self._check_sources(reply)
        return reply

    def statistics(self, thetas: Sequence[Floats]) -> Floats:
        """The fit statistic at some points (P,), priors on shared parameters included; one trip, no derivatives."""
        points = np.array([self.coordinates.point(theta) for theta in thetas])
        usable = np.isfinite(points).all(axis=1)
        stats = np.full(len(thetas), math.inf)
        if usable.any():
            stats[usable] = self.send(Request(points[usable], order=0)).stat
        return stats + np.array([self.coordinates.priors(theta)[0] for theta in thetas])

    @staticmethod
    def _nowhere(size: int) -> Answer:
        zero = np.zeros((size, size))
        return Answer(Expansion(math.inf, np.zeros(size), zero, zero, invalid=1), math.inf)

    def _origin(self, reply: Reply) -> float:
        """The constant of the first anchor: from it all differences are counted."""
        if self._constant is None:
            self._constant = reply.constant
        return self._constant

    def _check_sources(self, reply: Reply) -> None:
        """Refuse a free source that no dataset sees."""
        seen = set(reply.index.tolist())
        start = 0
        for block in self.problem.layout.flux:
            if not seen & set(range(start, start + block.size)) and not self._seen_elsewhere(
                block.source, seen
            ):
                raise FitError(
                    "the source lies outside every dataset",
                    where=f"model {block.source!r}",
                    hint="Move it, freeze all its parameters, or leave it out",
                )
            start += block.size

    def _seen_elsewhere(self, source: str, seen: set[int]) -> bool:
        layout = self.problem.layout
        places = [layout.flux_slice(source, block.edges) for block in layout.flux if block.source == source]
        return any(place is not None and seen & set(range(place.start, place.stop)) for place in places)

    # --- anchors ---------------------------------------------------------------------------------------

    def _condensed(self, problem: Problem) -> Evaluator:
        begin = time.perf_counter()
        evaluator = self._factory(problem, self.options)
        self.tally.condense_seconds += time.perf_counter() - begin
        self.tally.anchors += 1
        return evaluator

    def reanchor(self, theta: Floats) -> None:
        """Condense again with the sources where ``theta`` has them."""
        before, after = self.evaluator, self._condensed(self.at(theta))
        self.evaluator, self._anchor = after, theta.copy()
        before.close()

    def follow(self, theta: Floats, gain: float) -> bool:
        """Give new anchors to sources that are about to leave theirs: their windows would lose them.

        Parameters
        ----------
        theta : array (m,)
            Where the next question is.
        gain : float
            What is still to gain.

        Returns
        -------
        bool
            Whether that was done.
        """
        if self.tally.anchors >= MAX_ANCHORS:
            return False
        some = self.coordinates.sizes & (np.abs(self._anchor) > 0)
        growth = np.abs(theta[some] / self._anchor[some])
        drift = self.coordinates.drift(theta, self._anchor)
        # a window that is too small loses the source, one that is much too large costs time
        resized = growth.max(initial=1.0) > LARGER or (
            gain > _LITTLE and growth.max(initial=0.0) < SMALLER and some.any()
        )
        if drift > (NEAR if gain < _LITTLE else FAR) or resized:
            self.reanchor(theta)
            return True
        return False

    def at(self, theta: Floats) -> Problem:
        """The problem with its sources moved to ``theta``; the user's models stay as they are."""
        memo: dict[int, Any] = {}
        values, _ = self.coordinates.external(theta)
        sources = {m.name: copy.deepcopy(m, memo) for m in self.problem.models.sky_models}
        for shared, value in zip(self.problem.shared, values, strict=True):
            moved = memo.get(id(shared.parameter))
            if moved is not None:
                moved.value = float(np.clip(value, *shared.parameter.bounds))
        models = [sources[m.name] if isinstance(m, SkyModel) else m for m in self.problem.models]
        return replace(self.problem, models=Models(models))
