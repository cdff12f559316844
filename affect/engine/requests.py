"""Declarations (a resolved study, the record of a search) as JSON and back, so that reports can be rebuilt from a results
folder alone."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, fields, is_dataclass
from types import UnionType
from typing import TYPE_CHECKING, Any, TypeVar, Union, get_args, get_origin, get_type_hints

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

T = TypeVar("T")


def to_json(declared: DataclassInstance) -> str:
    """A `Resolved` (or another declaration) as indented JSON; the order of settings is kept, for reports list them in it."""
    return json.dumps(asdict(declared), indent=1, allow_nan=False, default=_left_out) + "\n"


def _left_out(value: Any) -> None:
    """Search spaces are code: a report needs none, and nothing is imported because a file names it."""
    if not callable(value):
        raise TypeError(f"{value!r} is not JSON")


def from_json(kind: type[T], text: str) -> T:
    """The inverse of `to_json`; AttributeError, KeyError, TypeError or ValueError for anything else."""
    return _build(kind, json.loads(text))


def _build(cls: type[T], data: Mapping[str, Any]) -> T:
    hints = get_type_hints(cls)
    known = {field.name for field in fields(cls)}  # type: ignore[arg-type]
    return cls(**{name: _value(hints[name], value) for name, value in data.items() if name in known})


def _value(kind: Any, value: Any) -> Any:
    """JSON `value` as an instance of the annotation `kind`."""
    origin, arguments = get_origin(kind), get_args(kind)
    if origin in (Union, UnionType):
        return None if value is None else _value(next(a for a in arguments if a is not type(None)), value)
    if origin is tuple:
        return tuple(_value(arguments[0], item) for item in value)
    if origin is Mapping:
        return {name: _value(arguments[1], item) for name, item in value.items()}
    if is_dataclass(kind):
        return _build(kind, value)  # type: ignore[arg-type]
    return value
