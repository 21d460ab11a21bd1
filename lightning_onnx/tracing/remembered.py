"""Remembers what an engine returned, because a search traces the same inputs several times."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
from collections.abc import Callable, Mapping
from typing import Any

import torch

from lightning_onnx.errors import EngineError
from lightning_onnx.module.calls.request import Request
from lightning_onnx.module.flat import FlatModule
from lightning_onnx.profile import measured
from lightning_onnx.tracing.base import Engine, EngineModel, Traced, Wrapper
from lightning_onnx.tracing.refusals import Asked, Refusals

log = logging.getLogger(__name__)


class Remembered(Wrapper):
    """An engine that traces each request once: later calls return a copy of the first result, or raise its refusal.

    Args:
        engine: The engine.
        refusals: The refusals of the run.
        timing: Returns what measures a trace.
    """

    def __init__(
        self,
        engine: Engine,
        refusals: Refusals,
        timing: Callable[[], contextlib.AbstractContextManager[None]] = contextlib.nullcontext,
    ) -> None:
        super().__init__(engine)
        self._refusals = refusals
        self._timing = timing
        self._traced: list[tuple[FlatModule, Request, Traced]] = []

    @property
    def needs_refusal(self) -> bool:
        """See ``Engine.needs_refusal``."""
        return self.engine.needs_refusal

    def trace(self, module: FlatModule, request: Request, opset_version: int, options: Mapping[str, Any]) -> Traced:
        """See ``Engine.trace``; the opset and the options are the same in all calls."""
        for of, earlier, traced in self._traced:
            if of is module and _same(earlier, request):
                return _copy(traced)
        asked = Asked.of(self.engine, module, request, opset_version, options)
        refused = self._refusals.of(self.engine, asked, request.axes)
        if refused is not None:
            raise refused
        try:
            with measured("tracing"), self._timing():
                traced = self.engine.trace(module, request, opset_version, options)
        except EngineError as error:
            log.info("%s refuses the module: %s", self.engine, error)
            self._refusals.add(self.engine, asked, request.axes, error)
            raise
        log.info("%s has traced the module", self.engine)
        self._traced.append((module, request, traced))
        return _copy(traced)


def _same(one: Request, other: Request) -> bool:
    """Tell whether two requests of one search trace the same call; a NaN is equal to nothing, so it is traced again."""
    return one.axes == other.axes and all(torch.equal(a, b) for a, b in zip(one.tensors, other.tensors, strict=True))


def _copy(traced: Traced) -> Traced:
    """Copy the model, which is changed when it is joined with others or gets its names."""
    first = EngineModel(traced.first.model.clone(), traced.first.recipes)
    return dataclasses.replace(traced, first=first)
