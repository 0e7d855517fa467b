"""What installed packages add: a check or a proxy of their own, named as an entry point."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from importlib.metadata import entry_points
from typing import TypeVar

from memaudit.errors import SettingsError

Plugged = TypeVar("Plugged")


def with_plugins(
    group: str, kind: type[Plugged], own: Iterable[Plugged], named: Callable[[Plugged], str], said: str
) -> tuple[Plugged, ...]:
    """Return the built-in objects of a kind, then those that installed packages name as entry points.

    Args:
        group: The group of entry points.
        kind: What each must be an instance of.
        own: The built-in ones.
        named: Returns the name of one, which no other may have.
        said: How a message says that one has a name, such as "has the code".

    Raises:
        SettingsError: An entry point is not of the kind, or has a name that is taken.
    """
    found = {named(each): each for each in own}
    for point in sorted(entry_points(group=group), key=lambda point: point.name):
        each = point.load()
        if not isinstance(each, kind):
            package = kind.__module__.rpartition(".")[0]  # which exports it
            what = f"{package}.{kind.__name__}"
            raise SettingsError(f"the plug-in {point.value} is a {type(each).__name__}, not a {what}")
        if named(each) in found:
            raise SettingsError(f"the plug-in {point.value} {said} {named(each)!r}, which is taken")
        found[named(each)] = each
    return tuple(found.values())
