"""Refuses versions of Lightning that run code named in a checkpoint, where a checkpoint may come from anybody."""

from __future__ import annotations

import sys

from packaging.version import Version

from lightning_onnx.errors import ConfigurationError

_FIRST = Version("2.6.6")

_PACKAGES = {"lightning": "lightning", "pytorch_lightning": "pytorch-lightning"}
"""The two names of Lightning: the module, and the package that pip installs."""


def check_versions() -> None:
    """Check each Lightning that this process has imported.

    This package reads checkpoints in its own way and runs no code in them. But the user's module may be built by its
    own ``load_from_checkpoint``, and Lightning up to 2.6.5 imports and calls what a checkpoint's hyperparameter
    ``_instantiator`` names.

    Raises:
        ConfigurationError: If one is older than 2.6.6.
    """
    for module, package in _PACKAGES.items():
        if module in sys.modules and (found := Version(sys.modules[module].__version__)) < _FIRST:
            raise ConfigurationError(
                f"{package} {found} is installed. Up to 2.6.5, load_from_checkpoint runs code that a checkpoint names "
                "in its hyperparameters, in spite of weights_only=True (CVE-2026-58659), and 2.6.2 and 2.6.3 were "
                f"compromised releases (GHSA-w37p-236h-pfx3). Run: pip install '{package}>={_FIRST}'"
            )
