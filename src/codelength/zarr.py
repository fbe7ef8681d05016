"""The codec ``codelength`` of Zarr version 3: chunks of images, coded by a model that learns from them (docs/zarr.md).

    import zarr
    from codelength.zarr import CodelengthCodec

    array = zarr.create_array(store, shape=(150, 256, 256), chunks=(50, 256, 256), dtype="uint8",
                              serializer=CodelengthCodec(profile="balanced"), compressors=None)

Needs ``codelength[zarr]``. Arrays are read without naming the codec: zarr finds it by its entry point.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import dataclasses
import functools
import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from codelength.adaptive.presets import KINDS, SIZES
from codelength.errors import CodelengthError, DataError, MissingPackage, ProgramError, UsageError
from codelength.laws.frozen import FrozenModel
from codelength.laws.presets import preset

try:
    from zarr.abc.codec import ArrayBytesCodec
    from zarr.core.array_spec import ArraySpec
    from zarr.core.buffer import Buffer, NDBuffer
except ModuleNotFoundError as error:
    raise MissingPackage(
        "the codec needs zarr, version 3, which is not installed; pip install 'codelength[zarr]'", name="zarr"
    ) from error

#: What a chunk begins with: how it is kept, and the beginning of the SHA-256 of its samples.
STORED, LEARNED = 0, 1
_CHECK = 8
_HEADER = 1 + _CHECK


@dataclass(frozen=True)
class CodelengthCodec(ArrayBytesCodec):
    """Chunks (.., H, W), or (.., H, W, C) of C channels, uint8, uint16 or bool; every chunk comes back bit for bit.

    profile: ``fast``, ``balanced`` or ``small``, by the time that coding takes. kind: ``photo`` for what a camera has
    seen, ``drawn`` for few values in exact patterns, ``binary`` for two symbols; None: ``binary`` for bool, else
    ``photo``. channels: 1 to 4, the last axis where they are several; None: 3 or 4 where the last of three or more axes
    is of that size, else 1. bits: of the samples, such as 12 of 16; None: as many as the type has. Chunks with larger
    values are kept as they are. program: a model file in base 64, which is what coding goes by and is put into the
    array's metadata; None: the one that the others ask for.

    Raises UsageError for other settings and for arrays of other types, ProgramError for a program that is none.
    """

    profile: str = "balanced"
    kind: str | None = None
    channels: int | None = None
    bits: int | None = None
    program: str | None = None

    is_fixed_size = False

    def __post_init__(self) -> None:
        for what, value, known in (("profile", self.profile, SIZES), ("kind", self.kind, (None, *KINDS))):
            if value not in known:
                names = ", ".join(name for name in known if name)
                raise UsageError(f"expected a {what} of the codec codelength of {names}, got {value!r:.40}")
        for name, number, most in (("channels", self.channels, 4), ("bits", self.bits, 16)):
            if number is not None and (type(number) is not int or not 1 <= number <= most):
                raise UsageError(f"expected {name} of the codec codelength from 1 to {most}, got {number!r:.40}")
        if self.program is not None:
            _model(self.program)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> CodelengthCodec:
        configuration = data.get("configuration", {})
        known = {field.name for field in dataclasses.fields(cls)}
        if not isinstance(configuration, Mapping) or not set(configuration) <= known:
            raise UsageError(
                f"expected a configuration of the codec codelength of {', '.join(sorted(known))}, got "
                f"{configuration!r:.80}; a newer version of codelength may know it"
            )
        return cls(**configuration)

    def to_dict(self) -> dict[str, Any]:
        set_ = {name: value for name, value in dataclasses.asdict(self).items() if value is not None}
        return {"name": "codelength", "configuration": set_}

    def evolve_from_array_spec(self, array_spec: ArraySpec) -> CodelengthCodec:
        """The codec of an array: what was left open is filled in from its type and shape."""
        dtype = _dtype(array_spec.dtype)
        if self.program is not None:
            return self
        most = 1 if dtype.kind == "b" else 8 * dtype.itemsize
        shape = array_spec.shape
        colour = len(shape) > 2 and shape[-1] in (3, 4)
        channels = self.channels or (shape[-1] if colour else 1)
        bits = min(self.bits or most, most)
        kind = self.kind or ("binary" if bits == 1 else "photo")
        model = preset(self.profile, 1 << bits, channels=channels, kind=kind)
        program = base64.b64encode(model.to_bytes()).decode("ascii")
        return CodelengthCodec(self.profile, kind, channels, bits, program)

    def validate(self, *, shape: tuple[int, ...], dtype: Any, chunk_grid: Any) -> None:
        _dtype(dtype)
        if len(shape) < 2:
            raise UsageError(f"expected an array of images, of two axes or more, for the codec codelength, got {shape}")

    def compute_encoded_size(self, input_byte_length: int, chunk_spec: ArraySpec) -> int:
        raise NotImplementedError("the size of a coded chunk depends on what it holds")

    # ------------------------------------------------------------------------------------------------------- chunks

    async def _encode_single(self, chunk_data: NDBuffer, chunk_spec: ArraySpec) -> Buffer | None:
        codec = self.evolve_from_array_spec(chunk_spec)
        data = await asyncio.to_thread(codec.encode_chunk, chunk_data.as_numpy_array())
        return chunk_spec.prototype.buffer.from_bytes(data)

    async def _decode_single(self, chunk_data: Buffer, chunk_spec: ArraySpec) -> NDBuffer:
        codec = self.evolve_from_array_spec(chunk_spec)
        dtype = chunk_spec.dtype.to_native_dtype()
        chunk = await asyncio.to_thread(codec.decode_chunk, chunk_data.to_bytes(), chunk_spec.shape, dtype)
        return chunk_spec.prototype.nd_buffer.from_numpy_array(chunk)

    def encode_chunk(self, chunk: np.ndarray) -> bytes:
        """The bytes of a chunk (see docs/zarr.md). Raises UsageError for a shape that is not of images."""
        model = self._program()
        images, shape = _images(model, chunk.shape)
        values = np.ascontiguousarray(chunk, _little(chunk.dtype))
        raw = values.tobytes()
        check = hashlib.sha256(raw).digest()[:_CHECK]
        if values.size and int(values.max()) < model.space.symbols:
            words = model.learner().encode(list(values.reshape(images, *shape)))
            if 4 * len(words) < len(raw):
                return bytes([LEARNED]) + check + words.astype("<u4").tobytes()
        return bytes([STORED]) + check + raw

    def decode_chunk(self, data: bytes, shape: tuple[int, ...], dtype: np.dtype[Any]) -> np.ndarray:
        """A chunk of this shape and type from its bytes. Raises DataError where they are not those of such a chunk."""
        form, check, body = data[:1], data[1:_HEADER], data[_HEADER:]
        little = _little(dtype)
        if form == bytes([STORED]):
            if len(body) != math.prod(shape) * little.itemsize:
                raise _damaged(f"{len(body):,} bytes for samples of shape {shape}")
            values = np.frombuffer(body, np.uint8 if little.kind == "b" else little)
        elif form == bytes([LEARNED]):
            values = self._decoded(body, shape, little)
        else:
            raise _damaged(f"it begins with {form!r}")
        if hashlib.sha256(values.tobytes()).digest()[:_CHECK] != check:
            raise _damaged("its samples are not those that were written")
        return values.reshape(shape).astype(dtype)

    def _decoded(self, body: bytes, shape: tuple[int, ...], little: np.dtype[Any]) -> np.ndarray:
        model = self._program()
        images, size = _images(model, shape)
        if len(body) % 4:
            raise _damaged(f"{len(body):,} bytes of words of four")
        try:
            found = model.learner().decode(np.frombuffer(body, "<u4"), [size] * images)
        except (CodelengthError, ValueError) as error:
            raise _damaged(str(error)) from None
        values = np.stack(found)
        if int(values.max()) > (1 if little.kind == "b" else np.iinfo(little).max):
            raise _damaged("a value is beyond the type of the array")
        return values.astype(np.uint8 if little.kind == "b" else little)

    def _program(self) -> FrozenModel:
        assert self.program is not None
        return _model(self.program)


@functools.lru_cache(maxsize=16)
def _model(program: str) -> FrozenModel:
    """The proved model of a program in base 64."""
    try:
        data = base64.b64decode(program, validate=True)
    except (binascii.Error, ValueError, TypeError):
        raise ProgramError(
            "the program of the codec codelength is not in base 64; restore the metadata of the array"
        ) from None
    model = FrozenModel.from_bytes(data)
    if not model.law.prequential:
        raise ProgramError(
            f"expected an adaptive program for the codec codelength, got a model whose law is "
            f"{model.structure['law']['law']}"
        )
    return model


def _images(model: FrozenModel, shape: tuple[int, ...]) -> tuple[int, tuple[int, ...]]:
    """How many images a chunk of this shape holds, and the shape of one."""
    axes = len(model.space.shape)
    size = tuple(shape[-axes:])
    if len(shape) < axes or not math.prod(shape) or not model.space.admits(size):
        raise UsageError(
            f"expected chunks of shape (.., {str(model.space.shape)[1:-1].replace('None', 'any')}) for the codec "
            f"codelength, got {tuple(shape)}; state its channels, or bring the axes into this order by the codec "
            "transpose"
        )
    return math.prod(shape[:-axes]), size


def _dtype(dtype: Any) -> np.dtype[Any]:
    native = dtype if isinstance(dtype, np.dtype) else np.dtype(dtype.to_native_dtype())
    if native.kind == "b" or (native.kind == "u" and native.itemsize <= 2):
        return native
    raise UsageError(
        f"expected an array of uint8, uint16 or bool for the codec codelength, got {native}; convert it, or take "
        "another serializer, such as bytes"
    )


def _little(dtype: np.dtype[Any]) -> np.dtype[Any]:
    return dtype.newbyteorder("<")


def _damaged(reason: str) -> DataError:
    return DataError(f"a chunk of the codec codelength is damaged: {reason}; restore it from a copy")
