"""The same fit asked of gammaflow and of Gammapy in turn, and what both have found held against each other."""

from __future__ import annotations

import sys
from collections.abc import Container
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from peer import Peer

HERE = Path(__file__).parent
AGREEMENT = 0.3  # standard deviations
GAMMAFLOW, GAMMAPY = "gammaflow", "gammapy"


@dataclass(frozen=True)
class Rounds:
    """What was answered.

    Parameters
    ----------
    title : str
        Of the case.
    first : dict
        gammaflow's first fit, whose process has made none before.
    ours, theirs : list of dict
        The fits after it; Gammapy's may be none.
    """

    title: str
    first: dict[str, Any]
    ours: list[dict[str, Any]]
    theirs: list[dict[str, Any]]

    @property
    def last(self) -> dict[str, Any]:
        """gammaflow's last fit, which must have converged."""
        last = self.ours[-1]
        if not last["success"]:
            raise AssertionError(f"{self.title}: {last['message']}")
        return last

    def median(self, side: str, name: str) -> float:
        """Median of one of the numbers over the fits of a side."""
        return median(one[name] for one in (self.ours if side == GAMMAFLOW else self.theirs))

    @property
    def ratios(self) -> str:
        """Two columns: time and CPU time of Gammapy over those of gammaflow; empty where it was not asked."""
        if not self.theirs:
            return "|"
        time, cpu = (self.median(GAMMAPY, n) / self.median(GAMMAFLOW, n) for n in ("seconds", "cpu"))
        return f"**{time:.0f}** | {cpu:.0f}"

    def largest_pull(self, left_out: Container[str] = ()) -> float:
        """Largest difference of a free parameter, in our standard deviations.

        Parameters
        ----------
        left_out : container of str
            Names of parameters (without that of the model) that are known to differ.

        Raises
        ------
        AssertionError
            Other parameters, or a difference beyond `AGREEMENT`.
        """
        ours, theirs = self.last["parameters"], self.theirs[-1]["parameters"]
        if ours.keys() != theirs.keys():
            raise AssertionError(
                f"{self.title}: different free parameters, {sorted(ours)} and {sorted(theirs)}"
            )
        pulls = {
            name: abs(value - theirs[name][0]) / error
            for name, (value, error) in ours.items()
            if name.split(".")[-1] not in left_out
        }
        worst = max(pulls, key=pulls.__getitem__)
        if not pulls[worst] <= AGREEMENT:
            raise AssertionError(
                f"{self.title}: {worst} is {ours[worst]}, and {theirs[worst]} in Gammapy: {pulls[worst]:.2f} sigma"
            )
        return pulls[worst]


def ask_in_turn(
    title: str, script: str, case: str, path: str | None, rounds: int, repeat: int, gammapy: str | None
) -> Rounds:
    """Let both sides prepare the same datasets and fit them.

    Parameters
    ----------
    title, case : str
        For messages, and what the scripts are called with.
    script : str
        ``<script>_gammaflow.py`` and ``<script>_gammapy.py`` answer.
    path : str, optional
        Simulated arrays to read.
    rounds : int
        How often both are asked in turn.
    repeat : int
        Fits of gammaflow in a round.
    gammapy : str, optional
        The python with Gammapy; not asked if not given.

    Raises
    ------
    AssertionError
        The two sides have not prepared the same counts.
    """
    peers = {GAMMAFLOW: Peer(sys.executable, HERE / f"{script}_gammaflow.py", case)}
    if gammapy is not None:
        peers[GAMMAPY] = Peer(gammapy, HERE / f"{script}_gammapy.py", case)
    try:
        counts = {name: peer.ask(prepare=True, path=path)["counts"] for name, peer in peers.items()}
        if len(set(counts.values())) > 1:
            raise AssertionError(f"{title}: different counts, {counts}")
        first = peers[GAMMAFLOW].ask()
        ours, theirs = [], []
        for _ in range(rounds):
            if GAMMAPY in peers:
                theirs.append(peers[GAMMAPY].ask())
            ours += [peers[GAMMAFLOW].ask() for _ in range(repeat)]
    finally:
        for peer in peers.values():
            peer.close()
    return Rounds(title, first, ours, theirs)
