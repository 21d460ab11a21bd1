"""Whether running code is the user's."""

from __future__ import annotations

import sys

import lightning.pytorch
import torch

from lightning_onnx.module import user_code


def test_torch_python_lightning_and_this_package_are_not_the_users() -> None:
    for module in (torch, sys.modules["contextlib"], lightning.pytorch, user_code):
        assert module.__file__ is not None
        assert not user_code.is_users(module.__file__)
    assert user_code.is_users(__file__)


def test_code_of_a_notebook_is_the_users_and_generated_code_is_not() -> None:
    assert user_code.is_users("<ipython-input-3-0123456789ab>")
    assert user_code.is_users("/home/name/lib/python3/site-packages/einops/layers.py")
    assert not user_code.is_users("<string>")
    assert not user_code.is_users("<eval_with_key>.3")


def test_a_line_is_reported_without_its_directory() -> None:
    frame = user_code.user_frame(sys._getframe())
    assert frame is not None
    assert user_code.line_of(frame).startswith("test_user_code.py:")
    assert user_code.location("/home/name/net.py", 3) == "net.py:3"


def test_an_exception_has_the_innermost_line_of_the_user() -> None:
    def raises() -> None:
        torch.zeros(2) @ torch.zeros(3)

    try:
        torch.nn.Sequential().apply(lambda module: raises())
    except RuntimeError as error:
        line = raises.__code__.co_firstlineno + 1
        assert user_code.raised_at(error) == f"test_user_code.py:{line}"
    assert user_code.raised_at(ValueError("never raised")) is None
