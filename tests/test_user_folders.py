"""Where the user's own files lie, whatever the home folder is."""

import os
import stat
from pathlib import Path

import pytest

from medseg import user_folders
from medseg.io.identity import load_pseudonymizer
from medseg.user_folders import HomelessWarning, user_folder


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder of temporary files, and no XDG variables."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    for name in ("XDG_CONFIG_HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    user_folders._fallback.cache_clear()
    yield folder
    user_folders._fallback.cache_clear()


def nobody(uid: int) -> object:
    raise KeyError(f"getpwuid(): uid not found: {uid}")


def no_home(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HOME", raising=False)
    monkeypatch.setattr("pwd.getpwuid", nobody)


def home_is_a_file(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home.write_text("no folder")
    monkeypatch.setenv("HOME", str(home))


def folders_are_files(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home.mkdir()
    for name in (".cache", ".config"):
        (home / name).write_text("no folder")
    monkeypatch.setenv("HOME", str(home))


def home_is_sealed(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Below /proc nobody, root included, can make a folder."""
    monkeypatch.setenv("HOME", "/proc/self")


@pytest.mark.parametrize(
    "trouble", [no_home, home_is_a_file, folders_are_files, home_is_sealed]
)
@pytest.mark.parametrize("kind", ["config", "cache"])
def test_without_a_home_a_private_folder_is_taken(
    trouble, kind, temporary: Path, tmp_path: Path, monkeypatch
) -> None:
    trouble(tmp_path / "home", monkeypatch)
    with pytest.warns(HomelessWarning, match=r"no home folder .* lies in "):
        folder = user_folder(kind)
    assert folder == temporary / f"medseg-{os.getuid()}" / kind
    assert stat.S_IMODE(folder.parent.stat().st_mode) == 0o700
    assert user_folder(kind) == folder  # and nothing is said again


def test_pseudonyms_stay_the_same_without_a_home(
    temporary: Path, tmp_path: Path, monkeypatch
) -> None:
    no_home(tmp_path, monkeypatch)
    with pytest.warns(HomelessWarning, match="the key of the pseudonyms"):
        first = load_pseudonymizer()
    assert load_pseudonymizer() == first


def test_a_folder_that_others_can_enter_is_not_trusted(
    temporary: Path, tmp_path: Path, monkeypatch
) -> None:
    no_home(tmp_path, monkeypatch)
    planted = temporary / f"medseg-{os.getuid()}"
    planted.mkdir(mode=0o777)
    planted.chmod(0o777)
    with pytest.warns(HomelessWarning):
        assert not user_folder("config").is_relative_to(planted)


def test_a_link_is_not_trusted(temporary: Path, tmp_path: Path, monkeypatch) -> None:
    no_home(tmp_path, monkeypatch)
    (tmp_path / "elsewhere").mkdir(mode=0o700)
    (temporary / f"medseg-{os.getuid()}").symlink_to(tmp_path / "elsewhere")
    with pytest.warns(HomelessWarning):
        user_folder("config")
    assert not list((tmp_path / "elsewhere").iterdir())


def test_a_key_that_can_only_be_read_is_used(
    temporary: Path, tmp_path: Path, monkeypatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    made = load_pseudonymizer()
    monkeypatch.setattr(user_folders, "_is_usable", lambda _: False)
    assert load_pseudonymizer() == made
