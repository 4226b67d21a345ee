import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from medseg.inference.averaging import ensemble

WINDOWS = torch.randn(2, 1, 4, 4, 4, generator=torch.Generator().manual_seed(0))


def member(seed: int):
    weight = torch.randn(3, 1, 1, 1, 1, generator=torch.Generator().manual_seed(seed))

    def run(windows: Tensor) -> Tensor:
        return windows * weight.reshape(1, 3, 1, 1, 1)

    return run


@given(st.lists(st.integers(0, 99), min_size=1, max_size=5))
@settings(max_examples=20)
def test_logits_are_the_mean_of_the_members(seeds: list[int]) -> None:
    members = [member(seed) for seed in seeds]
    expected = torch.stack([run(WINDOWS) for run in members]).mean(dim=0)
    torch.testing.assert_close(ensemble(members)(WINDOWS), expected)


def test_probabilities_are_the_mean_of_the_members() -> None:
    members = [member(1), member(2)]
    expected = torch.stack([run(WINDOWS).softmax(1) for run in members]).mean(dim=0)
    logits = ensemble(members, average="probabilities")(WINDOWS)
    torch.testing.assert_close(logits.softmax(dim=1), expected)


def test_regions_average_their_own_probabilities() -> None:
    members = [member(1), member(2)]
    expected = torch.stack([run(WINDOWS).sigmoid() for run in members]).mean(dim=0)
    logits = ensemble(members, average="probabilities", overlapping=True)(WINDOWS)
    torch.testing.assert_close(logits.sigmoid(), expected)


def test_certain_members_give_finite_logits() -> None:
    certain = ensemble(
        [lambda w: 1e4 * w.expand(-1, 3, -1, -1, -1), member(1)],
        average="probabilities",
    )
    assert bool(torch.isfinite(certain(WINDOWS)).all())


def test_members_are_not_changed_in_place() -> None:
    kept = torch.ones(1, 2, 2)
    ensemble([lambda _: kept, lambda _: 3 * kept])(WINDOWS)
    assert torch.equal(kept, torch.ones(1, 2, 2))


@pytest.mark.parametrize("average", ["logits", "probabilities"])
def test_one_member_is_itself(average: str) -> None:
    logits = ensemble([member(1)], average=average)(WINDOWS)  # type: ignore[arg-type]
    torch.testing.assert_close(logits.softmax(1), member(1)(WINDOWS).softmax(1))
