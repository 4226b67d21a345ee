"""The tutorial runs, cell by cell, in an empty folder."""

import re
from pathlib import Path

import pytest
import torch

PAGE = Path(__file__).parents[2] / "docs" / "tutorials" / "monai_spleen.md"
CELL = r"```{code-cell} ipython3\n(.*?)```"


@pytest.mark.filterwarnings("ignore:.*NvImgCodec.*:UserWarning")
@pytest.mark.filterwarnings("ignore:Using a non-tuple sequence:UserWarning")
def test_the_tutorial_runs(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    names: dict = {}
    threads = torch.get_num_threads()
    try:
        for cell in re.findall(CELL, PAGE.read_text(), re.S):
            exec(compile(cell, str(PAGE), "exec"), names)
    finally:
        torch.use_deterministic_algorithms(mode=False)
        torch.set_num_threads(threads)
    said = capsys.readouterr().out
    assert "equal: True" in said
    values = re.findall(r"^m\S+ +(\S+) (\S+)$", said, re.M)
    assert len(values) == 2
    assert values[0] == values[1]
    assert float(re.search(r"difference (\S+)", said)[1]) < 1e-4
    assert float(re.search(r"equal in (\S+) %", said)[1]) > 99.9
    first, *_, last = map(float, re.findall(r"epoch \d: (\S+)", said))
    assert last < first
