"""Describe the keys of a TOML file: type, default, and the docstring of each field."""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Iterator
from types import NoneType
from typing import Annotated, Any, Literal, get_args, get_origin

import tomli_w
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from medtune.core.config import table_type
from medtune.core.records import Record

BOUNDS = {"ge": "≥", "gt": ">", "le": "≤", "lt": "<"}


class ConfigKey(Record):
    """A key of a TOML file."""

    key: str
    """Dotted path."""
    values: str
    """Type and bounds of the value."""
    default: str | None
    """Default as TOML; None if there is none."""
    required: bool
    """Whether a file has to name it."""
    meaning: str


def describe_settings(kind: type[BaseModel], prefix: str = "") -> Iterator[ConfigKey]:
    """Yield the settings of a file, those of its tables included, in the order of the fields.

    Args:
        kind: Record that the file is read as.
        prefix: Path of the table in the file, with a dot at its end.
    """
    meanings = read_field_docstrings(kind)
    for name, field in kind.model_fields.items():
        table = table_type(field.annotation)
        if table is not None and not field.is_required():
            yield from _describe_table(field, table, f"{prefix}{name}.")
            continue
        yield ConfigKey(
            key=prefix + name,
            values=_describe_values(field),
            default=_format_default(field),
            required=field.is_required(),
            meaning=meanings.get(name, ""),
        )


def _describe_table(field: FieldInfo, table: type[BaseModel], prefix: str) -> Iterator[ConfigKey]:
    """Yield the settings of a table with the defaults that this file gives them."""
    whole = field.get_default(call_default_factory=True)
    for setting in describe_settings(table, prefix):
        value = whole
        for part in setting.key.removeprefix(prefix).split("."):
            value = getattr(value, part, None)
        if whole is None:  # a table that is off, unless a file has it
            yield setting
        else:
            yield setting.model_copy(update={"default": format_value(value), "required": False})


def read_field_docstrings(kind: type[BaseModel]) -> dict[str, str]:
    """Return the docstring below each field of a record, of inherited fields too, in one line."""
    found: dict[str, str] = {}
    for part in reversed(kind.__mro__):
        if not issubclass(part, BaseModel) or part in (BaseModel, Record):
            continue
        (definition,) = ast.parse(textwrap.dedent(inspect.getsource(part))).body
        assert isinstance(definition, ast.ClassDef)
        for field, after in zip(definition.body, definition.body[1:], strict=False):
            if isinstance(field, ast.AnnAssign) and isinstance(after, ast.Expr):
                text = getattr(after.value, "value", None)
                if isinstance(text, str) and isinstance(field.target, ast.Name):
                    found[field.target.id] = " ".join(text.split())
    return found


def format_value(value: object) -> str | None:
    """Return a value as TOML in one line; None has no form in TOML."""
    if value is None:
        return None
    plain = list(value) if isinstance(value, tuple) else value
    text = tomli_w.dumps({"x": plain}).removeprefix("x = ").strip()
    if isinstance(plain, list):
        return "[" + ", ".join(str(format_value(item)) for item in plain) + "]"
    return "{}" if isinstance(plain, dict) else text


def _format_default(field: FieldInfo) -> str | None:
    if field.is_required():
        return None
    return format_value(field.get_default(call_default_factory=True))


def _describe_values(field: FieldInfo) -> str:
    """Return the type of a field, and its bounds, for a reader of TOML."""
    text = _describe_type(field.annotation)
    bounds = [
        f"{sign} {bound:g}"
        for rule in field.metadata
        for name, sign in BOUNDS.items()
        if (bound := getattr(rule, name, None)) is not None
    ]
    return f"{text}, {' and '.join(bounds)}" if bounds else text


def _describe_type(annotation: Any) -> str:
    origin, parts = get_origin(annotation), get_args(annotation)
    if origin is Literal:
        return " | ".join(str(format_value(part)) for part in parts)
    if origin is tuple:
        inner = _describe_type(parts[0])
        return f"list of {inner}{'s' if inner.replace(' ', '').isalpha() else ''}"
    if origin is dict:
        return "tables by name"
    if origin is Annotated:
        return _describe_type(parts[0])
    if parts:  # a union
        return " or ".join(_describe_type(part) for part in parts if part is not NoneType)
    names = {str: "text", int: "whole number", float: "number", bool: "true | false"}
    return names.get(annotation, str(annotation))
