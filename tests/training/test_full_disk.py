"""A disk that fills up while training: one plain line, and the checkpoint before."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from small_runs import SMALL, small_plan

from medseg.errors import OutputError
from medseg.model import Provenance, save_model
from medseg.networks.build import build_network
from medseg.store import Store
from medseg.training.checkpoint import CHECKPOINT, save_checkpoint
from medseg.training.context import MetricsFile


class State:
    """Stands for a state of some size."""

    def __init__(self, num_floats: int) -> None:
        self.num_floats = num_floats

    def to_values(self) -> dict[str, torch.Tensor]:
        return {"network": torch.zeros(self.num_floats)}


def test_the_checkpoint_before_is_kept(mount_disk: Callable[[str], Path]) -> None:
    disk = mount_disk("size=300k")
    save_checkpoint(disk, State(100), identity="a")  # type: ignore[arg-type]
    before = (disk / CHECKPOINT).read_bytes()
    with pytest.raises(OutputError, match=r"last\.pt: cannot be written: No space"):
        save_checkpoint(disk, State(10**6), identity="a")  # type: ignore[arg-type]
    assert (disk / CHECKPOINT).read_bytes() == before
    assert [p.name for p in (disk / CHECKPOINT).parent.iterdir()] == ["last.pt"]


def test_a_model_that_finds_no_room_is_one_line(
    tiny_store: Store, mount_disk: Callable[[str], Path]
) -> None:
    plan = small_plan(tiny_store, dims=3, network=SMALL)
    network = build_network(SMALL, spatial_dims=3, in_channels=1, out_channels=3)
    with pytest.raises(OutputError, match=r"cannot be written: .*No space left"):
        save_model(mount_disk("size=8k") / "model", network, plan, Provenance())


def test_measurements_that_find_no_room_are_one_line(
    mount_disk: Callable[[str], Path],
) -> None:
    history = MetricsFile(mount_disk("size=8k") / "metrics.csv")
    many = {f"metric{number}": 0.1 for number in range(10_000)}
    with pytest.raises(OutputError, match=r"metrics\.csv: cannot be written: No space"):
        history.add(many, step=0, seconds=1.0)
