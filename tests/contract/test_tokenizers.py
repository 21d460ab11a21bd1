from __future__ import annotations

import functools
from types import SimpleNamespace
from typing import Any

import pytest
from torch.utils.data import DataLoader

from lightning_onnx.contract.tokenizers import find_tokenizer


def test_name_and_limits() -> None:
    class Tokenizer:
        name_or_path, model_max_length, vocab_size = "bert-base-uncased", 512, 30522

        def __call__(self, text: str) -> None: ...

    found = find_tokenizer(None, [SimpleNamespace(tokenizer=Tokenizer())])
    assert found is not None
    assert (found.name, found.max_length, found.vocabulary) == ("bert-base-uncased", 512, 30522)
    Tokenizer.model_max_length = int(1e30)
    found = find_tokenizer(DataLoader([1], collate_fn=SimpleNamespace(tokenizer=Tokenizer())), [])  # type: ignore[arg-type]
    assert found is not None
    assert found.max_length is None
    assert find_tokenizer(None, [SimpleNamespace()]) is None


def test_where_tokenizers_are() -> None:
    class Words:
        name_or_path, model_max_length, vocab_size = "words", 32, 10

        def __call__(self, text: str) -> None: ...

    class Data:
        tokenizer = Words()

        def collate(self, samples: list[Any]) -> None: ...

    def collate(samples: list[Any], tokenizer: object) -> None: ...

    partial = functools.partial(collate, tokenizer=Words())
    loaders = [DataLoader([1], collate_fn=found) for found in (Data().collate, partial)]  # type: ignore[arg-type]
    for found in (
        *(find_tokenizer(loader, []) for loader in loaders),
        find_tokenizer(None, [SimpleNamespace(processor=Data())]),
    ):
        assert found is not None
        assert found.name == "words"


def test_a_tokenizer_of_the_package_tokenizers() -> None:
    tokenizers = pytest.importorskip("tokenizers")
    words = tokenizers.Tokenizer(tokenizers.models.WordLevel({"a": 0, "b": 1}, unk_token="a"))
    words.enable_truncation(16)
    found = find_tokenizer(None, [SimpleNamespace(tokenizer=words)])
    assert found is not None
    assert (found.name, found.class_name, found.max_length, found.vocabulary) == (None, "Tokenizer", 16, 2)
    words.no_truncation()
    found = find_tokenizer(None, [SimpleNamespace(tokenizer=words)])
    assert found is not None
    assert found.max_length is None
    assert find_tokenizer(None, [SimpleNamespace(tokenizer="bert-base-uncased")]) is None


def test_properties_that_raise_are_passed_over() -> None:
    class Raises:
        @property
        def tokenizer(self) -> object:
            raise RuntimeError("not set up")

    assert find_tokenizer(None, [Raises()]) is None
