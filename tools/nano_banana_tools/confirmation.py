"""A person confirms a paid call, asked by elicitation before anything is written or sent.

Clients of 2025 are asked during the call. From 2026-07-28 on, the question is the answer of the call
(``input_required``), and the client repeats the call with the person's answer and a sealed state, perhaps at another
replica. The state binds the answer to the principal and the arguments, and it has the ``request_id`` under which the
call is submitted, so that a repeated answer leads to the same images. It also has the id of the generation: a failed
one gives up its ``request_id``, but its approval is used up.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from mcp.server.context import CallNext, HandlerResult, ServerMiddleware, ServerRequestContext
from mcp.shared.exceptions import MCPError
from mcp.types import ElicitRequest, ElicitRequestFormParams, ElicitResult, InputRequiredResult
from pydantic import ValidationError

from nano_banana_mcp.common.text import clean
from nano_banana_mcp.defapi.schemas import SubmitRequest
from nano_banana_mcp.generations.models import new_generation_id
from nano_banana_mcp.generations.quotas import Callers, Usage, in_credits
from nano_banana_mcp.service.submission import request_hash
from nano_banana_tools.context import ToolContext, principal
from nano_banana_tools.revisions import FIRST_WITH_INPUT_REQUIRED, FIRST_WITH_STRUCTURED_CONTENT

ANSWER_SECONDS = 3_600.0
"""Time within which a call is repeated with the person's answer. People leave their desks."""

USER_INTERACTION = "anthropic/requiresUserInteraction"
"""Metadata of a tool: Claude's hosts ask a person before every call."""

MAX_PROMPT_CHARACTERS = 2_000
MAX_REFERENCE_CHARACTERS = 120
"""Characters of the question."""

_QUESTION = "confirmation"
_INVALID_STATE = {"reason": "invalid_request_state"}

NO_FORM = (
    "A person must confirm this call before it spends credits (NANO_BANANA_CONFIRM), and this client cannot ask: it "
    "does not support form elicitation. Not sent, not charged. Use a client that supports it. The operator can set "
    'NANO_BANANA_CONFIRM to never or a higher number, or set "confirm" for one user in the tokens file.'
)


class NotConfirmed(Exception):
    """No person approved the call. The text is for models and users. Nothing was recorded or sent."""


@dataclass(frozen=True, slots=True)
class Approval:
    """What may be submitted.

    Attributes:
        count: Number of images.
        request_id: The caller's, or the one of the question.
        generation_id: For a single image: the approval is used up once there is a generation with this id.
    """

    count: int
    request_id: str | None
    generation_id: str | None = None


async def confirm(
    ctx: ToolContext, request: SubmitRequest, count: int, request_id: str | None, caller: str
) -> Approval | InputRequiredResult:
    """Return how many images may be submitted, or the question that the client must ask first.

    A call that is recorded already was approved then, and is never asked again.

    Args:
        count: Number of images that the call asks for.
        caller: The principal.

    Raises:
        NotConfirmed: a person declined, or cannot be asked.
        RequestIdTaken: ``request_id`` was used for another request.
        LedgerError: the ledger cannot be read.
    """
    service = ctx.request_context.lifespan_context
    threshold = service.callers.quotas.limits_of(caller).confirm_above
    if threshold is None and ctx.request_state is None:
        return Approval(count, request_id)
    arguments_hash = request_hash(request, count)
    state = json.loads(ctx.request_state or "{}")
    is_answer = state.get("request_hash") == arguments_hash  # the default model may have changed since
    request_id = request_id or (state["request_id"] if is_answer else None)
    if recorded := await service.recorded_count(arguments_hash, caller, request_id):
        return Approval(recorded, request_id)
    answer = (ctx.input_responses or {}).get(_QUESTION)
    if is_answer and isinstance(answer, ElicitResult):
        return Approval(_approved_count(answer, count), request_id, state.get("generation_id"))
    price = None if threshold is None else await service.usual_price(request.model)
    if threshold is None or (price is not None and price * count <= threshold):
        return Approval(count, request_id)
    if not can_ask(ctx.request_context):
        raise NotConfirmed(NO_FORM)
    question = _question(request, count, price, await service.usage(caller))
    if ctx.request_context.protocol_version >= FIRST_WITH_INPUT_REQUIRED:
        state = {
            "request_hash": arguments_hash,
            "request_id": request_id or str(uuid.uuid4()),
            "generation_id": new_generation_id(),
        }
        return InputRequiredResult(
            input_requests={_QUESTION: ElicitRequest(params=question)}, request_state=json.dumps(state)
        )
    try:
        answer = await ctx.session.elicit_form(question.message, question.requested_schema, ctx.request_id)
    except (MCPError, ValidationError) as error:
        raise NotConfirmed("The client failed to ask a person: not sent, not charged.") from error
    return Approval(_approved_count(answer, count), request_id)


def can_ask(ctx: ServerRequestContext[Any, Any]) -> bool:
    """Whether the client of this request can show a form to a person."""
    capabilities = ctx.session.client_capabilities
    elicitation = None if capabilities is None else capabilities.elicitation
    # Before there were modes, an empty object meant forms.
    has_form = elicitation is not None and (elicitation.form is not None or elicitation.url is None)
    return has_form and ctx.protocol_version >= FIRST_WITH_STRUCTURED_CONTENT


def _approved_count(answer: ElicitResult, count: int) -> int:
    """Return the number of images that the person approved; all where they chose none.

    Raises:
        NotConfirmed: they declined, or the number is unusable.
    """
    if answer.action != "accept":
        did = "declined" if answer.action == "decline" else "closed the question without an answer"
        raise NotConfirmed(f"The person {did}: not sent, not charged. Do not repeat the call unless they ask for it.")
    chosen = (answer.content or {}).get("count")
    if chosen is None or chosen == "":
        return count
    try:
        number = Decimal(str(chosen))
    except ArithmeticError:
        number = Decimal(0)
    if number not in range(1, count + 1):
        raise NotConfirmed(
            f"The person approved a number of images that is not 1 to {count}: not sent, not charged. "
            "Repeat the call to ask again."
        )
    return int(number)


def _question(request: SubmitRequest, count: int, price: Decimal | None, usage: Usage) -> ElicitRequestFormParams:
    images = "1 image" if count == 1 else f"{count} images"
    cost = "a price that is not known yet" if price is None else f"about {in_credits(price * count)}"
    usual = "not known yet" if price is None else f"{in_credits(price)} for an image of this model"
    reserved = f", and {in_credits(usage.reserved)} reserved for unfinished images" if usage.reserved else ""
    options = [option for option in (request.aspect_ratio, request.image_size) if option]
    references = [
        "an attached image" if reference.startswith("data:") else clean(reference, MAX_REFERENCE_CHARACTERS)
        for reference in request.images or ()
    ]
    lines = (
        f"Make {images} for {cost}?",
        f"Prompt: {clean(request.prompt, MAX_PROMPT_CHARACTERS)}",
        f"Model: {clean(request.model)}",
        f"Format: {' '.join(options) or 'the default of the model'}",
        f"Number of images: {count}",
        f"References: {', '.join(references) or 'none'}",
        f"Usual price: {usual}",
        f"Spent today (UTC), as of this question: {in_credits(usage.spent)}{reserved}",
    )
    number = {
        "type": "integer",
        "title": "Number of images",
        "description": f"1 to {count}. Leave it empty for {count}." if count > 1 else "1",
        "minimum": 1,
        "maximum": count,
    }
    return ElicitRequestFormParams(
        message="\n".join(lines), requested_schema={"type": "object", "properties": {"count": number}}
    )


class ConfirmationNotices(ServerMiddleware[Any]):
    """Marks the paid tool for clients that cannot be asked, and explains a state that is not valid any more.

    Args:
        callers: Returns the callers, while serving.
        tool: The name of the paid tool.
    """

    def __init__(self, callers: Callable[[], Callers], tool: str) -> None:
        self._callers = callers
        self._tool = tool

    async def __call__(self, ctx: ServerRequestContext[Any, Any], call_next: CallNext) -> HandlerResult:
        """Pass one message on."""
        try:
            answer = await call_next(ctx)
        except MCPError as error:
            if ctx.method != "tools/call" or error.error.data != _INVALID_STATE:
                raise
            raise MCPError(
                error.error.code,
                "This confirmation is not valid (any more): it is over an hour old, or belongs to other arguments, "
                "another user or another server. This call sent nothing. If a person approved it before, that call may "
                "have made the images: look with browse_images, then call again to get a new question.",
                error.error.data,
            ) from error
        if ctx.method != "tools/list" or answer is None or not self._callers().confirms():
            return answer
        assert isinstance(answer, Mapping), "the SDK passes lists on as they are sent"
        return self._marked(ctx, answer)

    def _marked(self, ctx: ServerRequestContext[Any, Any], answer: Mapping[str, Any]) -> dict[str, Any]:
        # The answer depends on the client and its user, so no cache may share it.
        marked = {**answer, **({"cacheScope": "private"} if "cacheScope" in answer else {})}
        is_asked = self._callers().quotas.limits_of(principal()).confirm_above is not None
        if can_ask(ctx) or not is_asked or ctx.protocol_version < FIRST_WITH_STRUCTURED_CONTENT:
            return marked
        marked["tools"] = [
            {**tool, "_meta": {**tool.get("_meta", {}), USER_INTERACTION: True}} if tool["name"] == self._tool else tool
            for tool in answer["tools"]
        ]
        return marked
