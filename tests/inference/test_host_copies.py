"""What a GPU found is used in order, the last of it when all is done."""

import numpy as np
import pytest
import torch

from medseg.inference.host_copies import MOST_WAITING, HostCopies


def test_what_is_on_the_host_is_used_at_once() -> None:
    seen: list[np.ndarray] = []
    HostCopies().use(torch.arange(3), seen.append)
    assert seen[0].tolist() == [0, 1, 2]


class OnDevice:
    """A tensor that says it lies on a GPU."""

    device = torch.device("cuda")

    def __init__(self, number: int) -> None:
        self.number = number

    def to(self, device: str, *, non_blocking: bool) -> torch.Tensor:
        assert (device, non_blocking) == ("cpu", True)
        return torch.tensor([self.number])


def test_a_gpu_stays_a_few_copies_ahead(monkeypatch: pytest.MonkeyPatch) -> None:
    waited: list[int] = []

    class Event:
        made = 0

        def __init__(self) -> None:
            self.number = Event.made
            Event.made += 1

        def record(self, stream: object) -> None:
            assert stream is not None

        def synchronize(self) -> None:
            waited.append(self.number)

    monkeypatch.setattr(torch.cuda, "Event", Event)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: device)
    copies, used = HostCopies(), list[int]()
    for number in range(5):
        copies.use(OnDevice(number), lambda found: used.append(int(found[0])))  # type: ignore[arg-type]
        assert used == waited == list(range(max(0, number + 1 - MOST_WAITING)))
    copies.finish()
    assert used == waited == [0, 1, 2, 3, 4]
