"""How an `xarray.Dataset` becomes the files of a Zarr group, and back.

Each variable is one chunk: blosc (lz4, level 5, byte shuffle) and a CRC32C behind it, so that one that was
cut or altered is noticed. Small arrays are not compressed. All chunks are written, also those that hold
nothing but the fill value: a missing one is a fault, never a silent zero. The names of all variables and
the CRC32C of their chunks stand in the group's attribute ``crc32c``.

Metadata are made by zarr-python, and it reads everything, on a store in memory. Chunks are made by the codecs
themselves, bit by bit what zarr-python makes of them, without a task for each codec of each array. Metadata and
chunks of small arrays are kept from one group to the next, and all runs in one thread. Together that takes a
third of the time.
"""

from __future__ import annotations

import asyncio
import json
import threading
from collections import OrderedDict
from collections.abc import Callable, Coroutine, Hashable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final, Generic, TypeVar

import google_crc32c
import numpy as np
import xarray as xr
import zarr
from numcodecs import blosc
from numpy.typing import NDArray
from zarr.buffer import cpu, default_buffer_prototype
from zarr.storage import MemoryStore, StorePath

from gammaflow.errors import CorruptFileError

#: Arrays of fewer bytes are stored as they are.
COMPRESS_FROM: Final = 2048

#: Digest of an array without elements, which has no chunk.
EMPTY: Final = "00000000"

_T = TypeVar("_T")
_METADATA: Final = "zarr.json"
_BLOSC: Final[dict[str, Any]] = {"cname": "lz4", "clevel": 5, "shuffle": "shuffle", "blocksize": 0}
_FILL: Final[dict[str, object]] = {"f": 0.0, "i": 0, "b": False}
_CONFIG: Final[Any] = {"order": "C", "write_empty_chunks": True}


@dataclass(frozen=True)
class EncodedGroup:
    """The files of a Zarr group, and the CRC32C of each variable's chunk, eight hex digits."""

    files: Mapping[str, memoryview]
    digest: Mapping[str, str]


def encode(data: xr.Dataset) -> EncodedGroup:
    """The files of a group that holds ``data``. The same values give the same bytes."""
    files: dict[str, memoryview] = {}
    digest: dict[str, str] = {}
    large: list[tuple[str, str, NDArray[Any]]] = []
    for name, variable in data.variables.items():
        # a scalar comes back as a vector
        values = np.ascontiguousarray(variable.values).reshape(variable.shape)
        spec = _Spec(str(name), variable.dims, values.shape, str(values.dtype), _json(variable.attrs))
        files[f"{name}/{_METADATA}"], chunk_key = _metadata(spec)
        key = f"{name}/{chunk_key}"
        if not values.size:
            digest[spec.name] = EMPTY
        elif values.nbytes < COMPRESS_FROM:
            content = values.tobytes()
            known = _SMALL_CHUNKS.get((spec, content))
            if known is None:
                known = _with_checksum(_little_endian(values).tobytes())
                _SMALL_CHUNKS.put((spec, content), known)
            files[key], digest[spec.name] = known
        else:
            large.append((spec.name, key, values))
    for name, key, chunk in _off_the_main_thread(lambda: [(n, k, _compressed(v)) for n, k, v in large]):
        files[key], digest[name] = chunk
    digest = {str(name): digest[str(name)] for name in data.variables}
    attributes = {**data.attrs, "coordinates": " ".join(sorted(map(str, data.coords))), "crc32c": digest}
    group = {"zarr_format": 3, "node_type": "group", "attributes": attributes}
    files = dict(sorted(files.items()))
    files[_METADATA] = memoryview(_json(group).encode())
    return EncodedGroup(files, digest)


def _compressed(values: NDArray[Any]) -> tuple[memoryview, str]:
    """The chunk of an array, by the codecs that its metadata name: bytes, blosc, crc32c."""
    body = blosc.compress(
        _little_endian(values).reshape(-1), _BLOSC["cname"].encode(), _BLOSC["clevel"], blosc.SHUFFLE, 0
    )
    return _with_checksum(body)


def _little_endian(values: NDArray[Any]) -> NDArray[Any]:
    return values.astype(values.dtype.newbyteorder("<"), copy=False)


def _with_checksum(body: bytes) -> tuple[memoryview, str]:
    """Bytes with their CRC32C behind them, little endian, and the same as hex digits."""
    checksum = google_crc32c.value(body)
    return memoryview(b"".join((body, checksum.to_bytes(4, "little")))), f"{checksum:08x}"


def decode(files: Mapping[str, bytes], where: str) -> xr.Dataset:
    """The dataset that the files of a group hold, as plain numpy.

    Raises
    ------
    CorruptFileError
        When something is missing, cut or altered.
    """
    attributes = group_attributes(files, where)
    names = attributes.pop("crc32c", None)
    if not isinstance(names, dict):
        raise CorruptFileError(
            "the group does not say what it holds (attribute 'crc32c')",
            where=where,
            hint="It was not written by gammaflow: write it again",
        )
    coordinates = str(attributes.pop("coordinates", "")).split()
    store = MemoryStore({key: cpu.Buffer.from_bytes(content) for key, content in files.items()})
    arrays = {}
    for name in names:
        text = files.get(f"{name}/{_METADATA}")
        if text is None:
            raise CorruptFileError("its metadata are missing", where=f"{where}, {name}", hint=_AGAIN)
        arrays[name] = zarr.AsyncArray(_parsed(text, f"{where}, {name}"), StorePath(store, name), _CONFIG)
    for name, array in arrays.items():
        for key in _chunk_keys(array):
            if f"{name}/{key}" not in files:
                raise CorruptFileError(f"chunk {key} is missing", where=f"{where}, {name}", hint=_AGAIN)
    values = _run(_get_all(arrays, files, where))
    variables = {
        name: xr.Variable(array.metadata.dimension_names or (), values[name], dict(array.metadata.attributes))
        for name, array in arrays.items()
    }
    return xr.Dataset(
        {n: v for n, v in variables.items() if n not in coordinates},
        coords=xr.Coordinates({n: v for n, v in variables.items() if n in coordinates}),
        attrs=attributes,
    )


_AGAIN: Final = "The file is damaged or was not finished: write it again"


def group_attributes(files: Mapping[str, bytes], where: str) -> dict[str, Any]:
    """Attributes of the group itself.

    Raises
    ------
    CorruptFileError
        When there are none: the group was not finished, or is none.
    """
    text = files.get(_METADATA)
    if text is None:
        raise CorruptFileError(f"{_METADATA} is missing", where=where, hint=_AGAIN)
    try:
        group = json.loads(text)
        attributes = dict(group["attributes"])
    except (ValueError, KeyError, TypeError) as error:
        raise CorruptFileError(f"{_METADATA} cannot be read ({error})", where=where, hint=_AGAIN) from error
    return attributes


@dataclass(frozen=True)
class _Spec:
    """All that the metadata of an array depend on."""

    name: str
    dims: tuple[Any, ...]
    shape: tuple[int, ...]
    dtype: str
    attrs: str

    def to_dict(self) -> dict[str, Any]:
        size = np.dtype(self.dtype).itemsize
        codecs: list[dict[str, Any]] = [{"name": "bytes"}]
        if size > 1:
            codecs[0]["configuration"] = {"endian": "little"}
        if int(np.prod(self.shape)) * size >= COMPRESS_FROM:
            codecs.append({"name": "blosc", "configuration": {**_BLOSC, "typesize": size}})
        codecs.append({"name": "crc32c"})
        return {
            "zarr_format": 3,
            "node_type": "array",
            "shape": self.shape,
            "data_type": self.dtype,
            # A chunk has at least one element, an array may have none.
            "chunk_grid": {
                "name": "regular",
                "configuration": {"chunk_shape": tuple(max(1, n) for n in self.shape)},
            },
            "chunk_key_encoding": {"name": "default", "configuration": {"separator": "."}},
            "fill_value": _FILL[np.dtype(self.dtype).kind],
            "codecs": codecs,
            "attributes": json.loads(self.attrs),
            "dimension_names": self.dims,
        }


@lru_cache(maxsize=512)
def _metadata(spec: _Spec) -> tuple[memoryview, str]:
    """The text of an array's metadata, and the name of its one chunk."""
    array = zarr.AsyncArray(spec.to_dict(), StorePath(MemoryStore(), spec.name))  # type: ignore[call-overload]  # JSON
    text = array.metadata.to_buffer_dict(default_buffer_prototype())[_METADATA].to_bytes()
    return memoryview(text), array.metadata.encode_chunk_key((0,) * len(spec.shape))


class _Recent(Generic[_T]):
    """The last things that were asked for. Most small arrays are the same from one dataset to the next."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._things: OrderedDict[Hashable, _T] = OrderedDict()

    def get(self, key: Hashable) -> _T | None:
        thing = self._things.pop(key, None)
        if thing is not None:
            self._things[key] = thing
        return thing

    def put(self, key: Hashable, thing: _T) -> None:
        self._things[key] = thing
        while len(self._things) > self._size:
            self._things.popitem(last=False)


_SMALL_CHUNKS: Final[_Recent[tuple[memoryview, str]]] = _Recent(256)
_SMALL_VALUES: Final[_Recent[NDArray[Any]]] = _Recent(256)


@lru_cache(maxsize=512)
def _parse(text: bytes) -> Any:
    return zarr.AsyncArray(json.loads(text), StorePath(MemoryStore(), "")).metadata


def _parsed(text: bytes, where: str) -> Any:
    try:
        return _parse(text)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise CorruptFileError(f"its metadata cannot be read ({error})", where=where, hint=_AGAIN) from error


def _chunk_keys(array: zarr.AsyncArray[Any]) -> list[str]:
    grid = [range(-(-n // c)) for n, c in zip(array.shape, array.chunks, strict=True)]
    return [array.metadata.encode_chunk_key(i) for i in np.ndindex(*(len(g) for g in grid))]


async def _get_all(
    arrays: Mapping[str, zarr.AsyncArray[Any]], files: Mapping[str, bytes], where: str
) -> dict[str, NDArray[Any]]:
    out = {}
    for name, array in arrays.items():
        small = None
        if array.nbytes < COMPRESS_FROM:
            small = (files[f"{name}/{_METADATA}"], *(files[f"{name}/{key}"] for key in _chunk_keys(array)))
            known = _SMALL_VALUES.get(small)
            if known is not None:
                out[name] = known.copy()
                continue
        try:
            out[name] = np.asarray(await array.getitem(Ellipsis)).reshape(array.shape)
        except (ValueError, RuntimeError, TypeError) as error:
            raise CorruptFileError(
                f"its values cannot be read ({error})", where=f"{where}, {name}", hint=_AGAIN
            ) from error
        if small is not None:
            _SMALL_VALUES.put(small, out[name].copy())
    return out


class _Inline(ThreadPoolExecutor):
    """Runs what it is given at once, in this thread: handing a chunk to another costs more than it gains."""

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except BaseException as error:  # handed to whoever waits for the future
            future.set_exception(error)
        return future


def _off_the_main_thread(work: Callable[[], _T]) -> _T:
    """Run it in another thread than the main one: there blosc would use threads of its own, whose order decides
    how a chunk is laid out.
    """
    if threading.current_thread() is not threading.main_thread():
        return work()
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(work).result()


def _run(work: Coroutine[Any, Any, _T]) -> _T:
    """Run zarr's coroutines to the end, never in the main thread, where there may be a running loop, as in a
    notebook.
    """
    if threading.current_thread() is not threading.main_thread():
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            return _run_here(work)
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(_run_here, work).result()


def _run_here(work: Coroutine[Any, Any, _T]) -> _T:
    loop = asyncio.new_event_loop()
    loop.set_default_executor(_Inline(1))
    try:
        return loop.run_until_complete(work)
    finally:
        loop.close()


def _json(value: Any) -> str:
    return json.dumps(value, default=_plain, sort_keys=True)


def _plain(value: Any) -> Any:
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray):
        return value.tolist()
    raise TypeError(f"an attribute of type {type(value).__name__} cannot be written to JSON")
