"""The exercise of docs/contributing.md, carried out on a copy of the package."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from medseg.testing import make_tiny_study

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "contributing.md"
BLOCK = re.compile(
    r'```python (?P<how>new|insert-before|insert-after)(="(?P<at>(?:\\.|[^"])*)")? '
    r'file="(?P<file>[^"]+)"\n(?P<code>.*?)```',
    re.DOTALL,
)


@pytest.fixture(scope="module")
def changed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the package as the exercise changes it."""
    folder = tmp_path_factory.mktemp("exercise")
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "medseg", folder / "medseg", ignore=ignored)
    for block in BLOCK.finditer(PAGE.read_text()):
        apply(block, folder / block["file"])
    return folder


def apply(block: re.Match[str], path: Path) -> None:
    if block["how"] == "new":
        path.write_text(block["code"])
        return
    anchor = block["at"].replace("\\n", "\n").replace('\\"', '"')
    before, found, after = path.read_text().partition(anchor)
    assert found, f"{block['file']}: {anchor!r} is not there any more"
    if block["how"] == "insert-before":
        path.write_text(before + block["code"] + found + after)
    else:
        path.write_text(before + found + "\n" + block["code"].rstrip("\n") + after)


def run(folder: Path, *arguments: str) -> str:
    environment = dict(os.environ, PYTHONPATH=str(folder))
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        env=environment,
        check=True,
        capture_output=True,
        text=True,
    ).stdout


def test_each_takes_two_files_at_most() -> None:
    parts = re.split(r"^### ", PAGE.read_text(), flags=re.MULTILINE)[1:]
    assert len(parts) == 3
    for part in parts:
        assert len({block["file"] for block in BLOCK.finditer(part)}) == 2


def test_the_page_counts_its_lines_right() -> None:
    claims = re.findall(r"`(medseg/[^`]+)`, (?:new, )?(\d+) lines", PAGE.read_text())
    lines: dict[str, int] = {}
    for block in BLOCK.finditer(PAGE.read_text()):
        code = [line for line in block["code"].splitlines() if line.strip()]
        count = len(code) if block["how"] != "new" else block["code"].count("\n")
        lines[block["file"]] = lines.get(block["file"], 0) + count
    assert {file: int(count) for file, count in claims} == lines


def test_the_loss(changed: Path) -> None:
    program = """
import torch
from medseg.losses import build_loss
from medseg.training.settings import TrainingSettings
from medseg.settings import parse_settings
settings = parse_settings(TrainingSettings, {"loss": {"name": "tversky_ce"}}).loss
logits = torch.randn(2, 3, 4, 5, generator=torch.Generator().manual_seed(0))
target = torch.randint(3, (2, 4, 5), generator=torch.Generator().manual_seed(1))
p = logits.softmax(1)[:, 1:]
t = torch.nn.functional.one_hot(target, 3).movedim(-1, 1)[:, 1:]
tp, fp, fn = ((x).sum((2, 3)) for x in (p * t, p * (1 - t), (1 - p) * t))
index = (tp + 1e-5) / (tp + 0.3 * fp + 0.7 * fn + 1e-5)
expected = (1 - index).mean() + torch.nn.functional.cross_entropy(logits, target)
loss = build_loss(settings, num_classes=3)
torch.testing.assert_close(loss(logits, target), expected)
print("equal")
"""
    assert run(changed, "-c", program) == "equal\n"


def test_the_layout_and_the_verb(changed: Path, tmp_path: Path) -> None:
    study = make_tiny_study(tmp_path / "tiny", num_cases=2)
    names = sorted(path.name for path in (study / "labelsTr").glob("*.nii.gz"))
    pairs = "".join(f"imagesTr/{name} labelsTr/{name}\n" for name in names)
    (study / "pairs.txt").write_text(pairs)
    (study / "dataset.json").unlink()
    program = (
        "from medseg.datasets import load_dataset\n"
        f"dataset = load_dataset({str(study)!r})\n"
        "print(dataset.layout, len(dataset.cases), dataset.scheme.num_classes)"
    )
    assert run(changed, "-c", program) == "pairs.txt 2 3\n"
    counted = run(changed, "-m", "medseg", "count", str(study / "labelsTr"))
    assert counted == "2 scans\n"
