"""Distributions are replaced by the parameters that they were given, and rebuilt."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch.distributions import (
    AffineTransform,
    Bernoulli,
    Beta,
    Binomial,
    Categorical,
    Chi2,
    ComposeTransform,
    Distribution,
    HalfNormal,
    Independent,
    LogNormal,
    LowRankMultivariateNormal,
    MixtureSameFamily,
    Multinomial,
    MultivariateNormal,
    NegativeBinomial,
    Normal,
    OneHotCategorical,
    RelaxedBernoulli,
    TanhTransform,
    TransformedDistribution,
    Uniform,
    Wishart,
)

from lightning_onnx.module.calls.distributions import take_apart
from lightning_onnx.module.calls.nested import flatten

LOW, HALF, ONE = torch.zeros(2, 3), torch.full((2, 3), 0.5), torch.ones(2, 3)
SQUARE = torch.eye(3).expand(2, 3, 3)

MADE: dict[str, tuple[Callable[[], Distribution], list[str]]] = {
    "normal": (lambda: Normal(LOW, ONE), ["loc", "scale"]),
    "probs": (lambda: Categorical(probs=HALF), ["probs"]),
    "logits": (lambda: Categorical(logits=LOW), ["logits"]),
    "bernoulli": (lambda: Bernoulli(logits=LOW), ["logits"]),
    "one hot": (lambda: OneHotCategorical(logits=LOW), ["logits"]),
    "multinomial": (lambda: Multinomial(4, logits=LOW), ["logits"]),
    "binomial": (lambda: Binomial(3, probs=HALF), ["total_count", "probs"]),
    "negative binomial": (lambda: NegativeBinomial(ONE, logits=LOW), ["total_count", "logits"]),
    "relaxed": (lambda: RelaxedBernoulli(torch.tensor(0.5), logits=LOW), ["logits", "temperature"]),
    "beta": (lambda: Beta(ONE, ONE + 1), ["concentration1", "concentration0"]),
    "chi2": (lambda: Chi2(ONE), ["df"]),
    "uniform": (lambda: Uniform(LOW, ONE), ["low", "high"]),
    "log normal": (lambda: LogNormal(LOW, ONE), ["loc", "scale"]),
    "half normal": (lambda: HalfNormal(ONE), ["scale"]),
    "covariance": (lambda: MultivariateNormal(LOW, covariance_matrix=SQUARE * 2), ["loc", "covariance_matrix"]),
    "triangle": (lambda: MultivariateNormal(LOW, scale_tril=SQUARE * 2), ["loc", "scale_tril"]),
    "low rank": (lambda: LowRankMultivariateNormal(LOW, ONE[..., None], ONE), ["loc", "cov_factor", "cov_diag"]),
    "wishart": (lambda: Wishart(torch.full((2,), 4.0), scale_tril=SQUARE), ["scale_tril", "df"]),
    "independent": (lambda: Independent(Normal(LOW, ONE), 1), ["base_dist.loc", "base_dist.scale"]),
    "mixture": (
        lambda: MixtureSameFamily(Categorical(logits=LOW), Normal(LOW, ONE)),
        ["mixture_distribution.logits", "component_distribution.loc", "component_distribution.scale"],
    ),
    "transformed": (
        lambda: TransformedDistribution(Normal(LOW, ONE), [AffineTransform(LOW, ONE * 2), TanhTransform()]),
        ["base_dist.loc", "base_dist.scale", "transforms.0.loc", "transforms.0.scale"],
    ),
    "composed": (
        lambda: TransformedDistribution(Normal(LOW, ONE), ComposeTransform([AffineTransform(LOW, ONE * 2)])),
        ["base_dist.loc", "base_dist.scale", "transforms.0.parts.0.loc", "transforms.0.parts.0.scale"],
    ),
}


@pytest.mark.parametrize("name", MADE)
def test_parts_are_the_given_parameters(name: str) -> None:
    make, expected = MADE[name]
    assert [".".join(path) for path in flatten(make(), opaque=True)[0].paths] == expected


@pytest.mark.parametrize("name", MADE)
def test_a_distribution_is_put_together_from_other_parameters(name: str) -> None:
    distribution = MADE[name][0]()
    structure, tensors = flatten(distribution, opaque=True)
    again = structure.fill([t.clone() for t in tensors])
    assert type(again) is type(distribution)
    assert again is not distribution
    value = distribution.sample()
    torch.testing.assert_close(again.log_prob(value), distribution.log_prob(value), equal_nan=True)


def test_other_parameters_make_another_distribution() -> None:
    structure, tensors = flatten(Independent(Normal(LOW, ONE), 1), opaque=True)
    again = structure.fill([tensors[0] + 3, tensors[1]])
    torch.testing.assert_close(again.mean, LOW + 3)


def test_logits_are_preferred_to_probs() -> None:
    distribution = Categorical(probs=HALF)
    assert distribution.logits.shape == (2, 3)  # computed now, and kept
    apart = take_apart(distribution)
    assert apart is not None
    assert list(apart.parts) == ["logits"]


class Unnamed(Distribution):
    """Says nothing about its parameters."""


def test_a_distribution_of_unknown_parameters_has_no_parts() -> None:
    assert take_apart(Unnamed(validate_args=False)) is None
