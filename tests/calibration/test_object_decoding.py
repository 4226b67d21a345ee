"""What choosing how objects are found may cost, and that it still finds the best."""

from types import SimpleNamespace
from typing import Any

import pytest

from medseg.calibration import object_decoding
from medseg.calibration.object_decoding import (
    ALONE,
    FOREGROUNDS,
    LEAST,
    SEEDS,
    cases_to_look_at,
    choose_decoding,
    coarse_to_fine,
)
from medseg.instances.decoding_settings import DecodingSettings
from medseg.progress import Silent

PLAN: Any = SimpleNamespace(batch_size=4, patch_size=(64, 64))


def store_of(shape: tuple[int, ...]) -> Any:
    case = SimpleNamespace(shape=shape)
    return SimpleNamespace(case=lambda case_id: case)


@pytest.mark.parametrize(
    ("shape", "steps", "num_cases", "expected"),
    [
        ((256, 256, 1), None, 60, 16),  # the most cases; 61 would fit
        ((256, 256, 1), None, 10, 10),  # all there are
        ((512, 512, 1), None, 60, 15),  # 4,000,000 / 262,144
        ((1024, 1024, 1), None, 60, 4),  # 3.8 would fit: the fewest
        ((1024, 1024, 1), None, 3, 3),
        ((256, 256, 1), 100, 60, 6),  # a quarter of 100 * 4 * 64 * 64: 409,600
        ((256, 256, 1), 10, 60, 4),
        ((256, 256, 1), 10_000, 60, 16),
    ],
)
def test_cases_are_counted_by_voxels(
    shape: tuple[int, ...], steps: int | None, num_cases: int, expected: int
) -> None:
    held_out = [f"case_{number:02d}" for number in range(num_cases)]
    chosen = cases_to_look_at(store_of(shape), held_out, plan=PLAN, steps=steps)
    assert len(chosen) == len(set(chosen)) == expected
    assert chosen == sorted(chosen)
    assert (chosen[0], chosen[-1]) == (held_out[0], held_out[-1])


@pytest.mark.parametrize("count", range(1, 18))
def test_the_top_of_a_hill_is_found_wherever_it_is(count: int) -> None:
    for top in range(count):
        tried: list[int] = []

        def height(place: int, top: int = top, tried: list[int] = tried) -> float:
            tried.append(place)
            return -abs(place - top)

        assert coarse_to_fine(range(count), height) == (top, 0)
        assert len(tried) == len(set(tried)) <= object_decoding._most_trials(count)


def test_of_equally_good_options_the_first_is_taken() -> None:
    assert coarse_to_fine(["none", "some", "more"], lambda option: 0.5)[0] == "none"


def test_the_best_settings_are_found_in_fewer_trials(monkeypatch) -> None:
    """Trials are counted by hand: 7 seeds, 5 foregrounds, 5 alone and 3 sizes."""
    best = {"seed": 0.85, "foreground": 0.4, "alone": 0.65, "min_voxels": 20}
    asked: list[tuple[str, DecodingSettings]] = []

    class Answer:
        def __init__(self, case_id: str) -> None:
            self.case_id = case_id

        def score(self, settings: DecodingSettings, plan: Any, thresholds: Any):
            asked.append((self.case_id, settings))
            far = {"alone": 0.1 if settings.alone == 1 else 0.0}
            gaps = [
                abs(getattr(settings, name) - value) / value + far.get(name, 0)
                for name, value in best.items()
                if name != "alone" or settings.alone < 1
            ]
            return 1 - sum(gaps) - (0.8 if settings.alone == 1 else 0.0)

    monkeypatch.setattr(
        object_decoding, "_answer", lambda predictor, store, case_id: Answer(case_id)
    )
    found = choose_decoding(
        SimpleNamespace(plan=PLAN),  # type: ignore[arg-type]
        store_of((256, 256, 1)),
        [f"case_{number:02d}" for number in range(40)],
        start=DecodingSettings(min_voxels=10),
        thresholds=(0.5, 0.75),
        progress=Silent(),
    )
    assert {name: getattr(found, name) for name in best} == best
    assert "the 16 held-out cases" in found.reason
    settings = {chosen for _, chosen in asked}
    assert len(asked) == 16 * len(settings)
    assert len(settings) <= object_decoding.NUM_TRIALS == 7 + 5 + 5 + 3
    every = sum(len(values) for values in (SEEDS, FOREGROUNDS, ALONE, LEAST))
    assert every > object_decoding.NUM_TRIALS
