"""A group of flags is a dataclass: a verb takes the group, the command line its fields."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from dataclasses import MISSING, Field, fields, is_dataclass
from typing import Any, get_type_hints


def with_flags(command: Callable[..., None]) -> Callable[..., None]:
    """A command for typer that has a flag for each field of the dataclasses among its parameters."""
    hints = get_type_hints(command, include_extras=True)
    groups: dict[str, Any] = {name: kind for name, kind in hints.items() if is_dataclass(kind)}
    flags: list[inspect.Parameter] = []
    for name, given in inspect.signature(command).parameters.items():
        if name in groups:
            kinds = get_type_hints(groups[name], include_extras=True)
            flags += [_parameter(one.name, kinds[one.name], _default(one)) for one in fields(groups[name])]
        else:
            flags.append(_parameter(name, hints[name], given.default))

    signature = inspect.Signature(flags)

    @functools.wraps(command)
    def called(**given: Any) -> None:
        bound = signature.bind(**given)
        bound.apply_defaults()
        values = bound.arguments
        found = {
            name: kind(**{one.name: values.pop(one.name) for one in fields(kind)}) for name, kind in groups.items()
        }
        command(**values, **found)

    called.__signature__ = signature  # type: ignore[attr-defined]  # what typer reads
    called.__annotations__ = {flag.name: flag.annotation for flag in flags}
    return called


def flags_given(group: Any) -> list[str]:
    """The flags of a group, of those that need not be given, that differ from their defaults."""
    optional = [one for one in fields(group) if one.default is not MISSING]
    return [f"--{one.name}" for one in optional if getattr(group, one.name) != one.default]


def _parameter(name: str, annotation: Any, default: Any) -> inspect.Parameter:
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, annotation=annotation, default=default)


def _default(field: Field[Any]) -> Any:
    return inspect.Parameter.empty if field.default is MISSING else field.default
