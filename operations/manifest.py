"""Objects that the program writes for the SDK, as kubectl takes them."""

import re
from collections.abc import Mapping
from typing import Any


def in_camel_case(value: Any) -> Any:  # noqa: ANN401 - any part of an object
    """The same with the keys that the API has. No map of free keys, as labels are, may have one with an underscore.

    A key that is a word of Python's own has one at its end: ``from_``.
    """
    if isinstance(value, Mapping):
        return {
            re.sub("_(.?)", lambda found: found[1].upper(), key): in_camel_case(each) for key, each in value.items()
        }
    return [in_camel_case(each) for each in value] if isinstance(value, list | tuple) else value
