"""The verdict on an artifact: in a word, and in the sentence that a reader needs first."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from lightning_onnx.manifest.figures import ComparisonFigures
from lightning_onnx.manifest.manifest import Manifest
from lightning_onnx.manifest.results import CheckRecord

Verdict = Literal["passed", "failed", "not checked"]
_WORST_FIRST = ("failed", "not checked", "attention", "passed")


def verdict(manifest: Manifest) -> Verdict:
    """Return how the checks of all methods ended as a whole."""
    if manifest.methods:
        return min(map(verdict, manifest.by_method.values()), key=_WORST_FIRST.index)
    statuses = {check.status for check in manifest.checks}
    return "failed" if "failed" in statuses else "passed" if "passed" in statuses else "not checked"


def sentence(manifest: Manifest) -> str:
    """Return whether the file can be used, and what to know first.

    Of several methods, the worst comes first, and those of which the same is to be said share a sentence.

    Args:
        manifest: The manifest.
    """
    if manifest.methods:
        methods: dict[str, list[str]] = {}
        for method, record in sorted(manifest.by_method.items(), key=lambda item: _WORST_FIRST.index(worst(item[1]))):
            methods.setdefault(sentence(record), []).append(method)
        return " ".join(f"{_list(names)}: {told}" for told, names in methods.items())
    return "; ".join([_checks(manifest), *_skipped(manifest), *_variants(manifest), *_remarks(manifest)]) + "."


def worst(manifest: Manifest) -> Verdict | Literal["attention"]:
    """Return the worst that is in the artifact.

    Besides the verdict, variants that failed count, untrained weights, and checks that warned or did not run.
    """
    if manifest.methods:
        return min(map(worst, manifest.by_method.values()), key=_WORST_FIRST.index)
    if _failed_variants(manifest):
        return "failed"
    own = verdict(manifest)
    doubtful = _is_untrained(manifest) or _warned(manifest) or bool(_skipped(manifest))
    return "attention" if own == "passed" and doubtful else own


def _checks(manifest: Manifest) -> str:
    failed = [check.name for check in manifest.checks if check.status == "failed"]
    passed = [check for check in manifest.checks if check.status == "passed"]
    if failed:
        return f"Do not deploy: {_list(failed)} failed ({len(failed)} of {_counted(len(manifest.checks), 'check')})"
    if not passed:
        return "Not checked: nothing is known of how the file compares with the module"
    parity = next((check for check in passed if check.name == "parity"), None)
    ran = f"{len(passed)} of {_counted(len(manifest.checks), 'check')} passed"
    if parity is None:
        return f"Not compared with the module: {ran}"
    untrained = "Not trained: the file has the weights from before training; "
    return f"{untrained if _is_untrained(manifest) else 'Safe to deploy: '}{ran}{_cases(parity)}"


def _cases(parity: CheckRecord) -> str:
    outcomes = list(ComparisonFigures.find(parity.figures).outcomes.values())
    right = outcomes.count("passed")
    runtime = str(parity.figures.get("runtime", "the runtime"))
    if not outcomes:
        return ""
    unclear = outcomes.count("undecidable")
    rest = f" ({unclear} undecidable)" if unclear else ""
    return f"; {runtime} answers like the module in {right} of {_counted(len(outcomes), 'case')}{rest}"


def _skipped(manifest: Manifest) -> list[str]:
    skipped = [check.name for check in manifest.checks if check.status == "skipped"]
    return [f"{_list(skipped)} did not run"] if skipped and verdict(manifest) == "passed" else []


def _variants(manifest: Manifest) -> list[str]:
    failed = _failed_variants(manifest)
    return [f"{'variant' if len(failed) == 1 else 'variants'} {_list(failed)} failed"] if failed else []


def _remarks(manifest: Manifest) -> list[str]:
    warned = ["parity warns about values beyond those observed"] if _warned(manifest) else []
    notes = len(manifest.notes)
    return [*warned, f"read the {'note' if notes == 1 else f'{notes} notes'} in the report"] if notes else warned


def _failed_variants(manifest: Manifest) -> list[str]:
    return [variant.name for variant in manifest.variants if variant.status == "failed"]


def _is_untrained(manifest: Manifest) -> bool:
    return manifest.source.weights == "untrained"


def _warned(manifest: Manifest) -> bool:
    return any("warning" in ComparisonFigures.find(c.figures).outcomes.values() for c in manifest.checks)


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}" + ("" if number == 1 else "s")


def _list(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
