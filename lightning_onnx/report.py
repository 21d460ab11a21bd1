"""What there is to say about an artifact, made from its manifest alone: text, Markdown, HTML."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any


@dataclasses.dataclass(frozen=True)
class Report:
    """A readable account of an export.

    Attributes:
        manifest: The artifact's manifest.

    Example:
        >>> print(artifact.report.text())  # doctest: +SKIP
    """

    manifest: dict[str, Any]

    def sections(self) -> list[tuple[str, list[str], list[list[str]]]]:
        """Return titled tables: title, column names, rows."""
        m = self.manifest
        model, source = m["model"], m["source"]
        about = [
            ["model", f"{model['file']}, {_size(model['bytes'])}, sha256 {model['sha256'][:12]}…"],
            ["opset", f"{model['opset']} (IR version {model['ir_version']})"],
            ["engine", f"{model['engine']}: {model['engine_reason']}"],
            ["weights", _source(source)],
            ["trained", f"precision {source['precision']} on {source['device']}; exported and checked on CPU"],
        ]
        sections = [
            ("ONNX export", ["", ""], about),
            ("Inputs and outputs", ["", "name", "dtype", "shape"], _tensors(m)),
            ("Checks", ["check", "status", "runtime", "reason"], [_check(c) for c in m["checks"]]),
        ]
        for check in m["checks"]:
            rows = _outputs(check)
            if rows:
                columns = [
                    "output",
                    "max abs diff",
                    "max rel diff",
                    "outside tolerance",
                    "needed atol",
                    "top-1 agreement",
                ]
                sections.append((f"{check['name']} over {len(check['figures']['cases'])} cases", columns, rows))
        notes = [[note] for note in (*m["relations"], *m["notes"])]
        if notes:
            sections.append(("Notes", [""], notes))
        versions = [[name, version] for name, version in m["versions"].items()]
        return [*sections, ("Versions", ["", ""], versions)]

    def text(self) -> str:
        """Return the report as plain text."""
        parts = []
        for title, columns, rows in self.sections():
            table = [columns, *rows] if any(columns) else rows
            widths = [max(len(row[i]) for row in table) for i in range(len(columns))]
            lines = ["  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip() for row in table]
            parts.append("\n".join([title, *(f"  {line}" for line in lines)]))
        return "\n\n".join(parts)

    def markdown(self) -> str:
        """Return the report as Markdown, for TensorBoard's text page and for pull requests."""
        parts = []
        for title, columns, rows in self.sections():
            lines = [_row(columns), _row(["---"] * len(columns)), *(_row(row) for row in rows)]
            parts.append(f"### {title}\n\n" + "\n".join(lines))
        return "\n\n".join(parts) + "\n"

    def html(self) -> str:
        """Return the report as one page of HTML that needs nothing else."""
        import jinja2

        environment = jinja2.Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
        return environment.from_string(_PAGE).render(sections=self.sections(), passed=self._verdict())

    def _verdict(self) -> str:
        statuses = [check["status"] for check in self.manifest["checks"]]
        return "failed" if "failed" in statuses else "passed" if "passed" in statuses else "not checked"


def _score(score: float | None) -> str:
    return "unknown" if score is None else f"{score:.6g}"


def _size(number: int) -> str:
    """Write a number of bytes for people."""
    return f"{number / 2**20:.2f} MiB" if number >= 2**20 else f"{number / 2**10:.1f} KiB"


def _source(source: dict[str, Any]) -> str:
    if source["epoch"] is None:
        return f"{source['weights']}"
    if source["weights"] != "best":
        return f"{source['weights']}, epoch {source['epoch']}, step {source['global_step']}"
    return (
        f"best by {source['monitor']} = {_score(source['score'])}, epoch {source['epoch']}, "
        f"step {source['global_step']} ({source['checkpoint']})"
    )


def _tensors(manifest: dict[str, Any]) -> list[list[str]]:
    return [
        [kind, v["name"], v["dtype"], "[" + ", ".join(map(str, v["shape"])) + "]"]
        for kind in ("input", "output")
        for v in manifest[f"{kind}s"]
    ]


def _check(check: dict[str, Any]) -> list[str]:
    figures = check["figures"]
    runtime = f"{figures['runtime']} {figures['runtime_version']}" if "runtime" in figures else ""
    return [check["name"], check["status"], runtime, check["reason"] or ""]


def _outputs(check: dict[str, Any]) -> list[list[str]]:
    return [
        [
            name,
            f"{o['max_abs_diff']:.2e}",
            f"{o['max_rel_diff']:.2e}",
            f"{o['outside']:.2%}",
            f"{o['needed_atol']:.2e}",
            "" if o["top1_agreement"] is None else f"{o['top1_agreement']:.2%}",
        ]
        for name, o in check["figures"].get("outputs", {}).items()
    ]


def _row(cells: Sequence[str]) -> str:
    escaped = (cell.replace("\\", "\\\\").replace("|", "\\|").replace("\n", " ").replace("<", "&lt;") for cell in cells)
    return "| " + " | ".join(escaped) + " |"


_PAGE = """\
<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>ONNX export</title>
<style>
  body { font: 15px/1.5 system-ui, sans-serif; max-width: 62rem; margin: 2rem auto; padding: 0 1rem; color: #1c2430; }
  h1 span { font-size: 60%; padding: .2em .7em; border-radius: 1em;
    color: #fff; background: #6b7686; vertical-align: middle; }
  h1 .passed { background: #1a7f4b; } h1 .failed { background: #c0342b; }
  h2 { font-size: 1.1rem; margin: 2rem 0 .5rem; }
  .wide { overflow-x: auto; }
  table { border-collapse: collapse; width: 100%; }
  th, td { text-align: left; padding: .35rem .8rem .35rem 0; border-bottom: 1px solid #dde2e8; vertical-align: top; }
  th { font-weight: 600; color: #56606e; white-space: nowrap; }
</style>
{% for title, columns, rows in sections %}
{% if loop.first %}<h1>{{ title }} <span class="{{ passed }}">{{ passed }}</span></h1>
{% else %}<h2>{{ title }}</h2>{% endif %}

<div class="wide"><table>
  {% if columns | select | list %}<tr>{% for column in columns %}<th>{{ column }}</th>{% endfor %}</tr>{% endif %}

  {% for row in rows %}
  <tr>{% for cell in row %}<td>{{ cell }}</td>{% endfor %}</tr>
  {% endfor %}
</table></div>
{% endfor %}
</html>
"""
