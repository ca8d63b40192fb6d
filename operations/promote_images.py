"""``python -m operations.promote_images``: take the images that testnet runs, by digest, to mainnet.

The section ``images`` of a stack file is its image lock: tag and digest of every image, and nothing else says which one
runs. This command copies entries from one lock to another. It shows the difference and writes with ``--write`` alone;
what it writes is those entries, and not a space beside them. `docs/runbooks/image-promotion.md`.
"""

import argparse
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import yaml

from settings import stackfile
from settings.problems import Problem, shown
from settings.stackfile import PROJECT, StackFileError
from settings.types import has_digest

SECTION = f"{PROJECT}:images"
OF_WORKLOADS = "workloads."


class PromotionError(Exception):
    """Why nothing was promoted: one line each, with the remedy."""


@dataclass(frozen=True, kw_only=True)
class Change:
    """One image of the target. ``before`` is None where the target has none yet."""

    name: str
    before: str | None
    after: str

    def __str__(self) -> str:
        return f"images.{self.name}\n  - {self.before or '(none)'}\n  + {self.after}"


@dataclass(frozen=True, kw_only=True)
class Promotion:
    """What changes, what has no counterpart in the source and stays, and the target's new text."""

    changes: tuple[Change, ...]
    staying: tuple[str, ...]
    text: str


def plan(source: str, target: str, only: tuple[str, ...] = ()) -> Promotion:
    """What a promotion between two stack files changes; with ``only``, of these images alone.

    Raises ``PromotionError`` for an image of the source without a digest, a name that neither file knows, and a target
    that is not written one image a line; ``StackFileError`` for what is no stack file.
    """
    section = _section(target)
    tried, running = _images(stackfile.config(source)), _images(stackfile.config(target))
    wanted = {*running, *_workloads(stackfile.config(target))}
    unknown = [name for name in only if not {name, OF_WORKLOADS + name} & wanted & tried.keys()]
    if unknown:
        known = ", ".join(sorted(name.removeprefix(OF_WORKLOADS) for name in wanted & tried.keys()))
        raise PromotionError(f"{', '.join(unknown)}: no image of both stacks. Fix: one of {known}")
    names = [
        name for name in tried if name in wanted and (not only or {name, name.removeprefix(OF_WORKLOADS)} & {*only})
    ]
    loose = [
        Problem(
            f"images.{name}", "not pinned to a digest in the source", "run `make configure` there", shown(tried[name])
        )
        for name in names
        if not has_digest(tried[name])
    ]
    if loose:
        raise PromotionError("\n".join(map(str, loose)))
    changes = tuple(
        Change(name=name, before=running.get(name), after=tried[name])
        for name in names
        if running.get(name) != tried[name]
    )
    staying = () if only else tuple(name for name in running if name not in tried)
    return Promotion(changes=changes, staying=staying, text=_written(target, section, changes))


def _images(config: Mapping[str, object]) -> dict[str, str]:
    """Every image of a stack file, as ``redis`` or ``workloads.svc-tax``."""
    found: dict[str, str] = {}
    section = config.get("images")
    for name, value in section.items() if isinstance(section, Mapping) else ():
        if isinstance(value, Mapping):
            found |= {f"{name}.{inner}": str(image) for inner, image in value.items()}
        else:
            found[str(name)] = str(value)
    return found


def _workloads(config: Mapping[str, object]) -> Iterator[str]:
    """Images that a stack needs by its workloads, whether it names them yet or not."""
    for family in ("workers", "services"):
        section = config.get(family)
        yield from (OF_WORKLOADS + str(name) for name in section) if isinstance(section, Mapping) else ()


def _written(text: str, section: yaml.MappingNode, changes: tuple[Change, ...]) -> str:
    """The target's text with the changes in it. Everything else, comments included, stays as it is."""
    if not changes:
        return text
    places = dict(_places(section))
    edits = [
        (places[change.name].start_mark.index, places[change.name].end_mark.index, change.after)
        for change in changes
        if change.before is not None
    ]
    new = [change for change in changes if change.before is None]
    if new:
        edits.append(_insertion(text, section, new))
    written = text
    for start, end, put in sorted(edits, reverse=True):
        written = written[:start] + put + written[end:]
    expected = _images(stackfile.config(text)) | {change.name: change.after for change in changes}
    try:
        kept = _images(stackfile.config(written)) == expected and _without_images(written) == _without_images(text)
    except StackFileError:
        kept = False
    if not kept:
        raise PromotionError(f"{SECTION}: not one image a line. Fix: write each as `name: image` on its own line")
    return written


def _without_images(text: str) -> dict[str, object]:
    return {key: value for key, value in stackfile.config(text).items() if key != "images"}


def _section(text: str) -> yaml.MappingNode:
    document = yaml.compose(text, Loader=yaml.SafeLoader)
    for step in ("config", SECTION):
        entries = document.value if isinstance(document, yaml.MappingNode) else ()
        document = next((value for key, value in entries if key.value == step), None)
    if not isinstance(document, yaml.MappingNode) or not document.value:
        raise PromotionError(f"{SECTION}: missing in the target. Fix: add it, with postgres and redis below it")
    return document


def _places(section: yaml.MappingNode) -> Iterator[tuple[str, yaml.ScalarNode]]:
    for key, value in section.value:
        if isinstance(value, yaml.MappingNode):
            yield from ((f"{key.value}.{inner}", place) for inner, place in _places(value))
        elif isinstance(value, yaml.ScalarNode):
            yield key.value, value


def _insertion(text: str, section: yaml.MappingNode, new: list[Change]) -> tuple[int, int, str]:
    """Lines for images that the target has not yet: below its workloads, which are begun where there are none."""
    workloads = next((value for key, value in section.value if key.value == "workloads"), None)
    if workloads is not None and not workloads.value:
        raise PromotionError(f"{SECTION}.workloads: empty in the target. Fix: remove it; it is begun anew")
    last = (workloads or section).value[-1][1]
    at = text.find("\n", last.end_mark.index - 1)
    at = len(text) if at < 0 else at
    indent = section.value[0][0].start_mark.column
    lines = [] if workloads else [" " * indent + "workloads:"]
    inner = workloads.value[0][0].start_mark.column if workloads else indent + 2
    lines += [f"{' ' * inner}{change.name.removeprefix(OF_WORKLOADS)}: {change.after}" for change in new]
    return at, at, "".join(f"\n{line}" for line in lines)


def _read(path: Path) -> str:
    try:
        text = stackfile.text_of(path)
        stackfile.parse(text)
    except StackFileError as error:
        raise PromotionError(f"{path.name}: {error}") from None
    return text


def main() -> int:
    """Show the difference, and write it when asked to."""
    parser = argparse.ArgumentParser(prog="python -m operations.promote_images", description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", help="images to promote, as svc-tax or redis; all when none is named")
    parser.add_argument("--from", dest="source", default="testnet", help="stack whose images are taken")
    parser.add_argument("--to", dest="target", default="mainnet", help="stack that gets them")
    parser.add_argument("--write", action="store_true", help="write the stack file; without it, only show")
    arguments = parser.parse_args()
    source, target = (stackfile.path(stack, Path.cwd()) for stack in (arguments.source, arguments.target))
    try:
        tried, running = (_read(path) for path in (source, target))
        promotion = plan(tried, running, tuple(arguments.names))
    except OSError as error:
        print(f"{error.filename}: {error.strerror}. Fix: name existing stacks", file=sys.stderr)
        return 1
    except PromotionError as error:
        print(error, file=sys.stderr)
        return 1
    print(f"{source.name} -> {target.name}")
    for change in promotion.changes:
        print(change)
    for name in promotion.staying:
        print(f"images.{name}: {arguments.source} has none; stays as it is")
    if not promotion.changes:
        print("Nothing to promote.")
    elif arguments.write:
        target.write_text(promotion.text, encoding="utf-8")
        print(f"Written. Look at `pulumi preview --stack {arguments.target}` and commit {target.name}.")
    else:
        print("Nothing was written. Run it again with --write.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
