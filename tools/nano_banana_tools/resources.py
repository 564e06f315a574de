"""Task and image resources: the list, and the content behind a URI."""

from __future__ import annotations

import json
import re
from typing import Any

from mcp.server.lowlevel.helper_types import ReadResourceContents
from mcp.types import Resource, ResourceTemplate

from nano_banana_mcp.common.urls import IMAGE_URI, UPLOAD_URI
from nano_banana_mcp.defapi.errors import TaskNotFound
from nano_banana_mcp.generations.batches import GenerationOrBatch
from nano_banana_mcp.generations.uploads import REQUEST_PREFIX
from nano_banana_mcp.ledger.listing import MAX_LISTED_GENERATIONS, MAX_LISTED_IMAGES, image_resources
from nano_banana_mcp.ledger.rows import to_row
from nano_banana_mcp.media.image_store import NoSuchImage
from nano_banana_mcp.service.generation_service import GenerationService
from nano_banana_mcp.service.uploads import UploadClosed, upload_reference
from nano_banana_tools.account import account_facts
from nano_banana_tools.results import as_json

TASKS_URI = "nanobanana://tasks"
ACCOUNT_URI = "nanobanana://account"
_JSON = "application/json"
_TASK = re.compile(r"nanobanana://tasks/([A-Za-z0-9_-]{1,128})")

TEMPLATES = [
    ResourceTemplate(
        uri_template="nanobanana://tasks/{task_id}",
        name="task",
        title="Task",
        description="State of one generation.",
        mime_type=_JSON,
    ),
    ResourceTemplate(
        uri_template="nanobanana://tasks/{task_id}/images/{n}",
        name="image",
        title="Picture",
        description="The bytes of the n-th picture of a generation, counted from 0.",
    ),
    ResourceTemplate(
        uri_template="nanobanana://uploads/{id}",
        name="upload",
        title="Upload",
        description="The bytes of an uploaded picture, or, with an upload_id, what has arrived.",
    ),
]


def task_uri(public_id: str) -> str:
    """The URI of one generation's state."""
    return f"{TASKS_URI}/{public_id}"


def is_mutable(uri: str) -> bool:
    """Whether the content of ``uri`` can change: a task's can, an image's cannot. An upload may be still to come."""
    matches = (pattern.fullmatch(uri) for pattern in (_TASK, UPLOAD_URI))
    return uri in (TASKS_URI, ACCOUNT_URI) or any(match is not None for match in matches)


async def listed(service: GenerationService, principal: str) -> list[Resource]:
    """The resources of all tasks and of the account, and the newest images under the URIs that results link to."""
    resources = [
        Resource(
            uri=TASKS_URI,
            name="tasks",
            title="Recent generations",
            description="Recent requests and their results, newest first.",
            mime_type=_JSON,
        ),
        Resource(
            uri=ACCOUNT_URI,
            name="account",
            title="Account",
            description="Credits left and spent, limits, and what each model usually costs and takes.",
            mime_type=_JSON,
        ),
    ]
    for generation in map(
        service.images.with_mime_types, await service.ledger.recent(MAX_LISTED_GENERATIONS, principal)
    ):
        images = image_resources(to_row(generation), urls_work=service.images.urls_can_work(generation))
        resources += [Resource.model_validate(image) for image in images]
    return resources[: 2 + MAX_LISTED_IMAGES]


async def read(service: GenerationService, uri: str, principal: str) -> ReadResourceContents:
    """The content of ``uri``, for this caller.

    Raises:
        NoSuchImage: there is no such resource, or it belongs to another caller.
        DefapiError, ImageError: the content is not available now.
    """
    if uri == TASKS_URI:
        recent = await service.ledger.recent(MAX_LISTED_GENERATIONS, principal)
        tasks = [as_json(service.images.with_mime_types(generation), service.now()) for generation in recent]
        return _as_json({"tasks": tasks})
    if uri == ACCOUNT_URI:
        return _as_json(account_facts(await service.account.read(principal)))
    if match := _TASK.fullmatch(uri):
        return _as_json(as_json(await _find(service, match[1], principal), service.now()))
    if match := IMAGE_URI.fullmatch(uri):
        encoded = await service.images.open(await _find(service, match[1], principal), int(match[2]))
    elif (match := UPLOAD_URI.fullmatch(uri)) and match[1].startswith(REQUEST_PREFIX):
        return _as_json(await _upload_state(service, match[1], principal))
    elif match:
        encoded = await service.uploads.open(match[1], principal)
    else:
        encoded = await service.images.by_url(uri, principal)
    return ReadResourceContents(content=encoded.data, mime_type=encoded.mime_type)


async def _upload_state(service: GenerationService, upload_id: str, principal: str) -> dict[str, Any]:
    try:
        request = await service.uploads.find(upload_id, principal)
    except UploadClosed:
        raise NoSuchImage from None
    return {
        "upload_id": upload_id,
        "finished": not service.uploads.is_open(request),
        "references": [upload_reference(upload) for upload in await service.uploads.arrived(request)],
    }


async def _find(service: GenerationService, task_id: str, principal: str) -> GenerationOrBatch:
    try:
        return service.with_mime_types(await service.get(task_id, principal))
    except TaskNotFound:
        raise NoSuchImage from None


def _as_json(value: Any) -> ReadResourceContents:
    return ReadResourceContents(content=json.dumps(value, ensure_ascii=False, indent=1), mime_type=_JSON)
