"""The clients, the limits of each, and the notes for its users."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

OF_THE_MODEL = frozenset(
    {"generate_image", "get_task", "wait_for_image", "view_image", "browse_images", "get_account", "add_reference"}
)
ALL = OF_THE_MODEL | {"read_picture", "upload_image"}
TRANSPORTS = ("stdio", "HTTP")

_NO_UPDATES = "it has no subscriptions"
_NO_COMPLETION = "it asks for no completions"
_OLDER_RESULTS = dict.fromkeys(("structured", "link"), "they are of revision 2025-06-18 and later")


@dataclass(frozen=True)
class Entry:
    """A client, in one way of connecting.

    Args:
        program: A module of ``tests/lab/interop/clients``, or a file there.
        environment: Of ``pins.toml``; "" is this project's, "npm" is npm's.
        mode: How it settles the protocol: the newest that both know, or the older handshake.
        tools: What it lists.
        without: What it cannot show → why.
        notes: Notes for its users.
        generation: Of the TypeScript SDK.
        adds: Arguments that it adds to those of every call.
        transports: Those that it has, of :data:`TRANSPORTS`.
    """

    name: str
    program: str
    environment: str = ""
    mode: str = "auto"
    tools: frozenset[str] = ALL
    without: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    generation: int = 0
    adds: Mapping[str, Any] = field(default_factory=dict)
    transports: tuple[str, ...] = TRANSPORTS


_OF_N8N = {
    "sessionId": "8c1f2f0e6f5d4b0c9a53c5b7d4f5a9e1",
    "action": "sendMessage",
    "chatInput": "Draw a lighthouse at dawn",
    "toolCallId": "call_Vq3kq1f0R9GZk2m7",
    "tool": "MCP Client",
}

_INSPECTOR = {
    "progress": "its command line prints none",
    "completion": "its command line has no method for it",
    "updates": "each command is a connection of its own",
}

CLIENTS = (
    Entry(
        "MCP Inspector CLI",
        "inspector",
        "npm",
        "legacy",
        without=_INSPECTOR,
        notes=(
            "Every command starts a server of its own over stdio; the task is found again by its ledger.",
            "`tools/list --strict`, its check of how portable the schemas are, finds nothing.",
        ),
    ),
    Entry("MCP Inspector CLI", "inspector", "npm", "modern", without=_INSPECTOR),
    Entry(
        "TypeScript SDK 1",
        "typescript_sdk.mjs",
        "npm",
        "legacy",
        generation=1,
        notes=(
            "It gives up a call after 60 s, whatever progress is reported, unless told otherwise: a `wait_seconds` or "
            "`timeout_seconds` of 45 fits in.",
        ),
    ),
    Entry("TypeScript SDK 2", "typescript_sdk.mjs", "npm", "auto", generation=2),
    Entry("TypeScript SDK 2", "typescript_sdk.mjs", "npm", "legacy", generation=2),
    Entry("Python SDK 2", "python_sdk"),
    Entry("Python SDK 2", "python_sdk", mode="legacy"),
    Entry("Python SDK 1", "python_sdk_1", "langchain", "legacy"),
    Entry("Python SDK 1.9", "python_sdk_1", "python-sdk-1-9", "legacy", without=_OLDER_RESULTS),
    Entry(
        "Python SDK 1.6",
        "python_sdk_1",
        "python-sdk-1-6",
        "legacy",
        without={**_OLDER_RESULTS, "progress": "its call takes no callback"},
        notes=("It has no streamable HTTP: stdio only.",),
        transports=("stdio",),
    ),
    Entry("FastMCP", "fastmcp_client", without={"updates": _NO_UPDATES}),
    Entry("FastMCP", "fastmcp_client", mode="legacy", without={"updates": _NO_UPDATES}),
    Entry(
        "n8n's arguments",
        "typescript_sdk.mjs",
        "npm",
        "legacy",
        notes=(
            "Not n8n itself: the TypeScript SDK, as in n8n's MCP Client Tool, with the arguments that n8n adds to "
            "every call (`sessionId`, `action`, `chatInput`, `toolCallId`, `tool`).",
        ),
        generation=1,
        adds=_OF_N8N,
    ),
    Entry("n8n's arguments", "typescript_sdk.mjs", "npm", "auto", generation=2, adds=_OF_N8N),
    Entry(
        "PydanticAI",
        "pydantic_ai_agent",
        tools=OF_THE_MODEL,
        without={"completion": _NO_COMPLETION, "updates": _NO_UPDATES},
        notes=(
            "A real agent with a scripted model. The model is shown the structured answer as long as there is no "
            "picture, then the text and the links; `read_picture`, which is the view's, is hidden from it.",
            "An error counts as one of the model's retries (`max_retries`, 1 by default); `tool_error_behavior` "
            "changes that.",
        ),
    ),
    Entry(
        "LangChain",
        "langchain_agent",
        "langchain",
        "legacy",
        without={"completion": _NO_COMPLETION, "updates": _NO_UPDATES},
        notes=(
            "A real agent (`create_agent`) with a scripted model. The model is shown the text; the structured answer "
            "is the message's artifact, for the program.",
            "A link to a picture becomes an image block with its URL, which the model's provider then fetches. A "
            "picture without a URL has a `nanobanana://` link there, which no provider can.",
        ),
    ),
    Entry(
        "OpenAI Agents SDK",
        "openai_agent",
        "openai-agents",
        without={
            "progress": "its call takes no callback",
            "completion": _NO_COMPLETION,
            "updates": _NO_UPDATES,
        },
        notes=(
            "A real agent with a scripted model and `convert_schemas_to_strict`: every schema with arguments can be "
            "made strict, and an argument that a model must then give as an empty text or list counts as left out.",
            "It gives up a call after 5 s unless told otherwise: set `client_session_timeout_seconds` above the "
            "longest wait.",
            "With `max_retry_attempts` it repeats calls that got no answer, paid ones too: leave it at 0, or have the "
            "model pass a `request_id`.",
        ),
    ),
    Entry(
        "Google Gen AI SDK",
        "google_genai",
        "google-genai",
        without={
            "progress": "its call takes no callback",
            "read": "it uses tools only",
            "resources": "it uses tools only",
            "prompts": "it uses tools only",
            "completion": _NO_COMPLETION,
            "updates": _NO_UPDATES,
        },
        notes=(
            "Its own loop of automatic function calling, against a scripted Gemini on a local port. The schemas go "
            "through its conversion to Gemini's function declarations, with every argument kept.",
        ),
    ),
)

TASK_CLIENTS = (
    Entry("MCP Inspector CLI", "inspector_task", "npm", "modern"),
    Entry("@modelcontextprotocol/ext-tasks", "ext_tasks.mjs", "npm"),
    Entry("fastmcp-tasks", "fastmcp_tasks_client", "fastmcp-tasks"),
)
"""Clients that declare MCP Tasks, besides Claude Code."""
