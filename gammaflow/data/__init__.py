"""DL3: event lists, good times, pointings and responses of observations, in the GADF layout."""

from gammaflow.data.data_store import DataStore
from gammaflow.data.events import EventList
from gammaflow.data.gti import GTI
from gammaflow.data.observation import Observation
from gammaflow.data.observation_files import HduLocation, ObservationFiles
from gammaflow.data.pointing import FixedPointingInfo, Site
from gammaflow.data.selection import ObservationSelection, SkyCone
from gammaflow.data.time_reference import TimeReference

__all__ = [
    "GTI",
    "DataStore",
    "EventList",
    "FixedPointingInfo",
    "HduLocation",
    "Observation",
    "ObservationFiles",
    "ObservationSelection",
    "Site",
    "SkyCone",
    "TimeReference",
]
