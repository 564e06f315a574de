"""People who answer the questions of a server."""

from __future__ import annotations

from typing import Any

from mcp.types import ElicitRequestFormParams, ElicitResult

ACCEPT = ElicitResult(action="accept", content={})
DECLINE = ElicitResult(action="decline")
CANCEL = ElicitResult(action="cancel")


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
