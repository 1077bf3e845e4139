"""A folder, or a list of files, of observations in the GADF layout."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from functools import cached_property
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING

from astropy.table import Table

from gammaflow.config import expand_path
from gammaflow.data.fits_file import FitsFile
from gammaflow.data.fits_table import FitsTable
from gammaflow.data.index import HduIndex, ObservationIndex
from gammaflow.data.index_from_events import index_events_files
from gammaflow.data.observation import Observation
from gammaflow.data.observation_files import Interval, ObservationFiles
from gammaflow.data.selection import ObservationSelection
from gammaflow.errors import ConfigError, DataError, MissingFileError, MissingHduError

if TYPE_CHECKING:
    from gammaflow.config import ObservationsConfig

log = logging.getLogger(__name__)

HDU_INDEX = "hdu-index.fits.gz"
OBS_INDEX = "obs-index.fits.gz"
REQUIRED_IRF = {
    "full-enclosure": ("aeff", "edisp", "psf", "bkg"),
    "point-like": ("aeff", "edisp"),
    "all-optional": (),
}
_IRF_TYPES = ("aeff", "edisp", "psf", "bkg", "rad_max")


class DataStore:
    """Observations and where their files are (GADF, "Data storage").

    Make one with `from_dir`, `from_file` or `from_events_files`. Making it reads the index only.

    Parameters
    ----------
    hdu_index : HduIndex
        Where the tables of each observation are.
    obs_index : ObservationIndex, optional
        What is known of each observation.
    """

    def __init__(self, hdu_index: HduIndex, obs_index: ObservationIndex | None = None) -> None:
        self.hdu_index = hdu_index
        self._obs_index = obs_index

    @classmethod
    def from_dir(
        cls,
        path: str | PathLike[str],
        hdu_table_filename: str | PathLike[str] | None = None,
        obs_table_filename: str | PathLike[str] | None = None,
    ) -> DataStore:
        """From a folder with ``hdu-index.fits.gz`` and, as a rule, ``obs-index.fits.gz``.

        The two may also be plain ``.fits``, or have other names (in the folder or anywhere).

        Raises
        ------
        MissingFileError
            There is no such folder or index.
        CorruptFileError, MissingHduError
            An index cannot be read.
        """
        base = expand_path(str(path))
        if not base.is_dir():
            raise MissingFileError(
                "there is no such folder",
                where=str(base),
                hint="Check observations.datastore, or the path given.",
            )
        hdu_path = _find_index(base, hdu_table_filename, HDU_INDEX)
        if hdu_path is None:
            raise MissingFileError(
                f"there is no {HDU_INDEX} in this folder",
                where=str(base),
                hint="Name the index, or make the store from its event files.",
            )
        obs_path = _find_index(base, obs_table_filename, OBS_INDEX)
        return cls(
            HduIndex.from_table(_first_table(hdu_path, "HDU_INDEX"), base),
            None if obs_path is None else ObservationIndex.from_table(_first_table(obs_path, "OBS_INDEX")),
        )

    @classmethod
    def from_file(
        cls, path: str | PathLike[str], hdu_hdu: str = "HDU_INDEX", hdu_obs: str | None = "OBS_INDEX"
    ) -> DataStore:
        """From one FITS file that holds both index tables; paths in it are relative to its folder."""
        file = expand_path(str(path))
        fits_file = FitsFile.read(file)
        return cls(
            HduIndex.from_table(fits_file.table(hdu_hdu), file.parent),
            ObservationIndex.from_table(fits_file.table(hdu_obs)) if hdu_obs else None,
        )

    @classmethod
    def from_events_files(
        cls,
        paths: Sequence[str | PathLike[str]],
        irfs_paths: str | PathLike[str] | Sequence[str | PathLike[str]] | None = None,
    ) -> DataStore:
        """From event files without an index.

        The responses are looked for in ``irfs_paths`` (one file for all, or one each), else in the event
        file itself, else where its TELESCOP, CALDB and IRF cards and ``$CALDB`` say.

        Raises
        ------
        MissingFileError, MissingHduError, CorruptFileError
            A file is not there, or has no EVENTS.
        """
        events = [expand_path(str(path)) for path in paths]
        if irfs_paths is None or isinstance(irfs_paths, str | PathLike):
            irfs: list[Path | None] = [None if irfs_paths is None else expand_path(str(irfs_paths))] * len(
                events
            )
        else:
            irfs = [expand_path(str(path)) for path in irfs_paths]
            if len(irfs) != len(events):
                raise ConfigError(f"there are {len(events)} event files and {len(irfs)} response files")
        return cls(*index_events_files(events, irfs))

    @classmethod
    def read(cls, path: str | PathLike[str]) -> DataStore:
        """From a folder or an index file, whichever the path is."""
        place = expand_path(str(path))
        return cls.from_file(place) if place.is_file() else cls.from_dir(place)

    def __len__(self) -> int:
        return len(self.obs_ids)

    def __repr__(self) -> str:
        return f"DataStore({self.hdu_index.base_dir}, {len(self)} observations)"

    @property
    def obs_ids(self) -> list[int]:
        """Sorted numbers of the observations that the HDU index lists."""
        return [int(obs_id) for obs_id in self.hdu_index.obs_ids]

    @property
    def obs_index(self) -> ObservationIndex:
        """The observation index.

        Raises
        ------
        MissingFileError
            The store has none.
        """
        if self._obs_index is None:
            raise MissingFileError(
                f"there is no {OBS_INDEX} in this folder",
                where=str(self.hdu_index.base_dir),
                hint="Name it, or select by observation ids only.",
            )
        return self._obs_index

    @cached_property
    def obs_table(self) -> Table | None:
        """Observation index as an astropy table, None if there is none."""
        return None if self._obs_index is None else self._obs_index.make_table()

    @cached_property
    def hdu_table(self) -> Table:
        """HDU index as an astropy table."""
        return self.hdu_index.to_table()

    def select(self, observations: ObservationsConfig) -> list[int]:
        """Sorted numbers of the observations that a configuration's ``observations`` section asks for."""
        return self.select_observations(ObservationSelection.from_config(observations))

    def select_observations(self, selection: ObservationSelection) -> list[int]:
        """Sorted numbers of the observations that a selection asks for."""
        if self._obs_index is None and selection.cone is None and not selection.intervals:
            unknown = set(selection.obs_ids) - set(self.obs_ids)
            if unknown:
                raise ConfigError(
                    f"the index has no observation {', '.join(map(str, sorted(unknown)))}",
                    where="observations.obs_ids",
                )
            return sorted(set(selection.obs_ids)) or self.obs_ids
        return selection.apply(self.obs_index)

    def locate(self, obs_id: int, intervals: tuple[Interval, ...] = ()) -> ObservationFiles:
        """Where the tables of one observation are; nothing is opened.

        Raises
        ------
        MissingHduError
            The HDU index does not list the observation.
        """
        hdus = self.hdu_index.locations(obs_id)
        if not hdus:
            raise MissingHduError(
                "the HDU index does not list it",
                where=f"observation {obs_id}",
                hint=f"It lists {len(self)} observations in {self.hdu_index.base_dir}.",
            )
        ra, dec = (None, None) if self._obs_index is None else self._obs_index.position(obs_id)
        return ObservationFiles(int(obs_id), hdus, ra, dec, intervals)

    def missing_files(self, obs_ids: Iterable[int] | None = None) -> dict[int, tuple[str, ...]]:
        """Files that the index names and that are not there, by observation (all by default)."""
        missing = {}
        for obs_id in self.obs_ids if obs_ids is None else obs_ids:
            paths = self.locate(obs_id).missing_files()
            if paths:
                missing[obs_id] = paths
        return missing

    def obs(self, obs_id: int, required_irf: str | Sequence[str] = "full-enclosure") -> Observation:
        """Open one observation.

        Parameters
        ----------
        obs_id : int
            Its number.
        required_irf : str or list of str
            Responses that the index must name: ``full-enclosure`` (aeff, edisp, psf, bkg),
            ``point-like`` (aeff, edisp), ``all-optional``, or a list.

        Raises
        ------
        MissingHduError
            The index lacks the observation, its events, or a required response.
        DataError
            What opening raises, see `ObservationFiles.open`.
        """
        return self._checked(obs_id, required_irf).open()

    def get_observations(
        self,
        obs_id: Iterable[int] | None = None,
        skip_missing: bool = False,
        required_irf: str | Sequence[str] = "full-enclosure",
    ) -> list[Observation]:
        """Observations, nothing of them read yet; all by default, in the order given.

        Parameters
        ----------
        obs_id : iterable of int, optional
            Their numbers.
        skip_missing : bool
            Leave out, with a warning that names each, those that are not listed, lack a required
            table, or have files that are not there.
        required_irf : str or list of str
            See `obs`.

        Raises
        ------
        MissingHduError, MissingFileError
            Unless ``skip_missing``; a missing-file error names all files of all observations.
        """
        wanted = self.obs_ids if obs_id is None else [int(number) for number in obs_id]
        located: list[ObservationFiles] = []
        lost: dict[int, MissingFileError] = {}
        for number in wanted:
            try:
                files = self._checked(number, required_irf)
                files.identity()
            except MissingFileError as error:
                lost[number] = error
                continue
            except DataError as error:
                if not skip_missing:
                    raise
                log.warning("skipping %s", error)
                continue
            located.append(files)
        if lost and not skip_missing:
            names = "".join(f"\n  - {error.where}: {error.found}" for error in lost.values())
            raise MissingFileError(
                f"files of {len(lost)} of {len(wanted)} observations are not there:{names}\n",
                where=str(self.hdu_index.base_dir),
                hint="Get the files, leave these observations out, or pass skip_missing=True.",
            )
        for missing in lost.values():
            log.warning("skipping %s", missing)
        return [files.lazy() for files in located]

    def _checked(self, obs_id: int, required_irf: str | Sequence[str]) -> ObservationFiles:
        files = self.locate(obs_id)
        required = ("events", "gti", *_required(required_irf))
        missing = [name for name in required if files.find(name) is None]
        if missing:
            raise MissingHduError(
                f"the index names no {', '.join(missing)} for it",
                where=files.where,
                hint="Check the hdu-index, or require fewer responses.",
            )
        return files


def _required(required_irf: str | Sequence[str]) -> tuple[str, ...]:
    if isinstance(required_irf, str):
        if required_irf not in REQUIRED_IRF:
            raise ConfigError(
                f"required_irf is {required_irf!r}",
                hint=f"Known are {', '.join(REQUIRED_IRF)}, or a list of types.",
            )
        return REQUIRED_IRF[required_irf]
    unknown = sorted(set(required_irf) - {*_IRF_TYPES, "events", "gti"})
    if unknown:
        raise ConfigError(
            f"required_irf has {', '.join(unknown)}", hint=f"Known are {', '.join(_IRF_TYPES)}."
        )
    return tuple(required_irf)


def _find_index(base: Path, named: str | PathLike[str] | None, default: str) -> Path | None:
    if named is not None:
        given = expand_path(str(named))
        path = base / given if (base / given).is_file() else given
        if not path.is_file():
            raise MissingFileError(
                "there is no such file", where=str(base / given), hint="Check the name of the index."
            )
        return path
    for name in (default, default.removesuffix(".gz")):
        if (base / name).is_file():
            return base / name
    return None


def _first_table(path: Path, name: str) -> FitsTable:
    """The index table: by its name, else the file's first table."""
    file = FitsFile.read(path)
    tables = file.tables()
    if not tables:
        raise MissingHduError("the file has no table", where=str(path), hint="Make the index again.")
    return file.table(name) if any(table.name == name for table in tables) else tables[0]
