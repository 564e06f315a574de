"""People who answer the questions of a server."""

from __future__ import annotations

from typing import Any

from mcp.client import Client
from mcp.types import CallToolResult, ElicitRequestFormParams, ElicitResult, InputRequiredResult

ACCEPT = ElicitResult(action="accept", content={})
DECLINE = ElicitResult(action="decline")
CANCEL = ElicitResult(action="cancel")

CAT = {"prompt": "a cat", "count": 4}


def choose(count: Any) -> ElicitResult:
    """Accept, with this number of images."""
    return ElicitResult(action="accept", content={"count": count})


class Person:
    """The ``elicitation_callback`` of a client.

    Args:
        answer: To every question.

    Attributes:
        questions: What the person was asked.
    """

    def __init__(self, answer: ElicitResult = ACCEPT) -> None:
        self.answer = answer
        self.questions: list[ElicitRequestFormParams] = []

    async def __call__(self, context: Any, params: Any) -> ElicitResult:
        self.questions.append(params)
        return self.answer

    @property
    def question(self) -> str:
        """The text of the only question."""
        [question] = self.questions
        return question.message


async def asked(client: Client, **arguments: Any) -> str:
    """Call, and return the state of the question."""
    result = await client.session.call_tool("generate_image", {**CAT, **arguments}, allow_input_required=True)
    assert isinstance(result, InputRequiredResult)
    assert result.input_requests is not None
    assert list(result.input_requests) == ["confirmation"]
    assert result.request_state is not None
    return result.request_state


async def answered(client: Client, state: str, answer: Any = ACCEPT, **arguments: Any) -> CallToolResult:
    """Repeat the call with an answer."""
    result = await client.session.call_tool(
        "generate_image",
        {**CAT, **arguments},
        request_state=state,
        input_responses={"confirmation": answer},
        allow_input_required=True,
    )
    assert isinstance(result, CallToolResult)
    return result
