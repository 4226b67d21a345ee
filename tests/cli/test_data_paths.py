"""Paths on the command line are paths, whatever YAML would make of them."""

import pytest

from medseg.cli.train import _train_overrides
from medseg.settings import apply_overrides


@pytest.mark.parametrize(
    "path",
    [
        "2024",
        "on",
        "null",
        "my data #2",
        "a: b",
        "[x]",
        "~",
        "1e3",
        '"',
        "'",
        "\\n",
        "é",
    ],
)
@pytest.mark.parametrize("key", ["data", "root", "tracking_uri"])
def test_paths_are_no_yaml(key: str, path: str) -> None:
    values = apply_overrides({}, _train_overrides(**{key: path}))
    assert path in (values.get(key), values.get("tracking", {}).get("uri"))
