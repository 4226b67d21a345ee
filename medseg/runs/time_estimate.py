"""How long a run will take after its training, measured before it begins.

A fresh network is timed on one window, and one held-out case is scored against itself;
of a network that learns single objects, the objects of that case are found anew as they
will be when thresholds are chosen. All else is counting.
"""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np
import torch

from medseg.calibration import object_decoding
from medseg.calibration.windows import MOST_SCANS
from medseg.errors import MedsegError
from medseg.evaluation.folder import score_pairs
from medseg.evaluation.instances import score_instances
from medseg.evaluation.pairs import CasePair
from medseg.inference.exact_tiling import computed_voxels
from medseg.inference.objects import decode_prepared
from medseg.inference.tiling import blended_tiling
from medseg.inference.window_spec import REFERENCE_OVERLAP, AxisLayout
from medseg.instances.decoding_settings import DecodingSettings
from medseg.instances.object_maps import FULL, ObjectMaps
from medseg.instances.targets import LEVELS
from medseg.networks.build import build_network
from medseg.reporting.text import format_duration
from medseg.runs.setup import RunSetup
from medseg.store import StoredCase

SECONDS_OF_A_PICTURE = 0.7
"""Of one case's page of three planes, about."""
MOST_PICTURES = 12
"""Cases that are pictured: the worst, the middle and the best."""
MOST_TIMES, LONG_ENOUGH = 3, 3.0
"""How often something is timed, and the seconds after which once more is too much."""
CALIBRATION_PASSES = 2.0
"""Passes over a scan that the choice of windows costs, about."""


@dataclass(frozen=True)
class TimeEstimate:
    """Seconds that will follow the training of a run, part by part.

    Attributes:
        parts: What is done to held-out cases, and about how long it takes.
        num_cases: Held-out cases.
        num_flips: How often each is segmented, mirrored and not.
    """

    parts: dict[str, float]
    num_cases: int
    num_flips: int = 1

    @property
    def seconds(self) -> float:
        """All parts together."""
        return sum(self.parts.values())

    def describe(self, budget: float | None, *, now: datetime) -> str:
        """What a user should know before the first step.

        Args:
            budget: Seconds of training; None where steps are counted.
            now: When training begins.
        """
        parts = ", ".join(
            f"{part} {format_duration(seconds)}"
            for part, seconds in sorted(self.parts.items(), key=lambda item: -item[1])
            if seconds >= 1
        )
        after = (
            f"after training about {format_duration(self.seconds)} for "
            f"{self.num_cases} held-out cases ({parts or 'next to nothing'})"
        )
        if budget is None:
            return after
        end = now + timedelta(seconds=budget + self.seconds)
        text = (
            f"training {format_duration(budget)}, {after}; done at about "
            f"{end.strftime('%H:%M')}"
        )
        if self.seconds > budget:
            text += (
                "; that is longer than the training: a larger prepare.num_folds holds "
                "fewer cases out"
            )
            if self.num_flips > 1:
                text += (
                    f", and inference.flips=false segments each once instead of "
                    f"{self.num_flips} times"
                )
        return text


def estimate_time(run: RunSetup) -> TimeEstimate | None:
    """How long scoring the held-out cases will take; None where nothing is held out.

    None, too, where a case cannot be read: whoever scores it says so.
    """
    if not run.held_out:
        return None
    cases = [run.store.case(case_id) for case_id in run.held_out]
    voxels = [math.prod(case.shape) for case in cases]
    typical = cases[int(np.argsort(voxels)[len(voxels) // 2])]
    try:
        return TimeEstimate(_parts(run, cases, typical), len(cases), _num_flips(run))
    except (MedsegError, OSError, MemoryError, RuntimeError):
        return None


def _parts(
    run: RunSetup, cases: list[StoredCase], typical: StoredCase
) -> dict[str, float]:
    share = math.fsum(math.prod(case.shape) for case in cases) / math.prod(
        typical.shape
    )
    network = _seconds_of_network(run, typical) * share
    parts = {"segmenting": network}
    if run.config.inference.overlap == "auto":
        scans = min(MOST_SCANS, len(cases))
        parts["choosing windows"] = CALIBRATION_PASSES * scans * network / len(cases)
    if run.plan.instance_target != "none":
        looked_at = len(
            object_decoding.cases_to_look_at(
                run.store, run.held_out, plan=run.plan, steps=run.settings.steps
            )
        )
        each = network / len(cases) + _seconds_of_objects(run, typical)
        parts["choosing how objects are found"] = looked_at * each
    parts["scoring"] = _seconds_of_scoring(run, typical) * share
    pictures = min(MOST_PICTURES, len(cases))
    parts["pictures"] = SECONDS_OF_A_PICTURE * pictures
    return parts


def _seconds_of_network(run: RunSetup, case: StoredCase) -> float:
    """Of one case by windows that overlap by half, with flips where asked for."""
    plan = run.plan
    with torch.random.fork_rng(devices=[]):
        network = build_network(
            plan.network,
            spatial_dims=plan.spatial_dims,
            in_channels=len(plan.channels),
            out_channels=plan.num_outputs,
        )
    network = network.to(run.device).eval()
    batch = torch.zeros(1, len(plan.channels), *plan.patch_size, device=run.device)

    @torch.inference_mode()
    def window() -> None:
        network(batch)
        if run.device.type == "cuda":
            torch.cuda.synchronize(run.device)

    seconds = _seconds_of(window)
    layout = AxisLayout(plan.spatial_dims)
    tiling = blended_tiling(
        layout.shape(case.shape[-3:]),
        window=layout.window(plan.patch_size),
        overlap=REFERENCE_OVERLAP,
        axis=0,
    )
    windows = computed_voxels(tiling) / math.prod(plan.patch_size)
    return seconds * windows * _num_flips(run)


def _num_flips(run: RunSetup) -> int:
    axes = run.plan.mirror_axes if run.plan.mirror_axes is not None else ()
    return 2 ** len(axes) if run.config.inference.flips else 1


def _seconds_of_objects(run: RunSetup, case: StoredCase) -> float:
    """Of finding and scoring one case's objects once for each choice."""
    assert run.plan.instance_target != "none"
    levels = case.read_label()
    innermost = len(LEVELS[run.plan.instance_target])
    levels = np.where(levels > innermost, 0, levels)
    maps = ObjectMaps(
        np.where(levels > 0, FULL, 0).astype(np.uint8),
        (levels.astype(np.float32) / innermost * FULL).astype(np.uint8),
    )
    thresholds = run.config.metrics.instance_thresholds

    def once() -> None:
        found = decode_prepared(maps, run.plan, DecodingSettings())
        score_instances(found, found, thresholds=thresholds)

    return object_decoding.NUM_TRIALS * _seconds_of(once)


def _seconds_of_scoring(run: RunSetup, case: StoredCase) -> float:
    """Of one case, scored against itself."""
    label = run.store.label(case.case_id)
    pair = CasePair(case.case_id, label, label)

    def once() -> None:
        score_pairs([pair], run.plan.labels, run.config.metrics, workers=1)

    return _seconds_of(once)


def _seconds_of(work: Callable[[], object]) -> float:
    """The shortest of a few times, after a call that loads libraries."""
    work()
    taken: list[float] = []
    while len(taken) < MOST_TIMES and sum(taken) < LONG_ENOUGH:
        start = time.perf_counter()
        work()
        taken.append(time.perf_counter() - start)
    return min(taken)
