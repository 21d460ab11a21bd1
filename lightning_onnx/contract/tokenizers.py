"""The tokenizer of a run: its name and limits."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from lightning_onnx.contract.data_sets import attribute_of, data_sets
from lightning_onnx.manifest.contract import Tokenizer
from lightning_onnx.onnxfile.privacy import without_paths


def find_tokenizer(loaders: object, owners: Sequence[object]) -> Tokenizer | None:
    """Return the tokenizer of a data set, its ``collate_fn``, a data module or a module, or of a processor there.

    Args:
        loaders: As in ``Trainer.validate``.
        owners: Other objects that may have one.
    """
    sets = list(data_sets(loaders))
    collates = [attribute_of(place, "collate_fn") for place in sets]
    for place in (*sets, *(part for collate in collates for part in _around(collate)), *owners):
        for owner in (place, attribute_of(place, "processor")):
            found = attribute_of(owner, "tokenizer")
            if callable(found) or callable(attribute_of(found, "encode_batch")):  # those of `tokenizers` have this
                return _described(found)
    return None


def _around(collate: object) -> Iterator[object]:
    """Yield a ``collate_fn``, the object whose method it is, and the arguments that it was given before."""
    yield from (collate, attribute_of(collate, "__self__"), attribute_of(collate, "keywords"))


def _described(tokenizer: Any) -> Tokenizer:
    name, size = attribute_of(tokenizer, "name_or_path"), attribute_of(tokenizer, "vocab_size")
    limit = attribute_of(tokenizer, "model_max_length")
    if limit is None:
        limit = attribute_of(attribute_of(tokenizer, "truncation"), "max_length")
    count = attribute_of(tokenizer, "get_vocab_size")
    if size is None and callable(count):
        size = count()
    return Tokenizer(
        without_paths(name) if isinstance(name, str) and name else None,
        type(tokenizer).__name__,
        limit if isinstance(limit, int) and limit < 10**9 else None,  # transformers: a huge one means none
        size if isinstance(size, int) else None,
    )
