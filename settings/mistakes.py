"""Explains what pydantic found wrong in a stack file, in the words of the stack file."""

import difflib
import re
from collections.abc import Iterator
from types import NoneType
from typing import Annotated, get_args, get_origin

from pydantic.alias_generators import to_camel
from pydantic_core import ErrorDetails

from settings.model import Section, Settings
from settings.problems import Problem, path_of, shown

# What an operator cannot know by heart and `make configure` reads, generates, resolves or asks for.
CONFIGURED = ("cluster.nodes.", "edge.ssh.", "edge.acme.email", "dns.zoneId", "images.", "tls.", "secrets.")
_OF_A_NODE = (".internalIp", ".podCidr")

_TEXT = ("not text", "put it in quotes")
_WHOLE_NUMBER = ("not a whole number", "write a whole number without quotes")
_BOOLEAN = ("not true or false", "write true or false without quotes")
_OBJECT = ("not an object", "write its fields below it, one a line")
_EMPTY = ("empty", "name at least one")
_PLAIN = {
    "string_type": _TEXT,
    "int_type": _WHOLE_NUMBER,
    "int_from_float": _WHOLE_NUMBER,
    "bool_type": _BOOLEAN,
    "model_type": _OBJECT,
    "dict_type": _OBJECT,
    "tuple_type": ("not a list", "write its items in brackets, as [a, b]"),
    "string_too_short": ("empty", "write a text, or leave the key out where it is optional"),
    "string_too_long": ("longer than 253 characters", "write less"),
    "too_short": _EMPTY,
}


# Requirement identifiers at the end of a description speak to developers, not to operators.
_REFERENCES = re.compile(r" \([A-Z]+-\d[^()]*\)$")


def explain(detail: ErrorDetails, hidden: frozenset[str]) -> Iterator[Problem]:
    """The problems behind one finding of pydantic. Values below a ``hidden`` top-level key are not shown."""
    location = tuple(part for part in detail["loc"] if part != "[key]")
    path = path_of(location)
    kind = detail["type"]
    if kind == "missing":
        yield from _missing(location)
    elif kind == "extra_forbidden":
        yield Problem(path, "unknown key", _nearest(location))
    else:
        problem, fix = _wrong_value(detail)
        yield Problem(path, problem, fix, None if str(location[0]) in hidden else shown(detail["input"]))


def _wrong_value(detail: ErrorDetails) -> tuple[str, str]:
    kind = detail["type"]
    context = detail.get("ctx", {})
    if kind == "value_error":
        problem, _, fix = str(context["error"]).partition(". Fix: ")
        return problem, fix
    if kind == "greater_than_equal":
        return "too small", f"at least {context['ge']}"
    if kind == "less_than_equal":
        return "too large", f"at most {context['le']}"
    if kind == "enum":
        return "not one of its choices", f"write {context['expected']}".replace("'", "")
    if kind == "literal_error":
        return "not allowed", f"write {str(context['expected']).lower()}"
    # What the model refuses in a way that has no words here yet is still a mistake in the file and no traceback.
    return _PLAIN.get(kind, ("not of its form", "write it as settings/schema.json describes"))


def _missing(location: tuple[str | int, ...]) -> Iterator[Problem]:
    """One problem per value that has to be given; a missing section counts as all its required values."""
    inner = _type_at(location)
    if isinstance(inner, type) and issubclass(inner, Section):
        required = [str(field.alias) for field in inner.model_fields.values() if field.is_required()]
        for alias in required:
            yield from _missing((*location, alias))
        if required:
            return
    path = path_of(location)
    section = _section_at(location[:-1])
    description = next((f.description for f in section.model_fields.values() if f.alias == location[-1]), None)
    about = f" ({_REFERENCES.sub('', description.split('. ')[0].rstrip('.'))})" if description else ""
    asked = path.startswith(CONFIGURED) and (not path.startswith("cluster.nodes.") or path.endswith(_OF_A_NODE))
    remedy = "run `make configure STACK=…`" if asked else "add it to the stack file"
    yield Problem(path, f"missing{about}", remedy)


def _nearest(location: tuple[str | int, ...]) -> str:
    known = [str(field.alias) for field in _section_at(location[:-1]).model_fields.values()]
    near = difflib.get_close_matches(to_camel(str(location[-1])), known, n=1)
    return f"did you mean {near[0]}?" if near else f"remove it; known here: {', '.join(known)}"


def _section_at(location: tuple[str | int, ...]) -> type[Section]:
    found = _type_at(location)
    if not (isinstance(found, type) and issubclass(found, Section)):
        raise TypeError(f"{path_of(location)} is no section of the stack file")
    return found


def _type_at(location: tuple[str | int, ...]) -> object:
    """The type of the value at a path of the stack file, which the model knows."""
    here: object = Settings
    for part in location:
        if isinstance(here, type) and issubclass(here, Section):
            here = next(field.annotation for field in here.model_fields.values() if field.alias == part)
        else:
            # The values of a mapping, or the items of a list.
            here = get_args(here)[1 if get_origin(here) is dict else 0]
        here = _without_none(here)
    return here


def _without_none(annotation: object) -> object:
    if get_origin(annotation) is Annotated:
        return _without_none(get_args(annotation)[0])
    options = [option for option in get_args(annotation) if option is not NoneType]
    if NoneType in get_args(annotation) and len(options) == 1:
        return _without_none(options[0])
    return annotation
