"""What the manifest says of the meaning of inputs and outputs (``contract`` in the JSON, from format 2 on)."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Literal

from lightning_onnx.errors import ArtifactError
from lightning_onnx.manifest.fields import Fields, Plain, plain

Kind = Literal["scores", "probabilities", "indices"]
Activation = Literal["softmax", "sigmoid"]


@dataclasses.dataclass(frozen=True)
class Step:
    """One transform of the validation data set.

    Attributes:
        transform: The transform as it prints itself.
        sentence: What it does, as an instruction: ``"divide by 255"``.
        in_graph: Whether the graph does it.
    """

    transform: str
    sentence: str
    in_graph: bool = False


@dataclasses.dataclass(frozen=True)
class InputContract:
    """What an input was in the run.

    Attributes:
        dtype: Its dtype in the calls that were seen.
        range: Its smallest and largest value, rounded outwards so that neither is a value of the data, but exact for
            integers below 1000; None if unknown.
    """

    dtype: str
    range: tuple[float, float] | None = None


@dataclasses.dataclass(frozen=True)
class OutputContract:
    """What an output means.

    Attributes:
        labels: The class names, in the output's order.
        kind: Whether the output holds scores (logits), probabilities, or indices of classes.
        axis: The dim of the classes; None for indices.
        activation: What makes probabilities of scores; None if nothing does.
    """

    labels: tuple[str, ...]
    kind: Kind = "scores"
    axis: int | None = None
    activation: Activation | None = None


@dataclasses.dataclass(frozen=True)
class Tokenizer:
    """The tokenizer of the validation data.

    Attributes:
        name: Its name or path in a hub; None if it is not known.
        class_name: Name of its class.
        max_length: The largest number of tokens; None if there is no limit.
        vocabulary: Number of its tokens; None if unknown.
    """

    name: str | None
    class_name: str
    max_length: int | None = None
    vocabulary: int | None = None


@dataclasses.dataclass(frozen=True)
class Contract:
    """What the inputs and outputs of a model mean.

    Attributes:
        inputs: What is known of inputs, by name.
        outputs: What is known of outputs, by name.
        steps: What happens to a sample before it reaches the module, in order.
        settings: Thresholds, temperatures and the like among the module's attributes, by name.
        tokenizer: The tokenizer of text.
        labels_from: Where the class names come from.
    """

    inputs: Mapping[str, InputContract] = dataclasses.field(default_factory=dict)
    outputs: Mapping[str, OutputContract] = dataclasses.field(default_factory=dict)
    steps: tuple[Step, ...] = ()
    settings: Mapping[str, float] = dataclasses.field(default_factory=dict)
    tokenizer: Tokenizer | None = None
    labels_from: str | None = None

    @property
    def labels(self) -> tuple[str, ...]:
        """The class names; empty if no output has any."""
        return next((output.labels for output in self.outputs.values()), ())

    @property
    def caller_steps(self) -> tuple[str, ...]:
        """What the caller has to do before the model runs, in order."""
        tokenized = () if self.tokenizer is None else (_tokenize(self.tokenizer),)
        return (*tokenized, *(step.sentence for step in self.steps if not step.in_graph))

    @property
    def instruction(self) -> str | None:
        """What the caller has to do, in one sentence; None if nothing is known."""
        return f"Before the model: {', '.join(self.caller_steps)}." if self.caller_steps else None

    @property
    def warning(self) -> str | None:
        """What a user should know if the graph does not prepare its inputs; None if nothing is left to the caller."""
        if not self.caller_steps:
            return None
        return f"the graph takes prepared inputs; the caller has to {', '.join(self.caller_steps)}"

    @classmethod
    def read(cls, fields: Fields) -> Contract:
        """Read the record from its JSON."""
        return cls(
            {name: _read_input(own) for name, own in fields.objects_by_name("inputs").items()},
            {name: _read_output(own) for name, own in fields.objects_by_name("outputs").items()},
            tuple(map(_read_step, fields.objects("steps"))),
            fields.by_name("settings", float),
            None if (own := fields.optional_object("tokenizer")) is None else _read_tokenizer(own),
            fields.optional("labels_from", str),
        )

    def to_dict(self) -> Plain:
        """Return the JSON of the record."""
        return {
            "inputs": {name: plain(own) for name, own in self.inputs.items()},
            "outputs": {name: plain(own) for name, own in self.outputs.items()},
            "steps": [plain(step) for step in self.steps],
            "settings": dict(self.settings),
            "tokenizer": None if self.tokenizer is None else plain(self.tokenizer),
            "labels_from": self.labels_from,
            "instruction": self.instruction,
        }


def _tokenize(tokenizer: Tokenizer) -> str:
    named = tokenizer.name or tokenizer.class_name
    limit = "" if tokenizer.max_length is None else f" to at most {tokenizer.max_length} tokens"
    return f"tokenize with {named}{limit}"


def _read_step(fields: Fields) -> Step:
    return Step(
        fields.required("transform", str), fields.required("sentence", str), fields.optional("in_graph", bool) or False
    )


def _read_input(fields: Fields) -> InputContract:
    limits = fields.items("range", float)
    if len(limits) not in (0, 2):
        raise ArtifactError(
            f"the manifest is invalid: {fields.place}.range has {len(limits)} numbers, expected 2. Export again."
        )
    return InputContract(fields.required("dtype", str), (limits[0], limits[1]) if limits else None)


def _read_output(fields: Fields) -> OutputContract:
    kinds: tuple[Kind, ...] = ("scores", "probabilities", "indices")
    activations: tuple[Activation, ...] = ("softmax", "sigmoid")
    return OutputContract(
        fields.items("labels", str),
        fields.one_of("kind", kinds),
        fields.optional("axis", int),
        None if fields.optional("activation", str) is None else fields.one_of("activation", activations),
    )


def _read_tokenizer(fields: Fields) -> Tokenizer:
    return Tokenizer(
        fields.optional("name", str),
        fields.required("class_name", str),
        fields.optional("max_length", int),
        fields.optional("vocabulary", int),
    )
