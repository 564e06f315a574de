"""Prompts and completions, as a client asks for them."""

from __future__ import annotations

from typing import Any

from mcp.client import Client
from mcp.types import Completion, PromptReference, ResourceTemplateReference, TextContent

from tests.support.clients import facts

TASK = "nanobanana://tasks/{task_id}"
IMAGE = "nanobanana://tasks/{task_id}/images/{n}"
NEEDED: dict[str, dict[str, str]] = {
    "product_shot": {"product": "a blue enamel mug"},
    "edit_picture": {"images": "nanobanana://tasks/ta1/images/0", "change": "make it night"},
    "edit_marked_image": {"images": "nanobanana://tasks/ta1/images/0, nanobanana://uploads/ref-1"},
    "consistent_character": {"character": "a fox in a red coat", "scenes": "at sea / in a library"},
    "poster": {"text": "SUMMER JAZZ", "subject": "an open-air concert"},
    "restore_photo": {"images": "https://pictures.example/grandma.jpg"},
}


async def completed(client: Client, ref: str, name: str, value: str = "", **filled_in: str) -> Completion:
    reference: Any = (
        ResourceTemplateReference(type="ref/resource", uri=ref)
        if "://" in ref
        else PromptReference(type="ref/prompt", name=ref)
    )
    answer = await client.complete(reference, {"name": name, "value": value}, context_arguments=filled_in or None)
    return answer.completion


async def offered(client: Client, ref: str, name: str, value: str = "", **filled_in: str) -> list[str]:
    return (await completed(client, ref, name, value, **filled_in)).values


async def made(client: Client, prompt: str = "a cat", **more: Any) -> str:
    answer = await client.call_tool("generate_image", {"prompt": prompt, "wait_seconds": 240, **more})
    return str(facts(answer)["task_id"])


async def brief(client: Client, name: str, arguments: dict[str, str]) -> str:
    [message] = (await client.get_prompt(name, arguments)).messages
    assert message.role == "user"
    assert isinstance(message.content, TextContent)
    return message.content.text
