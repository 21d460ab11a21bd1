"""e3nn: equivariant networks on points, with the library's code generation and without TorchScript."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from tests.zoo.case import Case, Lit, spread
from tests.zoo.isolated.library import Library

INNER, HARMONICS = "4x0e + 2x1o", "0e + 1o"


class Convolution(Lit):
    """Messages along edges: a tensor product of features and spherical harmonics, whose weights depend on length."""

    def __init__(self, is_scripted: bool) -> None:
        super().__init__()
        import e3nn
        from e3nn import nn, o3

        e3nn.set_optimization_defaults(jit_script_fx=is_scripted)
        self.harmonics = o3.SphericalHarmonics(o3.Irreps(HARMONICS), normalize=True, normalization="component")
        self.product = o3.FullyConnectedTensorProduct(INNER, HARMONICS, INNER, shared_weights=False)
        self.radial = nn.FullyConnectedNet([1, 8, self.product.weight_numel], torch.relu)
        self.embed, self.head = o3.Linear("3x0e", INNER), o3.Linear(INNER, "1x0e + 1x1o")

    def forward(self, x, positions, edge_index):
        source, target = edge_index
        vectors = positions[source] - positions[target]
        weights = self.radial(vectors.norm(dim=1, keepdim=True))
        messages = self.product(self.embed(x)[source], self.harmonics(vectors), weights)
        summed = messages.new_zeros(len(x), messages.shape[1]).index_add(0, target, messages)
        return self.head(summed)

    def step(self, batch: Any) -> Tensor:
        return self(*batch).square().mean()


def _batch(size: int, variant: int) -> Any:
    edges = torch.randint(0, size, (2, (6, 9, 11)[variant]))
    return torch.randn(size, 3), torch.randn(size, 3), edges


def _case(name: str, is_scripted: bool, **options: Any) -> Case:
    return Case(f"e3nn/{name}", lambda: Convolution(is_scripted), _batch, spread, True, smallest=2, **options)


SCRIPTED = (
    "TorchScript submodules, as e3nn makes by default, are traced at their sizes; jit_script_fx=False avoids them"
)

LIBRARY = Library(
    "e3nn", cases=(_case("convolution", is_scripted=False), _case("scripted", is_scripted=True, limit=SCRIPTED))
)
