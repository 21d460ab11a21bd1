"""Unpickles without running code: unknown classes become placeholders, and only what the pickle makes is changed."""

from __future__ import annotations

import collections
import pathlib
import pickle
from collections.abc import Callable
from typing import IO, Any, ClassVar

import torch
from torch import Tensor, nn

_PLAIN: dict[str, set[str]] = {
    "collections": {"OrderedDict", "defaultdict"},
    "pathlib": {"Path", "PosixPath", "PurePosixPath", "PureWindowsPath"},
    "torch": {"Size", "Tensor", "device"},
    "torch._utils": {
        "_rebuild_device_tensor_from_cpu_tensor",
        "_rebuild_device_tensor_from_numpy",
        "_rebuild_meta_tensor_no_storage",
        "_rebuild_nested_tensor",
        "_rebuild_parameter",
        "_rebuild_qtensor",
        "_rebuild_sparse_tensor",
        "_rebuild_tensor",
        "_rebuild_tensor_v2",
        "_rebuild_tensor_v3",
    },
    "torch.distributed.checkpoint.metadata": {"_MEM_FORMAT_ENCODING"},
    "torch.nn.parameter": {"Buffer", "Parameter", "UninitializedBuffer", "UninitializedParameter"},
    "torch.serialization": {"_get_layout"},
}
"""Classes and functions that may be called, and receive no state."""

_WITH_STATE: dict[str, set[str]] = {
    "torch.distributed.checkpoint.filesystem": {"_StorageInfo"},
    "torch.distributed.checkpoint.metadata": {
        "BytesStorageMetadata",
        "ChunkStorageMetadata",
        "Metadata",
        "MetadataIndex",
        "StorageMeta",
        "TensorProperties",
        "TensorStorageMetadata",
    },
}
"""Dataclasses of sharded checkpoints: a call returns a new object, which may receive attributes."""


class Inert:
    """Stands in for an object whose class is not loaded."""

    def __init__(self, *args: object, **kwargs: object) -> None:
        pass

    def __call__(self, *args: object, **kwargs: object) -> Inert:
        """Return the placeholder, as what a function of an unknown module would return."""
        return self

    def append(self, item: object) -> None:
        """Ignore an item of a subclass of list."""

    def __setitem__(self, key: object, value: object) -> None:
        pass


class InertUnpickler(pickle._Unpickler):
    """Python's own unpickler in Python: the one in C gives the state of an object to whatever is on its stack."""

    dispatch: ClassVar[dict[int, Callable[[Any], None]]] = dict(pickle._Unpickler.dispatch)
    stack: list[Any]

    def find_class(self, module: str, name: str) -> Any:
        """Return what a name stands for: a stand-in, an allowed class or function, or the placeholder."""
        if (module, name) in _STAND_INS:
            return _STAND_INS[module, name]
        if name in _PLAIN.get(module, ()) or name in _WITH_STATE.get(module, ()) or _is_of_torch(module, name):
            return super().find_class(module, name)
        return Inert

    def load_build(self) -> None:
        """Give an object its state, if the pickle has made it and its class is one of those that have state.

        Raises:
            pickle.UnpicklingError: If it is any other object, such as a class or a function.
        """
        state = self.stack.pop()
        made = self.stack[-1]
        kind = type(made)
        if kind is Inert:
            return
        if kind is collections.OrderedDict and isinstance(state, dict):  # a state_dict has _metadata
            vars(made).update(state)
        elif kind.__name__ not in _WITH_STATE.get(kind.__module__, ()):
            raise pickle.UnpicklingError(f"it gives state to an object of the class {kind.__name__}, which has none")
        elif hasattr(kind, "__setstate__"):
            made.__setstate__(state)
        elif isinstance(state, dict):
            vars(made).update(state)
        else:
            raise pickle.UnpicklingError(f"the state of an object of the class {kind.__name__} is not a dict")

    dispatch[pickle.BUILD[0]] = load_build


class InertPickle:
    """The part of the ``pickle_module`` interface that ``torch.load`` uses."""

    Unpickler = InertUnpickler
    __name__ = "inert pickle"

    @staticmethod
    def load(file: IO[bytes], **kwargs: Any) -> object:
        """Unpickle one object."""
        return InertUnpickler(file, **kwargs).load()


def _is_of_torch(module: str, name: str) -> bool:
    """Tell whether a name is a dtype or a class of storages."""
    if "." in name or module not in ("torch", "torch.storage"):
        return False
    return name.endswith("Storage") or isinstance(getattr(torch, name, None), torch.dtype)


def _tensor_of_a_subclass(make: Callable[..., object], kind: object, args: tuple[object, ...], state: object) -> Tensor:
    """Return the values of a tensor of a subclass; torch's own function changes attributes of whatever is made."""
    made = make(*args)
    if not isinstance(made, Tensor):
        raise pickle.UnpicklingError(f"a tensor is made as an object of the class {type(made).__name__}")
    return made


def _parameter(data: Tensor, requires_grad: bool, hooks: object, state: object) -> nn.Parameter:
    return nn.Parameter(data, requires_grad)


_STAND_INS: dict[tuple[str, str], Any] = {
    ("torch._tensor", "_rebuild_from_type_v2"): _tensor_of_a_subclass,
    ("torch._utils", "_rebuild_parameter_with_state"): _parameter,
    ("pathlib", "WindowsPath"): pathlib.PureWindowsPath,  # the other cannot be made on another system
}
