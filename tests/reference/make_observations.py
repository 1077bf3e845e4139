"""Gammapy's values of every observation of the public data, for tests/data.

Run in an environment with Gammapy 2.1 and ``GAMMAPY_DATA`` set:
``python make_observations.py > observations.json``.
"""

import json
import logging
import sys
from pathlib import Path

import gammapy
import numpy as np
from gammapy.data import DataStore

STORES = {"hess": "$GAMMAPY_DATA/hess-dl3-dr1", "cta": "$GAMMAPY_DATA/cta-1dc/index/gps"}


def values(observation):
    """Plain numbers of one observation."""
    events, location = observation.events, observation.meta.location
    pointing = observation.get_pointing_icrs(observation.tmid)
    return {
        "ontime": observation.observation_time_duration.to_value("s"),
        "livetime": observation.observation_live_time_duration.to_value("s"),
        "deadtime_fraction": observation.observation_dead_time_fraction,
        "ra": pointing.ra.deg,
        "dec": pointing.dec.deg,
        "tstart_mjd_tt": observation.tstart.tt.mjd,
        "tstop_mjd_tt": observation.tstop.tt.mjd,
        "tmid_mjd_tt": observation.tmid.tt.mjd,
        "location": [location.lon.deg, location.lat.deg, location.height.to_value("m")],
        "fov_alignment": str(observation.bkg.fov_alignment.value),
        "n_events": len(events.table),
        "energy_sum": float(np.sum(events.energy.to_value("TeV"), dtype=np.float64)),
        "dec_sum": float(np.sum(events.table["DEC"].quantity.to_value("deg"), dtype=np.float64)),
        "last_event_mjd_tt": events.time[-1].tt.mjd,
        "aeff_max": float(np.max(observation.aeff.quantity.to_value("m2"))),
    }


def main():
    logging.disable(logging.WARNING)
    result = {"gammapy": gammapy.__version__}
    for name, path in STORES.items():
        store = DataStore.from_dir(path)
        result[name] = {}
        for obs_id in store.obs_ids.tolist():
            location = store.hdu_table.hdu_location(obs_id=obs_id, hdu_type="events")
            if Path(location.path(abs_path=True)).is_file():
                result[name][str(obs_id)] = values(store.obs(obs_id))
    json.dump(result, sys.stdout, indent=0)
    sys.stdout.write("\n")


if __name__ == "__main__":
    main()
