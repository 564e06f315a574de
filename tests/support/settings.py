"""Settings as a process with these environment variables has them."""

from __future__ import annotations

import os
from collections.abc import Mapping
from unittest import mock

from nano_banana_mcp.settings import Settings, load_settings
from tests.support.clients import clean_environment


def settings_from(variables: Mapping[str, str]) -> Settings:
    """The settings of these environment variables and no other ones."""
    with mock.patch.dict(os.environ, {**clean_environment(), **variables}, clear=True):
        return load_settings()
