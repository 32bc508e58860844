"""Models opened without what is not needed for it.

For things that are not used here, torchvision, timm and transformers import PyTorch's compiler, its
tensors spread over machines, scikit-learn and SciPy's optimiser: a third to a half of the seconds
that opening the first model takes. While they are imported, each such part is left out, or has a
stand-in that imports it when it is first asked for something. What is imported already stays.
"""

from __future__ import annotations

import importlib
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from types import ModuleType
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from explorer.base.imports import after_import

COMPILER = ("torch._dynamo", "torch._dynamo.utils",
            "torch._dynamo._trace_wrapped_higher_order_op")
DRAWN = frozenset({"normal_", "uniform_", "erfinv_"})  # how all random weights are made
_ONE = threading.Lock()


class Later(ModuleType):
    """Stands for a module: its functions and classes, called, import it. As a decorator, while the
    stand-in is in its place, such a function waits for the first call of what it decorates."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.__path__: list[str] = []

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)

        def real(*args: Any, **settings: Any) -> Any:
            return getattr(importlib.import_module(self.__name__), name)(*args, **settings)

        def call(*args: Any, **settings: Any) -> Any:
            if sys.modules.get(self.__name__) is not self:
                return real(*args, **settings)
            if args and callable(args[0]):
                return _decorated(args[0], lambda inner: real(inner, *args[1:], **settings))
            return lambda inner: _decorated(inner, real(*args, **settings))

        return call


def _decorated(inner: Callable[..., Any], decorate: Callable[[Any], Any]) -> Callable[..., Any]:
    """`inner`, decorated when it is first called."""
    made: list[Callable[..., Any]] = []

    @wraps(inner)
    def first(*args: Any, **settings: Any) -> Any:
        if not made:
            made.append(decorate(inner))
        return made[0](*args, **settings)

    return first


@contextmanager
def _left_out() -> Iterator[None]:
    stand_ins = {} if COMPILER[0] in sys.modules else {name: Later(name) for name in COMPILER}
    spread = torch.distributed.is_available
    sys.modules.update(stand_ins)
    if "torch.distributed.tensor" not in sys.modules:
        torch.distributed.is_available = lambda: False
    try:
        yield
    finally:
        torch.distributed.is_available = spread
        for name, module in stand_ins.items():
            if sys.modules.get(name) is module:
                del sys.modules[name]


def _without(utils: ModuleType) -> None:
    """transformers.utils.import_utils: no scikit-learn, SciPy and FlexAttention, as on a machine
    that has not got them."""
    for part in ("sklearn", "scipy"):
        setattr(utils, f"_{part}_available", False)
    utils.is_torch_flex_attn_available = lambda: False  # type: ignore[attr-defined]


def import_models() -> None:
    """Imports open_clip and what it takes from transformers, once. A release that has not got one
    of these switches imports its part all the same."""
    with _ONE:
        if "open_clip" in sys.modules:
            return
        after_import("transformers.utils.import_utils", _without)
        with _left_out():
            import open_clip  # noqa: F401
            import transformers.modeling_utils  # noqa: F401


class Unfilled(TorchFunctionMode):
    """New weights are not drawn: memory as it comes, for those on disk to fill. What a model
    computes and does not draw, such as masks and positions, is made as ever."""

    def __torch_function__(self, func: Any, types: Any, args: tuple[Any, ...] = (),
                           kwargs: dict[str, Any] | None = None) -> Any:
        if func.__name__ in DRAWN and args:
            return args[0]
        return func(*args, **(kwargs or {}))


def finite(values: Tensor) -> bool:
    """Whether no value is infinite or not a number. One that is makes the sum so; a sum may be so
    without, of large values, and then each is looked at."""
    return bool(torch.isfinite(values.sum())) or bool(torch.isfinite(values).all())
