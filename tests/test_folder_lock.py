"""What killed calls left in a folder, found by the next one."""

from pathlib import Path

from medseg.folder_lock import lock_folder


def test_a_folder_that_lost_its_name_gets_it_back(tmp_path: Path) -> None:
    for name, text in ((".0123abcd.old.model", "whole"), (".0123abcd.part.x", "half")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").write_text(text)
    with lock_folder(tmp_path):
        assert (tmp_path / "model" / "file").read_text() == "whole"
        assert not list(tmp_path.glob(".????????.*.*"))


def test_what_was_made_for_a_while_is_removed(tmp_path: Path) -> None:
    kept = tmp_path / "model"
    left = [tmp_path / ".0123abcd.old.model", tmp_path / ".slide_x1", kept]
    left.append(tmp_path / "outlines" / ".drawn_x1")
    for folder in left:
        folder.mkdir(parents=True)
        (folder / "file").write_text("new" if folder == kept else "old")
    with lock_folder(tmp_path):
        assert [folder for folder in left if folder.exists()] == [kept]
        assert (kept / "file").read_text() == "new"
