"""The contract of one artifact: found before the file is written, because its class names are embedded in the file."""

from __future__ import annotations

import dataclasses
import json
import logging
from collections.abc import Sequence

from torch import nn

from lightning_onnx.contract.find import Known, find_contract, with_kinds
from lightning_onnx.contract.given import Given
from lightning_onnx.contract.transforms import steps_of, why_unread
from lightning_onnx.errors import ConfigurationError, first_line
from lightning_onnx.manifest.contract import Contract, Step
from lightning_onnx.module.cases import Case
from lightning_onnx.module.fused import Around
from lightning_onnx.onnxfile.privacy import without_paths
from lightning_onnx.pipeline.loaded import LoadedModule
from lightning_onnx.pipeline.plan import Plan

log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class FoundContract:
    """What was found of a contract.

    Attributes:
        contract: The contract; None if it is left out, or could not be found.
        notes: Why it could not be found, and what the caller has to do.
    """

    contract: Contract | None = None
    notes: tuple[str, ...] = ()

    @property
    def metadata(self) -> dict[str, str]:
        """What the model file says of it: ``names`` is a dict as text, as Ultralytics writes it and viewers read it."""
        if self.contract is None:
            return {}
        names = {"names": str(dict(enumerate(self.contract.labels)))} if self.contract.labels else {}
        steps = self.contract.caller_steps
        return {**names, **({"lightning_onnx.caller_steps": json.dumps(list(steps))} if steps else {})}


def contract_of(plan: Plan, loaded: LoadedModule) -> FoundContract:
    """Find what the inputs and outputs of a graph mean, without running the module.

    Args:
        plan: The plan, with the options and the traced graph.
        loaded: The module, and the validation batches.
    """
    given = plan.config.given
    if given is None:
        return FoundContract()
    request = plan.graph.request
    samples = (plan.request.sample, *plan.request.samples)
    seen = {
        name: [sample.tensors[i] for sample in samples if len(sample.tensors) == len(request.input_names)]
        for i, name in enumerate(request.input_names)
    }
    around = plan.config.around
    takes_raw = around.takes_raw_sample or not plan.takes_batches
    try:
        known = Known(
            loaded.module,
            loaded.loaders.dataloaders,
            loaded.loaders.datamodule,
            seen,
            _in_graph(around),
            takes_raw=takes_raw,
        )
        contract = find_contract(given, known, plan.graph.signature)
    except ConfigurationError:
        raise
    except Exception as error:  # data sets and transforms are the user's; without a contract, the file is the same
        log.debug("the contract cannot be found", exc_info=True)
        told = f"the contract could not be found ({without_paths(first_line(error))})"
        if given == Given():
            return FoundContract(None, (told,))
        nothing = Known(nn.Module(), None, None, {}, _in_graph(around), takes_raw=takes_raw)
        return FoundContract(
            find_contract(given, nothing, plan.graph.signature), (f"{told}: it has only what was given",)
        )
    has_steps = any(not step.in_graph for step in contract.steps)
    unread = None if has_steps or takes_raw or given.steps is not None else why_unread(known.loaders)
    notes = [] if contract.warning is None else [contract.warning]
    if unread is not None:
        notes.append(
            f"the transforms of the validation data set cannot be read ({without_paths(first_line(unread))}), so the "
            "contract has no steps: give them with contract={'steps': [...]}"
        )
    return FoundContract(contract, tuple(notes))


def _in_graph(around: Around) -> tuple[Step, ...]:
    """Return what the graph does before the method."""
    if isinstance(around.preprocess, str):
        return (Step(around.preprocess, f"run {around.preprocess}", in_graph=True),)
    return steps_of(around.preprocess, in_graph=True)


def with_outputs(contract: Contract | None, plan: Plan, stored: Sequence[Case]) -> Contract | None:
    """Return the contract with what test data say of its outputs: whether they are probabilities already.

    Args:
        contract: The contract; None if there is none.
        plan: The plan, with the names of the outputs.
        stored: Test data, with the module's outputs; may be empty.
    """
    if contract is None or not stored or stored[0].expected is None:
        return contract
    values = dict(zip(plan.graph.request.output_names, stored[0].expected, strict=False))
    sigmoids = [name for name, operator in plan.graph.last_operators.items() if operator == "Sigmoid"]
    return with_kinds(contract, lambda: values, sigmoids)
