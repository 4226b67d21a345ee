"""What is said to whoever lacks an optional package: a line that works."""

import re
import tomllib
from importlib import metadata
from pathlib import Path

import pytest

from medseg.errors import SettingsError
from medseg.extras import how_to_install, packages_of

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS = set(PROJECT["optional-dependencies"]) - {"dev", "docs"}
INSTALLED = set(metadata.metadata("medseg").get_all("Provides-Extra") or ())
FOR_USERS = [
    pytest.param(
        extra,
        marks=pytest.mark.skipif(
            extra not in INSTALLED, reason="medseg was installed before it had this"
        ),
    )
    for extra in sorted(EXTRAS)
]


@pytest.mark.parametrize("extra", FOR_USERS)
def test_an_extra_is_installed_by_the_names_of_its_packages(extra: str) -> None:
    packages = PROJECT["optional-dependencies"][extra]
    assert sorted(packages_of(extra)) == sorted(packages)
    line = how_to_install(extra)
    assert line.startswith("pip install ")
    assert all(f'"{package}"' in line for package in packages)


@pytest.mark.parametrize("extra", FOR_USERS)
def test_the_install_page_has_the_line_of_the_messages(extra: str) -> None:
    page = (ROOT / "docs" / "start" / "install.md").read_text()
    (row,) = [text for text in page.splitlines() if text.startswith(f"| `{extra}` |")]
    packages = how_to_install(extra).removeprefix("pip install ")
    assert row.endswith(f"| `{packages}` |")


def test_packages_of_a_marker_with_several_conditions(monkeypatch) -> None:
    listed = [
        "torch>=2.4",
        'ray>=2; python_version < "3.14" and extra == "ray"',
        "raya>=1; extra == 'ray-a'",
    ]
    monkeypatch.setattr("medseg.extras.requires", lambda name: listed)
    assert packages_of("ray") == ["ray>=2"]
    assert packages_of("none") == []


def test_without_an_installation_the_checkout_is_named(monkeypatch) -> None:
    def fail(name: str) -> list[str]:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr("medseg.extras.requires", fail)
    assert how_to_install("pacs") == 'in the checkout, pip install ".[pacs]"'


def test_no_message_and_no_page_names_a_package_that_no_index_has() -> None:
    named = re.compile(r"pip install [^`\n]*\bmedseg(\[|[\"'`\s]|$)")
    texts = [*(ROOT / "medseg").rglob("*.py"), *(ROOT / "docs").rglob("*.md")]
    found = {
        f"{path.relative_to(ROOT)}: {match[0]}"
        for path in texts
        if "_build" not in path.parts and "generated" not in path.parts
        for match in named.finditer(path.read_text())
        if "--find-links" not in match[0]  # a folder with the wheel
    }
    allowed = ("docs/start/install.md", "docs/start/first_commands.md")  # say so
    assert not [text for text in found if not text.startswith(allowed)]


def test_a_missing_package_of_the_node_is_named_with_its_line(monkeypatch) -> None:
    from medseg.serving.pacs import settings

    monkeypatch.setattr(settings, "find_spec", lambda name: None)
    with pytest.raises(SettingsError, match=r'pynetdicom: pip install .*"pynetdicom>='):
        settings.read_pacs_settings([])
