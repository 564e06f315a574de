"""The tables in the documents that are made from the code, and the page that is made from measured figures.

``python -m tests.support.documents`` rewrites them; a test fails where they are out of date.
"""

from __future__ import annotations

import re

from mcp.server.mcpserver.tools import Tool

from nano_banana_mcp.settings import Settings, variable_of
from nano_banana_sandbox.faults import table
from nano_banana_tools.arguments import ASPECT_RATIOS
from nano_banana_tools.completions import MODELS
from nano_banana_tools.prompts.catalog import PROMPTS
from nano_banana_tools.prompts.templates import SIZE_MODELS
from nano_banana_tools.registry import tools
from tests.support.paths import ROOT
from tests.support.supply import licences_table

PAID = {"generate_image"}
"""Tools that spend credits."""


def settings_table() -> str:
    """Every setting, in the order of ``--help``."""
    rows = ["| variable | default | what it is |", "|---|---|---|"]
    for name, field in Settings.model_fields.items():
        default = "" if field.default in (None, "") else f"`{field.default}`"
        rows.append(f"| `{variable_of(name)}` | {default} | {field.description} |")
    return "\n".join(rows)


def tools_table() -> str:
    """Every tool with what it does and its arguments, the required ones in bold."""
    rows = ["| tool | what it does | arguments | cost |", "|---|---|---|---|"]
    for tool in tools():
        required = tool.parameters.get("required", [])
        names = [f"**`{name}`**" if name in required else f"`{name}`" for name in tool.parameters["properties"]]
        cost = "spends credits" if tool.name in PAID else "free"
        if (tool.meta or {}).get("ui", {}).get("visibility") == ["app"]:
            cost += "; for the view, hidden from the model"
        rows.append(f"| `{tool.name}` | {_summary(tool)} | {' '.join(names)} | {cost} |")
    return "\n".join(rows)


KOREAN = {
    "generate_image": "그림을 요청합니다. 참조 이미지는 4장까지, `count`로 한 번에 4장까지",
    "get_task": "지금 상태를 알려 줍니다",
    "wait_for_image": "완성될 때까지(최대 240초) 진행 상황을 알리며 기다립니다",
    "view_image": "모델이 완성된 그림을 직접 봅니다",
    "browse_images": "최근에 만든 그림을 보여 줍니다",
    "get_account": "잔액, 쓴 크레딧과 한도, 모델별로 보통 드는 비용과 시간을 알려 줍니다",
    "add_reference": "사용자가 가진 이미지를 올리도록 요청합니다",
}
"""What the tools do, for the Korean README; a tool that is not here has its English sentence."""


def korean_tools_table() -> str:
    """Every tool that a model sees, in Korean."""
    rows = ["| 도구 | 하는 일 | 비용 |", "|---|---|---|"]
    for tool in tools():
        if (tool.meta or {}).get("ui", {}).get("visibility") == ["app"]:
            continue
        cost = "크레딧 사용" if tool.name in PAID else "무료"
        rows.append(f"| `{tool.name}` | {KOREAN.get(tool.name) or _summary(tool)} | {cost} |")
    return "\n".join(rows)


def _summary(tool: Tool) -> str:
    return tool.description.split(". ")[0].removesuffix(", free of charge").rstrip(".")


def models_table() -> str:
    """Every documented model with the formats and sizes that are known to work with it."""
    rows = ["| model | `aspect_ratio` | `image_size` |", "|---|---|---|"]
    for model in MODELS:
        ratios = " ".join(ASPECT_RATIOS) if model.startswith("google/nano-banana") else "not known to work"
        sizes = "1k 2k 4k" if model in SIZE_MODELS else "not known to work"
        name = f"`{model}`" + (" (default)" if model == Settings.model_fields["model"].default else "")
        rows.append(f"| {name} | {ratios} | {sizes} |")
    return "\n".join(rows)


def prompts_table() -> str:
    """Every prompt with its arguments, the needed ones first."""
    rows = ["| prompt | arguments | |", "|---|---|---|"]
    for job in PROMPTS.values():
        ordered = sorted(job.arguments, key=lambda argument: not argument.required)
        names = [f"**`{item.name}`**" if item.required else f"`{item.name}`" for item in ordered]
        rows.append(f"| `{job.name}` | {' '.join(names)} | {job.description} |")
    return "\n".join(rows)


TABLES = {
    "settings": settings_table,
    "models": models_table,
    "tools": tools_table,
    "korean_tools": korean_tools_table,
    "prompts": prompts_table,
    "directives": table,
    "licences": licences_table,
}
DOCUMENTS = [
    ROOT / "README.md",
    ROOT / "README.ko.md",
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
