"""Other models made from the first.

``base`` holds the protocol, ``judging`` and ``budget`` say which are kept, ``files`` writes them.
"""

from lightning_onnx.variants.base import Making, Variant
from lightning_onnx.variants.float16 import Float16
from lightning_onnx.variants.int8 import Int8
from lightning_onnx.variants.simplified import Simplified

__all__ = ["Float16", "Int8", "Making", "Simplified", "Variant"]
