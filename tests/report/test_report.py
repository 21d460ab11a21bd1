"""The report: its contents, that it contains no running code, and that equal figures give equal bytes."""

from __future__ import annotations

import base64
import copy
import hashlib
import html
import json
import math
import re
import subprocess
import sys
import time
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import lightning_onnx
from lightning_onnx import ONNXArtifact
from lightning_onnx.checks.base import CheckContext, CheckResult
from lightning_onnx.checks.comparison import RATIO_EDGES
from lightning_onnx.checks.parity import Parity
from lightning_onnx.manifest.answers import Answers
from lightning_onnx.manifest.figures import OutputFigures
from lightning_onnx.manifest.manifest import Manifest
from lightning_onnx.onnxfile.graph_summary import ModuleSummary
from lightning_onnx.printable import one_line
from lightning_onnx.report import answers_plot, ratio_plot, wording
from lightning_onnx.report.module_tree import tree
from lightning_onnx.report.report import Report

EVIL = "<script>alert(1)</script>"


class Words(nn.Module):
    """Two inputs of different dtypes, two outputs, modules two levels deep."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(50, 8)
        self.body = nn.Sequential(nn.Linear(8, 8), nn.GELU(), nn.LayerNorm(8))

    def forward(self, tokens: Tensor, keep: Tensor) -> dict[str, Tensor]:
        hidden = self.body(self.embed(tokens)) * keep[..., None]
        return {"hidden": hidden, "pooled": hidden.mean(1)}


class Latency:
    """A check that is unknown to this package."""

    name = "latency"

    def __call__(self, context: CheckContext) -> CheckResult:
        figures = {"threads": 2, "sizes": {"1": {"p50_ms": 3.25}, "8": {"p50_ms": 9.5}}, "rows": [{"runtime": "ort"}]}
        return CheckResult("latency", "passed", None, figures)


class Absent:
    name = "absent"

    def __call__(self, context: CheckContext) -> CheckResult:
        return CheckResult("absent", "skipped", "it is not installed: pip install absent")


@pytest.fixture(scope="module")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> ONNXArtifact:
    torch.manual_seed(0)
    return lightning_onnx.export(
        Words(),
        (torch.randint(0, 50, (2, 5)), torch.ones(2, 5, dtype=torch.bool)),
        directory=tmp_path_factory.mktemp("report") / "words",
        checks=(Parity(), Latency(), Absent()),
        metadata={"licence": "Apache-2.0"},
    )


@pytest.fixture
def manifest(artifact: ONNXArtifact) -> dict[str, Any]:
    return copy.deepcopy(artifact.manifest)


def page(manifest: dict[str, Any]) -> str:
    return Report(manifest).html()


class Elements(HTMLParser):
    """Collects elements, and the text outside of styles and scripts; complains where they do not close in order."""

    VOID = ("meta", "path", "use", "br", "wbr")

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: Any) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] not in ("style", "script"):
            self.text += data


def test_contents(artifact: ONNXArtifact) -> None:
    found = Elements((artifact.directory / "report.html").read_text())
    for part in (
        "words", "Words.forward", "dynamo", "based on torch.export, the first choice", "float32 on cpu",
        "tokens", "int64", "[batch, 5]", "keep", "bool", "hidden", "pooled",
        "✓ passed", "– skipped", "pip install absent", "p50 ms", "9.5", "ort", "Gather", "LayerNormalization",
        "embed", "body", "onnxruntime.InferenceSession", "licence", "Apache-2.0", "tolerance",
        *artifact.manifest["versions"].values(),
    ):  # fmt: skip
        assert part in found.text, part
    assert found.text.count("<") == 0


def test_nothing_is_fetched_and_nothing_runs_but_the_copy_button(artifact: ONNXArtifact) -> None:
    text = (artifact.directory / "report.html").read_text()
    found = Elements(text)
    assert not {"link", "img", "iframe", "object"} & {tag for tag, _ in found.tags}
    scripts = re.findall(r"<script>(.*?)</script>", text, re.DOTALL)
    assert len(scripts) == text.count("<script") == 1
    addresses = [
        value
        for _, attributes in found.tags
        for key, value in attributes.items()
        if key in ("src", "href", "xlink:href", "action") or key.startswith("on")
    ]
    assert [a for a in addresses if not (a or "").startswith("#")] == []
    policies = [a["content"] for t, a in found.tags if t == "meta" and "http-equiv" in a]
    digest = base64.b64encode(hashlib.sha256(scripts[0].encode()).digest()).decode()
    assert policies == [f"default-src 'none'; style-src 'unsafe-inline'; img-src data:; script-src 'sha256-{digest}'"]


def paths(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """All places of text in a manifest."""
    if isinstance(value, dict):
        return [p for key, v in value.items() for p in paths(v, (*path, key))]
    if isinstance(value, list):
        return [p for i, v in enumerate(value) for p in paths(v, (*path, i))]
    return [path] if isinstance(value, str) else []


def with_text(value: Any, path: tuple[Any, ...], text: str) -> Any:
    if not path:
        return text
    made = copy.copy(value)
    made[path[0]] = with_text(value[path[0]], path[1:], text)
    return made


@pytest.mark.slow
def test_every_text_is_escaped(manifest: dict[str, Any]) -> None:
    manifest["source"] |= {"monitor": "m", "checkpoint": "c.ckpt", "epoch": 1, "weights": "best", "score": 0.5}
    manifest["notes"], manifest["relations"] = ["a note"], ["a relation"]
    for path in paths(manifest):
        if path[-1] in ("status", "dtype", "method") or path[0] == "files":
            continue  # other values of these are refused
        report = Report(with_text(manifest, path, EVIL))
        assert "<script>alert" not in report.html(), path
        assert "<script" not in report.markdown(), path


def test_every_name_is_escaped(manifest: dict[str, Any]) -> None:
    """Names that are keys: of metadata, outputs, cases, operators, modules, figures, versions."""
    text = json.dumps(manifest)
    for name in ("licence", "hidden", "traced (batch=2)", "Gather", "embed", "body.0", "p50_ms", "sizes", "onnxscript"):
        assert f'"{name}":' in text, name
        report = Report(json.loads(text.replace(f'"{name}"', json.dumps(EVIL + name))))
        assert "<script>alert" not in report.html(), name
        assert "<script" not in report.markdown(), name


@pytest.mark.parametrize("name", [EVIL, "$x_1^2$", "日本", '" onload="alert(1)', "a\nb", "@0@", r"\frac", "x" * 200])
def test_names_of_outputs(name: str, manifest: dict[str, Any], recwarn: pytest.WarningsRecorder) -> None:
    made = Report(json.loads(json.dumps(manifest).replace('"hidden"', json.dumps(name))))
    text = made.html()
    assert list(recwarn) == []
    found = Elements(text)
    shown = one_line(name)
    assert (shown if len(shown) < 40 else shown[:22] + "…") in found.text
    assert not any(key.startswith("on") for _, attributes in found.tags for key in attributes)
    assert "<script" not in made.markdown()


def test_the_snippet_runs(artifact: ONNXArtifact) -> None:
    found = Elements((artifact.directory / "report.html").read_text())
    code = found.text[found.text.index("import numpy") : found.text.index("The model")]
    done = subprocess.run([sys.executable, "-c", code], cwd=artifact.directory, capture_output=True, text=True)
    assert done.stdout.splitlines() == ["hidden float32 (2, 5, 8)", "pooled float32 (2, 8)"], done.stderr


@pytest.mark.slow
def test_equal_figures_make_equal_bytes(artifact: ONNXArtifact) -> None:
    written = (artifact.directory / "report.html").read_bytes()
    code = (
        "import sys, pathlib\nfrom lightning_onnx import ONNXArtifact\n"
        f"sys.stdout.buffer.write(ONNXArtifact.load({str(artifact.directory)!r}).report.html().encode())"
    )
    other = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout
    # What is measured once the report is written is not in it.
    assert other == written


def test_the_plot_is_to_scale(manifest: dict[str, Any]) -> None:
    """Marks lie where their ratio is on the axis; beyond the tolerance they are crosses, and NaN is one of them."""
    output = manifest["checks"][0]["figures"]["outputs"]["hidden"]
    output["worst_ratio"] = {"small": 1e-6, "at the tolerance": 1.0, "beyond": 1e2, "not a number": math.nan}
    drawn = ratio_plot.draw({"hidden": OutputFigures(worst_ratio=output["worst_ratio"])}, ())
    assert drawn is not None
    elements = Elements(drawn).tags
    ticks = {x: n for n, x in enumerate(a["x1"] for t, a in elements if t == "line" and a["stroke"] == "var(--soft)")}
    marks = [a["x1"] for t, a in elements if t == "line" and a["stroke"] == "var(--ink)"]
    assert [list(ticks).index(x) - 1 for x in marks] == [0, 3]  # the first such line is the axis itself
    crosses = [float(a["d"][1:].split()[0]) + 4 for t, a in elements if t == "path"]
    assert str(crosses[0]) == list(ticks)[5]
    assert crosses[0] < crosses[1] < 382


def test_a_strip_is_darker_where_more_elements_are() -> None:
    figures = OutputFigures(worst_ratio={"traced": 0.5}, ratios=(90, 0, 10, 0))
    drawn = ratio_plot.draw({"y": figures}, (1e-4, 1e-2, 1.0))
    strips = [a for t, a in Elements(drawn or "").tags if t == "rect" and a["fill"] == "var(--accent)"]
    assert len(strips) == 2
    assert float(strips[0]["opacity"] or 0) > 3 * float(strips[1]["opacity"] or 0)
    # From 1e-7 to 1e-4 and from 1e-2 to 1: three decades and two.
    assert float(strips[0]["width"] or 0) / float(strips[1]["width"] or 0) == pytest.approx(1.5, rel=1e-3)


def test_figures_of_the_plot(artifact: ONNXArtifact) -> None:
    (parity, *_) = artifact.manifest["checks"]
    figures = parity["figures"]
    assert figures["ratio_edges"] == list(RATIO_EDGES)
    sizes, values = 2 + 3 + 1, 2 * sum("=" not in label for label in figures["cases"])
    for name, elements in {"hidden": (sizes + values) * 5 * 8, "pooled": (sizes + values) * 8}.items():
        output = figures["outputs"][name]
        assert sum(output["ratios"]) == elements
        assert list(output["worst_ratio"]) == figures["cases"]
        assert 0 < max(output["worst_ratio"].values()) < 1
    assert len(json.dumps(artifact.manifest)) < 20_000


def test_a_difference_beyond_the_tolerance_is_drawn_as_that() -> None:
    expected, actual = torch.tensor([1.0, 2.0, 4.0]).numpy(), torch.tensor([1.0, 2.0, 5.0]).numpy()
    found = Parity(rtol=0.0, atol=0.002).compare_output("y", expected, actual)
    assert found.worst_ratio == pytest.approx(125)
    assert found.ratios == (2, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0)


def test_a_large_output_is_counted_in_part() -> None:
    many = torch.randn(1000, 1000).numpy()
    found = Parity().compare_output("y", many, many + 1)
    assert 2**15 < sum(found.ratios) <= 2**16
    assert found.outside > 0.9


def test_what_is_not_known_of_the_training_is_left_out(manifest: dict[str, Any]) -> None:
    for precision, device, said in (
        ("16", None, "precision 16; exp"),
        (None, "cuda", "on cuda; exp"),
        (None, None, None),
    ):
        manifest["source"] |= {"precision": precision, "device": device}
        for text in (Report(manifest).text(), Report(manifest).html()):
            assert ("exported and checked on CPU" in text) == (said is not None)
            assert said is None or said in text
            assert "None on" not in text


def test_failed_is_visible_without_colour(manifest: dict[str, Any]) -> None:
    manifest["checks"][0] |= {"status": "failed", "reason": "50% of the elements"}
    text = Elements(page(manifest)).text
    assert text.count("✗ failed") == 2
    assert "50% of the elements" in text
    manifest["checks"] = [manifest["checks"][2]]
    assert "– not checked" in Elements(page(manifest)).text
    manifest["checks"] = []
    assert "None was asked for" in Elements(page(manifest)).text


def changed_checks(manifest: dict[str, Any], **statuses: str) -> Report:
    changed = copy.deepcopy(manifest)
    for check in changed["checks"]:
        check["status"] = statuses.get(check["name"], check["status"])
    return Report(changed)


def test_the_verdict_comes_first(manifest: dict[str, Any]) -> None:
    cases = len(manifest["checks"][0]["figures"]["cases"])
    good = (
        f"Safe to deploy: 2 of 3 checks passed; onnxruntime answers like the module in {cases} of {cases} cases; "
        "absent did not run."
    )
    assert 'class="verdict attention"' in page(manifest)
    assert Report(manifest).summary == good
    assert Elements(page(manifest)).text.index(good) < 400
    assert good in "\n".join(Report(manifest).markdown().splitlines()[:5])
    assert changed_checks(manifest, parity="failed").summary == "Do not deploy: parity failed (1 of 3 checks)."
    assert changed_checks(manifest, parity="failed", latency="failed").summary.startswith(
        "Do not deploy: parity and latency failed (2 of 3"
    )
    assert changed_checks(manifest, parity="skipped").summary == (
        "Not compared with the module: 1 of 3 checks passed; parity and absent did not run."
    )
    untrained = manifest | {"source": manifest["source"] | {"weights": "untrained"}}
    assert Report(untrained).summary.startswith("Not trained: the file has the weights from before training; 2 of 3")
    manifest["checks"] = []
    assert Report(manifest).summary.startswith("Not checked:")


def test_a_failed_variant_and_a_warning_are_in_the_verdict(manifest: dict[str, Any]) -> None:
    del manifest["checks"][2]  # which did not run
    assert 'class="verdict passed"' in page(manifest)
    failed = {"name": "int8", "class": "Int8", "file": None, "sha256": None, "bytes": 1, "opset": 20}
    failed |= {"status": "failed", "reason": "it differs", "options": {}, "checks": [], "figures": {}, "notes": []}
    with_variant = manifest | {"variants": [failed]}
    assert Report(with_variant).summary.endswith("; variant int8 failed.")
    assert 'class="verdict failed"' in page(with_variant)
    manifest["checks"][0]["figures"]["outcomes"]["mirrored sign"] = "warning"
    manifest["notes"] = ["one"]
    assert Report(manifest).summary.endswith("values beyond those observed; read the note in the report.")
    assert 'class="verdict attention"' in page(manifest)


def test_what_is_printed_is_short(artifact: ONNXArtifact) -> None:
    for value in (artifact, artifact.report):
        assert len(repr(value).splitlines()) <= 6
        assert len(repr(value)) < 600
        assert "Safe to deploy" in repr(value)
    assert "tokens: int64[batch, 5]" in repr(artifact)
    assert str(artifact.directory) in repr(artifact)
    broken = repr(ONNXArtifact(artifact.directory, {}))
    assert "cannot be used" in broken
    frame = Elements(artifact._repr_html_()).tags
    assert [tag for tag, _ in frame] == ["iframe"]
    assert "<title>" in (frame[0][1]["srcdoc"] or "")


def test_a_manifest_without_the_newer_parts(manifest: dict[str, Any]) -> None:
    for part in ("graph", "name", "metadata", "scalars"):
        del manifest[part]
    for part in ("module", "traced_shapes"):
        del manifest["source"][part]
    del manifest["checks"][0]["figures"]["ratio_edges"]
    assert "model.onnx" in page(manifest)


def test_markdown_is_short_and_plain(artifact: ONNXArtifact, manifest: dict[str, Any]) -> None:
    written = (artifact.directory / "report.md").read_text()
    assert written == artifact.report.markdown()
    assert len(written) < 3000
    tables = re.findall(r"(?:^\|.*\n)+", written, re.MULTILINE)
    for table in tables:
        assert len({len(re.findall(r"(?<!\\)\|", row)) for row in table.splitlines()}) == 1
    manifest["outputs"][0]["name"] = "a|b`c` @you [x](y) *z*"
    assert r"a\|b\`c\` &#64;you \[x\](y) \*z\*" in Report(manifest).markdown()
    outputs = manifest["checks"][0]["figures"]["outputs"]
    outputs.update({f"y{i}": outputs["hidden"] for i in range(100)})
    assert len(Report(manifest).markdown()) < 4000


def test_many_outputs_and_modules_stay_cheap(manifest: dict[str, Any]) -> None:
    outputs = manifest["checks"][0]["figures"]["outputs"]
    outputs.update({f"y{i}": outputs["hidden"] for i in range(200)})
    modules = manifest["graph"]["modules"]
    for layer in range(100):
        for part in range(10):
            modules[f"layers.{layer}.part.{part}"] = {"class": "Linear", "bytes": 10, "operators": {"Gemm": 1}}
    page(manifest)  # imports
    start = time.perf_counter()
    text = page(manifest)
    assert time.perf_counter() - start < 3  # 0.3 s on two idle cores
    assert "186 more outputs are not drawn" in text


def test_it_holds_nothing_private(artifact: ONNXArtifact) -> None:
    for name in ("report.html", "report.md"):
        text = (artifact.directory / name).read_text()
        assert str(artifact.directory.parent) not in text
        assert str(Path.home()) not in text


def test_a_plot_that_fails_is_left_out(manifest: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any) -> str:
        raise OSError("/home/someone/template cannot be read")

    monkeypatch.setattr("lightning_onnx.report.ratio_plot.draw", broken)
    text = Elements(page(manifest)).text
    assert "The plot could not be drawn (OSError)" in text
    assert "someone" not in text
    assert "traced (batch=2)" in text


def test_cases_of_the_same_name_keep_the_worst() -> None:
    from lightning_onnx.checks.comparison import Comparison
    from lightning_onnx.checks.outcomes import CaseOutcome, summarize
    from lightning_onnx.module.cases import Case

    case = Case("observed", (), kind="observed")
    outcomes = [CaseOutcome(case, (Comparison("y", worst_ratio=ratio),)) for ratio in (0.5, 0.1)]
    context: Any = SimpleNamespace(runtime=SimpleNamespace(name="onnxruntime", version=lambda: "1"))
    figures = summarize("parity", outcomes, (), context).figures
    assert figures["outputs"]["y"]["worst_ratio"] == {"observed": 0.5}


def test_cases_are_listed_with_their_outcome_and_those_that_did_not_pass_come_first(manifest: dict[str, Any]) -> None:
    changed = copy.deepcopy(manifest)
    figures = next(check["figures"] for check in changed["checks"] if check["figures"].get("outcomes"))
    assert list(figures["outcomes"]) == figures["cases"]
    figures["outcomes"] |= {"rolled rows": "undecidable", "mirrored sign": "warning", "other": "unheard of"}
    report = Report(changed)
    assert re.search(r"of \d+ cases \(1 undecidable\);", report.summary)
    assert re.search(r"case +outcome\n +mirrored sign +warning\n +rolled rows +undecidable", report.text())
    assert "| mirrored sign | warning |" in report.markdown()
    assert re.search(r"mirrored sign\s*warning", Elements(page(changed)).text)


def test_the_picture_shows_the_modules_and_the_shapes_between_them(artifact: ONNXArtifact) -> None:
    text = Elements(artifact.report.html()).text
    drawn = text[text.index("The model") : text.index("Parts in the order")]
    for part in ("tokens, keep", "embed", "Embedding", "body.0", "GELU", "batch × 5 × 8", "hidden, pooled"):
        assert part in drawn, part


def test_a_picture_needs_blocks_that_make_sense(manifest: dict[str, Any]) -> None:
    own = {"label": EVIL, "class": None, "nodes": 1, "shape": ["batch", 4], "sources": [-1]}
    for blocks in ([], [own], [own] * 5000):
        manifest["graph"]["blocks"] = blocks
        assert "The model" not in page(manifest)
    manifest["graph"]["blocks"] = [own | {"sources": [99, -7]}, own | {"sources": [0, 1, 2**70]}]
    assert "The model" in page(manifest)
    assert "<script>alert" not in page(manifest)


@pytest.mark.parametrize("modules", [1, 12, 13, 40])
def test_sizes_by_module_add_up(modules: int) -> None:
    whole = tree(
        {f"layers.{i}": ModuleSummary("Linear", 100 + i) for i in range(modules)} | {"": ModuleSummary(None, 7)}
    )
    assert sum(own for _, own in whole.sizes()) == whole.bytes
    assert len(whole.sizes()) == min(modules, 12) + 1
    assert whole.sizes()[-1][0] == "everything else"


def test_the_title_names_the_run_if_it_is_known(manifest: dict[str, Any]) -> None:
    assert "<h1>Words · words " in page(manifest)
    manifest["name"] = "epoch=4-step=95"
    manifest["source"]["run"] = "digits/version_3"
    assert "<h1>Words · digits/<wbr>version_3 " in page(manifest)


def test_markdown_begins_with_a_title_and_what_to_know(artifact: ONNXArtifact) -> None:
    lines = artifact.report.markdown().splitlines()
    assert lines[0] == "# Words · words"
    assert lines[2].startswith("**Safe to deploy")
    assert lines[4].startswith("- model.onnx: ")
    assert [line for line in lines[5:11] if line.startswith("- ")] == lines[5:11]
    assert not re.search(r"^\|( *\|)+$", artifact.report.markdown(), re.MULTILINE)


def test_variants_have_bars_of_size_and_of_metrics(manifest: dict[str, Any]) -> None:
    row = {"module": 0.9, "variant": 0.8, "drop": 0.1, "allowed": None, "status": "not judged"}
    check = {"name": "metrics", "status": "passed", "reason": None, "figures": {"metrics": {"val_acc": row}}}
    made = {"name": "int8", "class": "Int8", "file": None, "sha256": None, "bytes": 1, "opset": 20, "status": "passed"}
    made |= {"reason": None, "options": {}, "checks": [check], "figures": {"size_ratio": 0.25}, "notes": []}
    record = Manifest.from_dict(manifest | {"variants": [made]})
    bars = wording.variant_bars(record)
    assert [name for name, _, _ in bars["size"]] == ["model", "int8"]
    assert bars["size"][1][2] == bars["size"][0][2] / 4
    assert bars["val_acc"] == [("model", "0.9", 0.9), ("int8", "0.8", 0.8)]
    assert "<h4>val_acc</h4>" in page(manifest | {"variants": [made]})


def test_drops_that_are_shares_are_in_percent(manifest: dict[str, Any]) -> None:
    row = {"module": 0.9, "variant": 0.85, "drop": 0.05, "allowed": 0.01, "status": "failed", "relative": False}
    error = {"module": 2.0, "variant": 2.5, "drop": 0.25, "allowed": 0.01, "status": "failed", "relative": True}
    check = {"name": "metrics", "status": "failed", "reason": None, "figures": {"metrics": {"acc": row, "mae": error}}}
    made = {"name": "int8", "class": "Int8", "file": None, "sha256": None, "bytes": 1, "opset": 20, "status": "failed"}
    made |= {"reason": None, "options": {}, "checks": [check], "figures": {}, "notes": []}
    rows = wording.variant_metrics(Manifest.from_dict(manifest | {"variants": [made]}))
    assert [cells[4:6] for cells in rows] == [["0.05", "0.01"], ["25%", "1%"]]


def test_a_confusion_matrix_needs_a_name_for_each_class() -> None:
    module, file = Answers(((3, 1), (0, 4))), Answers(((2, 2), (0, 4)))
    drawn = answers_plot.matrix(module, file, ["cat", "dog"])
    assert drawn is not None
    assert [[cell.number for cell in cells] for _, cells in drawn.rows] == [["3 → 2", "1 → 2"], ["0", "4"]]
    assert [[cell.is_right for cell in cells] for _, cells in drawn.rows] == [[True, False], [False, True]]
    assert answers_plot.matrix(module, file, ["cat"]) is None
    assert answers_plot.matrix(module, Answers(), ["cat", "dog"]) is None


def test_residuals_are_drawn(manifest: dict[str, Any]) -> None:
    own = {"residuals": {"targets": [0.0, 2.0], "differences": [-1.0, 1.0], "counts": [[0, 3], [1, 0]]}}
    manifest["checks"][2]["figures"] = {"answers": {"module": own, "file": own}}
    assert "answer minus target, by target" in page(manifest)
    assert len(re.findall(r'<text x="43"[^>]*>0</text>', page(manifest))) == 1
    own["residuals"]["differences"] = [-1.2, 0.0]
    assert len(re.findall(r'<text x="43"[^>]*>0</text>', page(manifest))) == 1  # not also as the end of the axis
    own["residuals"]["counts"] = []
    assert "answer minus target, by target" in page(manifest)


def test_options_of_runtimes_are_code_to_copy(artifact: ONNXArtifact) -> None:
    page = artifact.report.html()
    for _, line in artifact.shape_ranges.lines():
        assert f"<pre><code>{html.escape(line, quote=False).replace(chr(39), '&#39;')}</code></pre>" in page


def test_long_names_break_after_their_words(manifest: dict[str, Any]) -> None:
    changed = copy.deepcopy(manifest)
    changed["inputs"][0]["name"] = "a_long_name"
    assert '<th scope="row">a_<wbr>long_<wbr>name</th>' in Report(changed).html()
