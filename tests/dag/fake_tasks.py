"""Task functions that need no data: small arrays whose sums depend on the order, written like the real ones.

They count their invocations in files, and fail, hang or kill their process when a list of codes says so.
"""

from __future__ import annotations

import errno
import hashlib
import os
import signal
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from gammaflow.dag.engine import Attempt
from gammaflow.dag.faults import fault_point
from gammaflow.dag.receipts import Receipt, write_receipt
from gammaflow.dag.run_folder import RunFolder, measure, remove
from gammaflow.dag.specs import ReduceSpec, StackSpec, TaskFunctions, check_token
from gammaflow.data import ObservationFiles
from gammaflow.errors import CorruptFileError


@dataclass(frozen=True)
class FakeSetup:
    """What the fake reductions are to do.

    ``codes`` lists for a name what happens at each invocation: ``ok``, ``stale`` (a transient error),
    ``corrupt`` (a permanent one), ``enospc``, ``die`` (out of the run), ``kill`` (the process), ``hang``. After the
    last code all goes well.
    """

    log: Path
    codes: Mapping[str, Sequence[str]] = field(default_factory=dict)
    seconds: float = 0.0
    mask: str = ""


def observations(numbers: Sequence[int]) -> list[ObservationFiles]:
    """Observations without files, spread over the sky."""
    rng = np.random.default_rng(1)
    places = rng.uniform(0.0, 1.0, (100_000, 2))
    return [
        ObservationFiles(n, (), ra_pnt=float(places[n % 100_000, 0]), dec_pnt=float(places[n % 100_000, 1]))
        for n in numbers
    ]


def invocations(log: Path) -> dict[str, int]:
    """How often each name was invoked."""
    return {path.name: len(path.read_bytes()) for path in log.iterdir() if path.is_file()}


def reduce(spec: ReduceSpec, attempt: Attempt) -> Receipt:
    folder = RunFolder(spec.folder)
    folder.forget(spec.stage, spec.name)
    _misbehave(spec.setup, spec.name)
    rng = np.random.default_rng([int(spec.name), *spec.setup.mask.encode()])
    values = rng.normal(size=64) * 10.0 ** rng.uniform(-8, 8, 64)
    return _commit(spec, attempt, values)


def stack(spec: StackSpec, attempt: Attempt) -> Receipt:
    folder = RunFolder(spec.folder)
    folder.forget(spec.stage, spec.name)
    _misbehave(spec.setup, f"{spec.stage}-{spec.name}")
    total = np.zeros(64)
    for stage, name in spec.operands:
        total = total + np.load(folder.group(stage, name) / "values.npy")
    return _commit(spec, attempt, total)


FUNCTIONS = TaskFunctions(reduce=reduce, stack=stack, finish=stack)


def _commit(spec: ReduceSpec | StackSpec, attempt: Attempt, values: np.ndarray) -> Receipt:
    time.sleep(spec.setup.seconds)
    folder = RunFolder(spec.folder)
    group = folder.group(spec.stage, spec.name)
    temporary = group.with_name(f".tmp-{os.getpid()}-{group.name}")
    temporary.mkdir(exist_ok=True)
    np.save(temporary / "values.npy", values)
    check_token(spec)
    remove(group)
    temporary.rename(group)
    fault_point("after_arrays", spec.name)
    size, files = measure(group)
    receipt = Receipt(
        spec.stage,
        spec.name,
        spec.key,
        group=str(group.relative_to(folder.path)),
        arrays={"values": hashlib.blake2b(values.tobytes(), digest_size=8).hexdigest()},
        size=size,
        files=files,
        ingredients=spec.ingredients,
        worker=attempt.worker,
        attempt=attempt.number,
    )
    fault_point("before_receipt", spec.name)
    return write_receipt(folder.receipt(spec.stage, spec.name), receipt)


def _misbehave(setup: FakeSetup, name: str) -> None:
    count = setup.log / name
    before = len(count.read_bytes()) if count.exists() else 0
    with count.open("ab") as file:
        file.write(b".")
    codes = setup.codes.get(name, ())
    match codes[before] if before < len(codes) else "ok":
        case "stale":
            raise OSError(errno.ESTALE, "stale file handle")
        case "corrupt":
            raise CorruptFileError("the file is truncated", where=f"events_{name}.fits", hint="Copy it again")
        case "enospc":
            raise OSError(errno.ENOSPC, "no space left on device")
        case "die":  # as if the process went, after what it had written
            raise KeyboardInterrupt
        case "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        case "hang":
            time.sleep(600.0)
