"""The SDK's acknowledgement of ``subscriptions/listen`` leaves out what an extension subscribes to; here it is added.

``SubscriptionFilter`` keeps unknown keys, such as ``taskIds`` (SEP-2663), and ``ListenHandler`` drops them. No upstream
issue is filed yet.
"""

from __future__ import annotations

from typing import Any

import anyio
from mcp.server.session import ServerSession
from mcp.types import RequestId, SubscriptionsAcknowledgedNotification


class AcknowledgingSession:
    """The session of a listen request, which adds ``accepted`` to the acknowledgement.

    Args:
        accepted: Subscriptions of extensions, by their key in the filter.

    Attributes:
        acknowledged: Set when the acknowledgement, the first message of a stream, has been sent.
    """

    def __init__(self, session: ServerSession, accepted: dict[str, Any]) -> None:
        self._session = session
        self._accepted = accepted
        self.acknowledged = anyio.Event()

    async def send_notification(self, notification: Any, related_request_id: RequestId | None = None) -> None:
        """See :class:`ServerSession`."""
        if isinstance(notification, SubscriptionsAcknowledgedNotification):
            params = notification.params
            params.notifications = params.notifications.model_copy(update=self._accepted)
        await self._session.send_notification(notification, related_request_id)
        self.acknowledged.set()
