"""The tables in the documents that are made from the code, and the page that is made from measured figures.

``python -m tests.support.documents`` rewrites them; a test fails where they are out of date.
"""

from __future__ import annotations

import re

from nano_banana_mcp.settings import Settings, variable_of
from nano_banana_sandbox.faults import table
from nano_banana_tools.prompts.catalog import PROMPTS
from nano_banana_tools.registry import tools
from tests.support.paths import ROOT
from tests.support.supply import licences_table


def settings_table() -> str:
    """Every setting, in the order of ``--help``."""
    rows = ["| variable | default | what it is |", "|---|---|---|"]
    for name, field in Settings.model_fields.items():
        default = "" if field.default is None else f"`{field.default}`"
        rows.append(f"| `{variable_of(name)}` | {default} | {field.description} |")
    return "\n".join(rows)


def tools_table() -> str:
    """Every tool with its arguments, the needed ones first."""
    rows = ["| tool | arguments | |", "|---|---|---|"]
    for tool in tools():
        required = tool.parameters.get("required", [])
        names = [f"**`{name}`**" if name in required else f"`{name}`" for name in tool.parameters["properties"]]
        cost = "spends credits" if tool.annotations and tool.annotations.open_world_hint else "free"
        if (tool.meta or {}).get("ui", {}).get("visibility") == ["app"]:
            cost += "; for the view, hidden from the model"
        rows.append(f"| `{tool.name}` | {' '.join(names)} | {cost} |")
    return "\n".join(rows)


def prompts_table() -> str:
    """Every prompt with its arguments, the needed ones first."""
    rows = ["| prompt | arguments | |", "|---|---|---|"]
    for job in PROMPTS.values():
        ordered = sorted(job.arguments, key=lambda argument: not argument.required)
        names = [f"**`{each.name}`**" if each.required else f"`{each.name}`" for each in ordered]
        rows.append(f"| `{job.name}` | {' '.join(names)} | {job.description} |")
    return "\n".join(rows)


TABLES = {
    "settings": settings_table,
    "tools": tools_table,
    "prompts": prompts_table,
    "directives": table,
    "licences": licences_table,
}
DOCUMENTS = [
    ROOT / "README.md",
    *(ROOT / "docs" / f"{name}.md" for name in ("dependencies", "tools", "settings", "sandbox")),
]


def renewed(text: str) -> str:
    """``text`` with every marked table made anew."""

    def make(match: re.Match[str]) -> str:
        return f"{match[1]}\n{TABLES[match[2]]().strip()}\n{match[3]}"

    return re.sub(r"(<!-- table: (\w+) -->)\n.*?(<!-- end -->)", make, text, flags=re.DOTALL)


if __name__ == "__main__":
    for document in DOCUMENTS:
        document.write_text(renewed(document.read_text(encoding="utf-8")), encoding="utf-8")
    from tests.lab.benchmarks import page

    page.write()
