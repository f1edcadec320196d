"""Registry: finds a class by name, in one of our folders or in an installed package.

All plug-in points look like this: a base class, a folder with one file per name, and a group of
entry points under which other packages register their own.
"""

import sys
from collections.abc import Iterator
from functools import lru_cache
from importlib import import_module
from importlib.metadata import EntryPoint, EntryPoints, entry_points
from inspect import isclass
from pkgutil import iter_modules
from typing import Generic, TypeVar

from memory.errors import UnknownNameError

T = TypeVar("T")


class Registry(Generic[T]):
    """Subclasses of `base`: those in the modules beside it, and those registered in `group`."""

    def __init__(self, base: type[T], group: str, noun: str) -> None:
        """`base` has a `name` and its own module in the folder; `noun` is for messages.

        Each of our subclasses is in a module of the same name.
        """
        self._base = base
        self._folder = base.__module__.rpartition(".")[0]
        self._group = group
        self._noun = noun

    def names(self) -> list[str]:
        """Return all names, ours and others', sorted, without loading any class."""
        return sorted({*self._ours(), *(point.name for point in self._points())})

    def find(self, name: str) -> type[T]:
        """Load the class called `name`.

        Raises UnknownNameError if there is none or more than one, or if it cannot be loaded.
        """
        points = [point for point in self._points() if point.name == name]
        origins = [*(["vstream"] if name in self._ours() else []), *map(_package, points)]
        if not origins:
            raise UnknownNameError(
                f"no {self._noun} is called {name!r}; known: {', '.join(self.names())}"
            )
        if len(origins) > 1:
            raise UnknownNameError(
                f"{self._noun} {name!r} is given by {' and by '.join(origins)}: uninstall one"
            )
        if points:
            return self._loaded(points[0])
        module = import_module(f"{self._folder}.{name}")
        [found] = [one for one in vars(module).values() if self._is_one(one) and one.name == name]
        return found  # type: ignore[no-any-return]

    def _points(self) -> EntryPoints:
        return _installed(self._group, tuple(sys.path))

    def _ours(self) -> Iterator[str]:
        own = self._base.__module__.rpartition(".")[2]
        path = import_module(self._folder).__path__
        return (found.name for found in iter_modules(path) if found.name != own)

    def _loaded(self, point: EntryPoint) -> type[T]:
        whose = f"{self._noun} {point.name!r} of {_package(point)}"
        try:
            found = point.load()
        except Exception as error:
            raise UnknownNameError(f"{whose} cannot be loaded: {error}") from error
        if not self._is_one(found) or found.name != point.name:
            raise UnknownNameError(
                f"{whose} is {found!r}: it must be a {self._base.__name__} of that name"
            )
        return found  # type: ignore[no-any-return]

    def _is_one(self, found: object) -> bool:
        return isclass(found) and issubclass(found, self._base) and found is not self._base


@lru_cache(maxsize=16)
def _installed(group: str, path: tuple[str, ...]) -> EntryPoints:
    """Return all packages' entry points. Cached: it reads a file of each, for every stream."""
    return entry_points(group=group)


def _package(point: EntryPoint) -> str:
    return point.dist.name if point.dist is not None else point.value
