"""Whether a method that ``preprocess`` names is the one that the Trainer runs on batches."""

from __future__ import annotations

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.utilities.model_helpers import is_overridden

from lightning_onnx.errors import ConfigurationError
from lightning_onnx.module.fused import Part

_SHARED = ("on_before_batch_transfer", "transfer_batch_to_device", "on_after_batch_transfer")
"""Hooks that a data module may have too; the Trainer then runs only the data module's."""


def check_batch_hook(trainer: Trainer, module: LightningModule, preprocess: Part | None) -> None:
    """Raise if ``preprocess`` names a hook that the Trainer does not run, or that does nothing.

    Args:
        trainer: The Trainer, with its data module.
        module: The user's module.
        preprocess: The option.

    Raises:
        ConfigurationError: If the data module has the hook, or the module does not override it.
    """
    if not isinstance(preprocess, str) or preprocess not in _SHARED:
        return
    data = getattr(trainer, "datamodule", None)
    if data is not None and is_overridden(preprocess, data):
        raise ConfigurationError(
            f"preprocess={preprocess!r} names a method of {type(module).__name__}, but {type(data).__name__} has this "
            "hook too, and the Trainer runs only that of the data module. Move the hook into the module, or give "
            "preprocess= a function on tensors and sample= a raw input."
        )
    if not is_overridden(preprocess, module):
        raise ConfigurationError(
            f"preprocess={preprocess!r}, but {type(module).__name__} does not override this hook, so it does nothing. "
            "Give the name of a method that prepares the batch, or a function on tensors and sample= a raw input."
        )
