"""Which series a PromQL expression reads."""

import re

_TEXT = re.compile(r'"(?:[^"\\]|\\.)*"')
_BRACES = re.compile(r"\{[^}]*\}|\[[^\]]*\]")
_LABELS = re.compile(r"\b(?:by|without|on|ignoring|group_left|group_right)\s*\([^)]*\)")
_NAME = re.compile(r"(?<![\w.:])[a-zA-Z_:][\w:]*(?!\s*\()(?![\w:])")
_WORDS = {"and", "or", "unless", "bool", "offset", "group_left", "group_right", "by", "without", "on", "ignoring"}
_WORDS |= {"sum", "max", "min", "avg", "count", "topk", "bottomk", "stddev", "group", "quantile", "count_values"}


def metric_names(expression: str) -> set[str]:
    """Names of the metrics in an expression: what is neither a label, a function nor a word of the language."""
    bare = _LABELS.sub(" ", _BRACES.sub(" ", _TEXT.sub(" ", expression)))
    return {name for name in _NAME.findall(bare) if name not in _WORDS}
