"""A synthetic survey of the Galactic plane, as a store of DL3 files that any GADF reader opens."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from os import PathLike
from pathlib import Path

from gammaflow.config import expand_path
from gammaflow.data.simulation.responses import cta_like_responses
from gammaflow.data.simulation.sampling import EventSampler
from gammaflow.data.simulation.schedule import observation_rng, schedule
from gammaflow.data.simulation.sky import models_dict, survey_sky
from gammaflow.data.simulation.store_files import (
    EXCLUSION_FILE,
    HDU_INDEX,
    OBS_INDEX,
    RESPONSE_FILE,
    analysis_config,
    events_file,
    exclusion_image,
    hdu_index,
    obs_index,
    observation_hdus,
    response_hdus,
    to_bytes,
    to_yaml,
    write_atomic,
)
from gammaflow.errors import ConfigError


@dataclass(frozen=True)
class SimulatedSurvey:
    """What was written.

    Attributes
    ----------
    folder : Path
        The data store.
    obs_ids : tuple of int
    n_events : tuple of int
        One an observation.
    config : Path
        An analysis of all of it, ready for ``gammaflow run``.
    models : Path
        The true sources, in the shape of Gammapy's models YAML.
    """

    folder: Path
    obs_ids: tuple[int, ...]
    n_events: tuple[int, ...]
    config: Path
    models: Path


def simulate_survey(
    folder: str | PathLike[str],
    n_observations: int = 20,
    seed: int = 0,
    *,
    ontime: float = 1800.0,
    compress: bool = False,
    overwrite: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> SimulatedSurvey:
    """Simulate a survey and write it as a data store.

    Seven sources around l = 330 deg, b = 0 deg are observed with an array like the southern one of CTA,
    in wobbles along the Galactic plane. Events are drawn by Poisson sampling: true energies by
    flux x effective area x live time, positions from the source's shape and the PSF, energies from the
    energy dispersion, and background events by its rate x good time. Column ``MC_ID`` tells the source
    (0: background).

    The same seed gives the same bytes, and observation ``i`` does not depend on how many there are. The
    HDU index is written last: a store that was not finished has none.

    Parameters
    ----------
    folder : path
        The data store to be; made if it is not there.
    n_observations : int
        How many observations.
    seed : int
        Seed of the random numbers, 0 or greater.
    ontime : float
        Good time of each observation in s.
    compress : bool
        Write gzipped event files: 0.7 times the size, 3 times the time.
    overwrite : bool
        Replace a store that is already there.
    progress : callable, optional
        Called with the number of observations done and in all, after each.

    Returns
    -------
    survey : SimulatedSurvey

    Raises
    ------
    ConfigError
        There is a store in the folder, or a number makes no sense.
    """
    base = expand_path(str(folder))
    _check(base, n_observations, seed, ontime, overwrite)
    for index in (HDU_INDEX, OBS_INDEX):
        (base / index).unlink(missing_ok=True)
    responses, sources = cta_like_responses(), survey_sky()
    sampler = EventSampler(responses, sources)
    write_atomic(base / RESPONSE_FILE, to_bytes(response_hdus(responses), compress=False))
    observations, n_events = [], []
    for number in range(n_observations):
        rng = observation_rng(seed, number)
        observation = schedule(number, rng, ontime)
        events = sampler.sample(observation, rng)
        path = base / events_file(observation.obs_id, compress)
        write_atomic(path, to_bytes(observation_hdus(observation, events), compress))
        observations.append(observation)
        n_events.append(len(events))
        if progress is not None:
            progress(number + 1, n_observations)
    obs_ids = tuple(observation.obs_id for observation in observations)
    write_atomic(base / EXCLUSION_FILE, to_bytes([exclusion_image(sources)], compress=False))
    truth = f"The true sources of the survey simulated with seed {seed}."
    write_atomic(base / "models.yaml", to_yaml(models_dict(sources), truth))
    write_atomic(
        base / "config.yaml",
        to_yaml(analysis_config(base), "Run it with: gammaflow run config.yaml --run RUN"),
    )
    write_atomic(base / OBS_INDEX, to_bytes(obs_index(observations, n_events), compress=True))
    write_atomic(base / HDU_INDEX, to_bytes(hdu_index(obs_ids, compress), compress=True))
    return SimulatedSurvey(base, obs_ids, tuple(n_events), base / "config.yaml", base / "models.yaml")


def _check(base: Path, n_observations: int, seed: int, ontime: float, overwrite: bool) -> None:
    where = "simulate"
    if n_observations < 1:
        raise ConfigError(
            f"the number of observations is {n_observations}", where=where, hint="Ask for 1 or more."
        )
    if seed < 0:
        raise ConfigError(f"the seed is {seed}", where=where, hint="Take 0 or a greater number.")
    if not 1.0 <= ontime <= 36000.0:
        raise ConfigError(f"the good time of an observation is {ontime} s", where=where, hint="1 s to 10 h.")
    if base.exists() and not base.is_dir():
        raise ConfigError("this is a file, a folder is needed", where=str(base), hint="Name another folder.")
    if (base / HDU_INDEX).exists() and not overwrite:
        raise ConfigError(
            "there is already a data store in this folder",
            where=str(base),
            hint="Name another folder, or overwrite it.",
        )
