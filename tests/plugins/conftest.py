"""Plug-ins are allowed by each test alone."""

import pytest

from medseg import plugins


@pytest.fixture(autouse=True)
def forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a new process: nothing was allowed or given yet."""
    for name in ("_allowed", "_files", "_given", "_used"):
        monkeypatch.setattr(plugins, name, type(getattr(plugins, name))())
