"""Saved files: tensors in the safetensors format, everything else as JSON in its header.

No pickle: reading a file runs nothing that is in it. A file is written as a whole or not at
all, says which format it has, and carries a checksum of its contents.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import torch
from torch import Tensor

from metaest._files import replace_file
from metaest._warn import warn
from metaest.exceptions import FileFormatError, InvalidParameterError, NewerVersionError
from metaest.learners import LEARNERS, Learner

__all__ = ["FORMAT_VERSION", "read_file", "write_file"]

#: Version of the format that this metaest writes, and the highest that it reads.
FORMAT_VERSION = 1

_KEY = "metaest"


def write_file(
    path: str | os.PathLike[str], content: Mapping[str, Any], tensors: Mapping[str, Tensor]
) -> None:
    """Write JSON and tensors to one file, atomically.

    Parameters
    ----------
    path : path-like
    content : mapping
        Of what JSON can hold.
    tensors : mapping of name to Tensor

    Raises
    ------
    OSError
        If the folder does not exist, or the file cannot be written.
    """
    import metaest

    dense = torch.contiguous_format
    whole = {k: v.detach().cpu().clone(memory_format=dense) for k, v in tensors.items()}
    text = json.dumps(content)
    header = {
        "format_version": FORMAT_VERSION,
        "metaest": metaest.__version__,
        "checksum": _checksum(text, whole),
        "content": text,
    }
    data = safetensors.torch.save(whole, metadata={_KEY: json.dumps(header)})
    target = Path(path)
    if not target.parent.is_dir():
        raise FileNotFoundError(f"cannot write {target}: its folder does not exist; create it.")
    replace_file(target, data)


def read_file(path: str | os.PathLike[str]) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Read a file that :func:`write_file` wrote.

    Parameters
    ----------
    path : path-like

    Returns
    -------
    content : dict
    tensors : dict of name to Tensor
        On the CPU.

    Raises
    ------
    FileFormatError
        If the file is corrupt, truncated or was not written by metaest.
    NewerVersionError
        If a newer metaest wrote it.
    OSError
        If there is no file, or it cannot be read.
    """
    import metaest

    data = Path(path).read_bytes()
    header = _read_header(data, path)
    if header["format_version"] > FORMAT_VERSION:
        raise NewerVersionError(
            f"{path} has format {header['format_version']}, written by metaest "
            f"{header.get('metaest')}; this is metaest {metaest.__version__}, which reads up to "
            f"format {FORMAT_VERSION}. Upgrade metaest: pip install -U metaest"
        )
    try:
        tensors = safetensors.torch.load(data)
        intact = _checksum(header["content"], tensors) == header["checksum"]
        content = json.loads(header["content"])
    except Exception as error:  # safetensors raises its own errors, and others, for bad bytes
        raise _corrupt(path, str(error)) from error
    if not intact:
        raise _corrupt(path, "its checksum is wrong")
    return content, tensors


def _read_header(data: bytes, path: str | os.PathLike[str]) -> dict[str, Any]:
    size = int.from_bytes(data[:8], "little")
    if len(data) < 8 or size > len(data) - 8 or data[8:9] != b"{":
        reason = "its header is cut off" if data[8:9] == b"{" else "it has no safetensors header"
        raise _corrupt(path, reason)
    try:
        header = json.loads(json.loads(data[8 : 8 + size])["__metadata__"][_KEY])
        if not isinstance(header["format_version"], int):
            raise TypeError("no format version")
    except (ValueError, KeyError, TypeError) as error:
        raise _corrupt(path, "its header is not one of metaest") from error
    return header


def _corrupt(path: str | os.PathLike[str], reason: str) -> FileFormatError:
    return FileFormatError(
        f"{path} cannot be read: {reason}. It is truncated, damaged, or was not written by "
        "metaest's save(); copy it again from its source, or save the estimator again."
    )


def _checksum(text: str, tensors: Mapping[str, Tensor]) -> str:
    digest = hashlib.blake2b(text.encode(), digest_size=16)
    for name in sorted(tensors):
        tensor = tensors[name]
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def encode(value: Any, name: str) -> Any:
    """Turn a parameter into what JSON can hold.

    Parameters
    ----------
    value : None, bool, int, float, str, list, tuple, dict, device or Learner
    name : str
        Of the parameter, for the message.

    Raises
    ------
    InvalidParameterError
        If it is something else.
    """
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, torch.device):
        return str(value)
    if isinstance(value, list):
        return [encode(item, name) for item in value]
    if isinstance(value, tuple):
        return {"tuple": [encode(item, name) for item in value]}
    if isinstance(value, Mapping):
        return {"dict": {str(k): encode(v, f"{name}[{k!r}]") for k, v in value.items()}}
    if isinstance(value, Learner):
        parameters = value.get_params(deep=False)
        encoded = {k: encode(v, f"{name}__{k}") for k, v in parameters.items()}
        return {"learner": _learner_name(type(value)), "parameters": encoded}
    raise InvalidParameterError(
        f"{name}={value!r} cannot be saved: it is no number, string, list, tuple, dict or Learner. "
        "Set it to one of these, or pickle the estimator."
    )


def encode_parameters(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Turn the parameters of an estimator into what JSON can hold.

    What only pickle can hold is None there: skorch's callbacks and a ``RandomState``.

    Parameters
    ----------
    parameters : mapping of name to value

    Raises
    ------
    InvalidParameterError
        If a parameter is something else that JSON cannot hold.

    Warns
    -----
    UserWarning
        If a parameter is left out.
    """
    left_out = [
        name
        for name, value in parameters.items()
        if isinstance(value, np.random.RandomState) or (name == "callbacks" and value)
    ]
    if left_out:
        warn(
            f"{', '.join(left_out)} cannot be saved without pickle and will be None after "
            "loading; what was fitted does not need them. Set them again before the next fit."
        )
    return {k: None if k in left_out else encode(v, k) for k, v in parameters.items()}


def decode(value: Any, path: str | os.PathLike[str]) -> Any:
    """Undo :func:`encode`.

    Raises
    ------
    FileFormatError
        If the file needs a learner whose class is not there.
    """
    if isinstance(value, list):
        return [decode(item, path) for item in value]
    if not isinstance(value, dict):
        return value
    if "tuple" in value:
        return tuple(decode(item, path) for item in value["tuple"])
    if "dict" in value:
        return {k: decode(v, path) for k, v in value["dict"].items()}
    parameters = {k: decode(v, path) for k, v in value["parameters"].items()}
    return _learner_class(value["learner"], path)(**parameters)


def _learner_name(cls: type[Learner]) -> str:
    short = [name for name, known in LEARNERS.items() if known is cls]
    return short[0] if short else f"{cls.__module__}.{cls.__qualname__}"


def _learner_class(name: str, path: str | os.PathLike[str]) -> type[Learner]:
    """Look among the classes that are loaded: a file must not make Python import anything."""
    if name in LEARNERS:
        return LEARNERS[name]
    found = [cls for cls in _subclasses(Learner) if _learner_name(cls) == name]  # type: ignore[type-abstract]
    if not found:
        raise FileFormatError(
            f"{path} needs the learner {name}, which is not part of this metaest and not loaded. "
            "Import the module that defines it first, then load the file again."
        )
    return found[-1]


def _subclasses(cls: type[Learner]) -> Iterator[type[Learner]]:
    for child in cls.__subclasses__():
        yield child
        yield from _subclasses(child)


def select(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """Return the tensors whose names start with ``prefix/``, without it."""
    start = f"{prefix}/"
    return {k.removeprefix(start): v for k, v in tensors.items() if k.startswith(start)}
