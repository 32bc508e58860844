"""A change to a library's module that has to come before the library itself uses it."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType

Change = Callable[[ModuleType], None]


class _Changed(Loader):
    """A loader, and then a change of what it loaded."""

    def __init__(self, inner: Loader, change: Change) -> None:
        self.inner, self.change = inner, change

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self.inner.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        spec = module.__spec__
        assert spec is not None
        spec.loader = module.__loader__ = self.inner
        self.inner.exec_module(module)
        self.change(module)


class _Finder(MetaPathFinder):
    def __init__(self, name: str, change: Change) -> None:
        self.name, self.change = name, change

    def find_spec(self, fullname: str, path: Sequence[str] | None = None,
                  target: ModuleType | None = None) -> ModuleSpec | None:
        if fullname != self.name:
            return None
        sys.meta_path.remove(self)
        spec = PathFinder.find_spec(fullname, path, target)
        if spec is not None and spec.loader is not None:
            spec.loader = _Changed(spec.loader, self.change)
        return spec


def after_import(name: str, change: Change) -> None:
    """Calls `change` with the module of this name as soon as it is imported, before whoever imports
    it goes on; at once where it is there already."""
    if name in sys.modules:
        change(sys.modules[name])
    else:
        sys.meta_path.insert(0, _Finder(name, change))
