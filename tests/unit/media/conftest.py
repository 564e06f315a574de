"""The fixture `stores`."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING, cast

import pytest

from tests.support.fake_internet import Host, listening
from tests.support.image_stores import BackgroundTasks, Stores

if TYPE_CHECKING:
    from anyio.abc import TaskGroup


@pytest.fixture
async def stores(tmp_path: Path) -> AsyncIterator[Stores]:
    tasks = BackgroundTasks()
    async with listening(Host(), None) as host:
        yield Stores(tmp_path / "state", cast("TaskGroup", tasks), host)
        await tasks.aclose()
