"""What a ledger promises, whichever database it is in."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Protocol

from nano_banana_mcp.generations.models import Generation
from nano_banana_mcp.generations.quotas import Check, Usage
from nano_banana_mcp.generations.uploads import Upload, UploadRequest
from nano_banana_mcp.images.image import EncodedImage
from nano_banana_mcp.ledger.errors import LedgerBusy, LedgerError

__all__ = ["Changed", "Ledger", "LedgerBusy", "LedgerError", "ModelMedians", "ModelUsage"]

Changed = Callable[[str | None], Awaitable[None]]
"""Called with the generation id that another process has changed; with None where that may be any."""


@dataclass(frozen=True, slots=True)
class ModelMedians:
    """What an image of a model usually costs and takes, over its newest successes.

    Attributes:
        credits: None where no success has a usable amount.
        seconds: From the request to the end; None where there is no success.
    """

    credits: Decimal | None
    seconds: float | None


@dataclass(frozen=True, slots=True)
class ModelUsage:
    """What a principal made with one model.

    Attributes:
        images: Images of the successes.
        successes: Generations that succeeded.
        failures: Generations that failed.
        medians: What the principal's newest successes cost and took.
        last_used: Unix time of the newest request.
    """

    model: str
    images: int
    successes: int
    failures: int
    medians: ModelMedians
    last_used: float


class Ledger(Protocol):
    """Stores generations.

    A finished generation changes only by :meth:`amend`, and one that has a task id never loses it, whichever process
    saves it and in whichever order. Every method but :meth:`save`, :meth:`forget`, :meth:`probe`, :meth:`tidy` and
    :meth:`aclose` raises :class:`LedgerError` where the database cannot be used, and :class:`LedgerBusy` where that
    will pass.

    Attributes:
        problem: Why the ledger is not durable right now; None if it is.
        stores_images: Whether it stores the bytes of images, see :meth:`save_image`.
    """

    problem: str | None
    stores_images: bool

    async def begin(self, generation: Generation, check: Check | None = None) -> Generation:
        """Record a generation before it is sent. Send nothing unless this returns.

        Args:
            check: Called with the present usage, in the same transaction.

        Returns:
            ``generation``; where it has a ``request_id``, perhaps the principal's earlier one with the same, or the
            one with the same generation id.

        Raises:
            LimitReached: ``check`` refused it; nothing was recorded.
        """

    async def begin_batch(self, generations: Sequence[Generation], check: Check | None = None) -> list[Generation]:
        """As :meth:`begin`, all or none, for the generations of a new batch. Each is sent once :meth:`claim` says so.

        Returns:
            ``generations``; or the earlier generation, or those of the earlier batch, with the same ``request_id``.

        Raises:
            LimitReached: ``check`` refused them; nothing was recorded.
        """

    async def claim(self, generation: Generation) -> Generation | None:
        """Record that one generation of a batch is about to be sent. Only one caller in any process succeeds.

        Returns:
            The generation, its outcome unknown from now on; None if it is not unsent any more.
        """

    async def cancel_unsent(self, generation: Generation) -> bool:
        """Record the end of a generation of a batch that was not sent, so that :meth:`claim` refuses it from now on.

        Returns:
            Whether it was still unsent.
        """

    async def save(self, generation: Generation) -> Generation:
        """Record the present state of a generation. Where that fails, it is retried with the next write.

        Returns:
            What is recorded: another process may have recorded its end before.
        """

    async def amend(self, generation: Generation) -> None:
        """Record the images of a finished generation that were found in its kept answer later."""

    async def forget(self, generation_id: str) -> None:
        """Delete a generation that certainly made no task. Where that fails, it is retried with the next write."""

    async def forget_batch(self, generations: Sequence[Generation]) -> None:
        """Delete a batch that certainly made no task, unless another call has claimed one of its generations.

        Where that fails, it stays: the same call may submit what is unsent.
        """

    async def find(self, public_id: str, principal: str | None = None) -> Generation | None:
        """Return the generation with this task id or generation id.

        Args:
            principal: Preferred where several callers' generations have the same task id. It is not a filter.
        """

    async def find_request(self, request_id: str, api: str | None, principal: str = "") -> Generation | None:
        """Return the generation that this principal requested from this API under this ``request_id``; of a batch, any
        one."""

    async def find_batch(self, batch_id: str, principal: str | None = None) -> list[Generation]:
        """Return the generations of a batch in the order of their ids; none if there are none of this principal.

        Args:
            principal: None for any.
        """

    async def find_image(self, url: str, principal: str = "") -> Generation | None:
        """Return the principal's newest generation with an image at exactly this URL."""

    async def recent(self, limit: int, principal: str = "", search: str | None = None) -> list[Generation]:
        """Return the principal's newest generations, newest first.

        Args:
            limit: Maximum number.
            search: Text that the prompt must contain, where the case of ASCII letters does not matter; or an id.
        """

    async def open_tasks(self, since: float) -> list[Generation]:
        """Return the unfinished tasks of all callers submitted after ``since`` (Unix time), oldest first."""

    async def succeeded_since(self, since: float) -> list[Generation]:
        """Return the newest successes of all callers that ended after ``since`` (Unix time), newest first."""

    async def medians(self, model: str, api: str | None) -> ModelMedians:
        """Return what an image of ``model`` usually costs and takes at ``api``."""

    async def usage(self, principal: str | None, api: str | None, now: float, since: float | None = None) -> Usage:
        """Return what is open, and what was spent at ``api``.

        Args:
            principal: None for all together.
            now: Unix time.
            since: Unix time from which spending counts; None for the last midnight in UTC.
        """

    async def model_usage(self, principal: str, api: str | None) -> list[ModelUsage]:
        """Return what this principal made with each model at ``api``, the model with the most images first."""

    async def save_image(self, generation_id: str, number: int, image: EncodedImage) -> None:
        """Store the bytes of an image that exist nowhere else. Only where :attr:`stores_images`, after :meth:`begin`
        and before the end is saved."""

    async def load_image(self, generation_id: str, number: int) -> EncodedImage | None:
        """Return the bytes that :meth:`save_image` stored."""

    async def save_upload_request(self, request: UploadRequest) -> None:
        """Record that a person was asked for images."""

    async def find_upload_request(self, upload_id: str, principal: str) -> UploadRequest | None:
        """Return the principal's request with this id."""

    async def find_grant(self, grant: str) -> UploadRequest | None:
        """Return the request with this grant, open or not."""

    async def add_upload(
        self, upload: Upload, data: bytes, now: float, check: Callable[[int], None], today: float
    ) -> bool:
        """Record an upload and use up a part of its grant.

        Args:
            data: The bytes, which are stored where :attr:`stores_images`.
            now: Unix time, seconds.
            check: Called with the number of the principal's uploads since ``today``, in the same transaction.
            today: Unix time of the day's start, seconds.

        Returns:
            False if the request is used up or has expired: nothing was recorded.
        """

    async def count_uploads(self, principal: str, since: float) -> int:
        """Return the number of the principal's uploads since ``since`` (Unix time)."""

    async def uploads_for(self, upload_id: str) -> list[Upload]:
        """Return the uploads that answer a request, oldest first."""

    async def find_upload(self, reference_id: str) -> Upload | None:
        """Return the upload with this id."""

    async def load_upload(self, reference_id: str) -> bytes | None:
        """Return the bytes of an upload, where :attr:`stores_images`."""

    async def save_piece(self, upload_id: str, image: int, piece: int, data: bytes, max_bytes: int) -> bool:
        """Store a piece of an image until :meth:`take_pieces`, or until its request has expired.

        Args:
            max_bytes: Limit of all stored pieces of the principal.

        Returns:
            Whether it was stored; False where it exceeds the limit.
        """

    async def take_pieces(self, upload_id: str, image: int) -> dict[int, bytes]:
        """Return the pieces of an image by their numbers, and delete them."""

    async def follow(self, changed: Changed) -> None:
        """Call ``changed`` for every change by another process until cancelled."""

    async def acquire_sweep_lock(self) -> bool:
        """Whether this process may query the unfinished tasks of all callers now. One that may keeps the right until
        :meth:`aclose`."""

    async def probe(self) -> str | None:
        """Check that the ledger can be written, and return :attr:`problem`."""

    async def tidy(self) -> None:
        """Prune what is older than the settings want to keep."""

    async def build_indexes(self) -> None:
        """Build the search index and the sums, in steps that block nothing for long, until cancelled.

        Until it is built, answers are the same, but slower."""

    async def aclose(self) -> None:
        """Retry the pending writes once, and close the database."""
