"""The small parts of a run: averaging, guarding, interrupting, keeping history."""

import csv
import os
import signal
from pathlib import Path

import pytest
import torch
from torch import nn

from medseg.errors import NonFiniteLossError
from medseg.tables import read_frame
from medseg.training.context import STOP_FILE, Interruption, MetricsFile
from medseg.training.state import AveragedWeights
from medseg.training.step import LossGuard


def test_averaged_weights_trail_by_the_decay() -> None:
    network = nn.Linear(1, 1)
    averaged = AveragedWeights(network, decay=0.9)
    before = averaged.network.weight.clone()
    with torch.no_grad():
        network.weight += 1
    averaged.update(network, step=10_000)
    assert torch.allclose(averaged.network.weight, before + 0.1, atol=1e-6)


def test_early_steps_do_not_weigh_for_long() -> None:
    network = nn.Linear(1, 1)
    averaged = AveragedWeights(network, decay=0.999)
    with torch.no_grad():
        network.weight.fill_(7.0)
    for step in range(200):
        averaged.update(network, step=step)
    assert averaged.network.weight.item() == pytest.approx(7.0, abs=1e-3)


def test_averaged_buffers_are_the_networks_own() -> None:
    network = nn.BatchNorm1d(2)
    averaged = AveragedWeights(network, decay=0.999)
    network(torch.randn(8, 2))
    averaged.update(network, step=0)
    assert torch.equal(averaged.network.running_mean, network.running_mean)


def test_guard_names_step_and_cases_of_a_loss_that_is_no_number() -> None:
    guard = LossGuard(every=2)
    guard.add(torch.tensor(1.0), step=1, case_ids=("a",))
    with pytest.raises(NonFiniteLossError, match=r"step 2: the loss is nan .*b, c"):
        guard.add(torch.tensor(float("nan")), step=2, case_ids=("c", "b", "b"))


def test_stop_file_and_signal_end_a_run(tmp_path: Path) -> None:
    before = signal.getsignal(signal.SIGINT)
    with Interruption(tmp_path) as interruption:
        assert interruption.reason() == ""
        (tmp_path / STOP_FILE).touch()
        assert "stop file" in interruption.reason()
        interruption.clear()
        assert interruption.reason() == ""
        os.kill(os.getpid(), signal.SIGINT)
        assert interruption.reason() == "SIGINT"
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is before


def test_one_of_several_processes_that_ends_early_has_the_last_word(
    tmp_path: Path,
) -> None:
    """torchrun ends the others with SIGTERM before they have said why they end."""
    before = signal.getsignal(signal.SIGTERM)
    lost = RuntimeError("another process ended")
    try:
        with pytest.raises(RuntimeError), Interruption(tmp_path, patient=True):
            raise lost
        os.kill(os.getpid(), signal.SIGTERM)  # would end this process
        assert signal.getsignal(signal.SIGTERM) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGTERM, before)
    with Interruption(tmp_path, patient=True):
        pass
    assert signal.getsignal(signal.SIGTERM) is before


def test_history_drops_what_a_resumed_run_measures_again(tmp_path: Path) -> None:
    path = tmp_path / "metrics.csv"
    history = MetricsFile(path)
    history.add({"loss": 1.0}, step=1, seconds=0.5)
    history.add({"loss": 0.5}, step=2, seconds=1.0)
    with path.open("a") as stream:
        stream.write("3,1.5,lo")  # the line that a kill cut short
    MetricsFile(path, resume_at=1).add({"loss": 0.4}, step=2, seconds=1.1)
    with path.open() as stream:
        rows = list(csv.DictReader(stream))
    assert [(row["step"], row["value"]) for row in rows] == [("1", "1"), ("2", "0.4")]


def test_names_with_commas_survive_a_resume(tmp_path: Path) -> None:
    path, names = tmp_path / "metrics.csv", ["dice/liver, left", 'dice/"x"', "a\nb"]
    MetricsFile(path).add(dict.fromkeys(names, 0.5), step=1, seconds=1.0)
    for _ in range(2):
        MetricsFile(path, resume_at=1)
    history = read_frame(path)
    assert history["metric"].tolist() == names
    assert history["value"].tolist() == [0.5, 0.5, 0.5]
