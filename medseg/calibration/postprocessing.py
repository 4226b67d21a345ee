"""Rules for label maps, chosen on held-out cases: only what helps beyond chance."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from medseg.evaluation.bootstrap import mean_interval
from medseg.evaluation.folder import read_pair
from medseg.evaluation.pairs import CasePair
from medseg.labels import IGNORE_INDEX, LabelScheme
from medseg.postprocessing import (
    CleaningRule,
    clean,
    kept_components,
    label_components,
    member_indices,
)

LADDER_MM3 = (10.0, 30.0, 100.0, 300.0, 1000.0, 3000.0)
"""Smallest volumes that are tried."""
SINGLE = 0.95
"""Share of references with one component from which "the largest" is tried."""
FEWEST_PATIENTS = 5
"""With fewer, nothing can be told from chance."""
LEVEL = 0.05
"""Chance that any useless rule is taken, over all that are tried."""
RESAMPLES = 10_000


@dataclass(frozen=True)
class ComponentRule:
    """Which components stay."""

    largest: bool = False
    min_volume_mm3: float = 0.0


@dataclass(frozen=True)
class _Case:
    """One structure in one case, component by component."""

    patient: str
    voxel_mm3: float
    sizes: np.ndarray
    """Voxels of each predicted component; the first stands for none."""
    counted: np.ndarray
    """The same without voxels that are not scored."""
    shared: np.ndarray
    """Those that the reference has too."""
    reference: int
    """Voxels of the reference."""
    reference_sizes: np.ndarray
    """Voxels of each component of the reference."""

    def dice(self, keep: np.ndarray) -> float:
        return _dice(
            int(self.shared[keep].sum()), int(self.counted[keep].sum()), self.reference
        )

    def gain(self, candidate: ComponentRule) -> float:
        everything = np.ones(len(self.sizes), dtype=bool)
        everything[0] = False
        keep = kept_components(
            self.sizes,
            min_voxels=candidate.min_volume_mm3 / self.voxel_mm3,
            largest=candidate.largest,
        )
        return self.dice(keep) - self.dice(everything)


def choose_postprocessing(
    pairs: Sequence[CasePair], scheme: LabelScheme
) -> tuple[CleaningRule, ...]:
    """The rules that raise the mean Dice of a structure beyond chance.

    For each structure (or region, where there are): the largest component, if
    references have one; smallest volumes; then holes. A rule is taken if the
    bootstrap interval of its mean gain over patients, corrected for the number of
    rules tried, lies above 0; of several, the one with the largest gain.

    The gains are measured on the cases that the rules are chosen on: they say that a
    rule helps, not how much it will help on other scans.

    Args:
        pairs: Predictions of held-out cases, with references.
        scheme: Names of the values.
    """
    if scheme.instances or len({pair.patient_id for pair in pairs}) < FEWEST_PATIENTS:
        return ()
    targets = tuple(scheme.regions) or scheme.structures
    cases = _measure(pairs, scheme, targets)
    targets = tuple(
        target
        for target in targets
        if len({case.patient for case in cases[target]}) >= FEWEST_PATIENTS
    )
    tried = {target: _candidates(cases[target]) for target in targets}
    num_tried = sum(len(options) + 1 for options in tried.values())  # and holes
    rules: list[CleaningRule] = []
    for target in targets:
        rule = _best_removal(target, cases[target], tried[target], num_tried)
        rule = _with_holes(target, rule, pairs, scheme, num_tried)
        rules += [] if rule is None else [rule]
    return tuple(rules)


def _best_removal(
    target: str,
    cases: Sequence[_Case],
    options: Sequence[ComponentRule],
    num_tried: int,
) -> CleaningRule | None:
    best, best_gain = None, 0.0
    for option in options:
        gains = np.array([case.gain(option) for case in cases])
        found = _interval(gains, [case.patient for case in cases], num_tried)
        if found[1] > 0 and found[0] > best_gain:
            best_gain = found[0]
            best = CleaningRule(
                structure=target,
                keep_largest=option.largest,
                min_volume_mm3=option.min_volume_mm3,
                reason=_reason(found, len(cases)),
            )
    return best


def _with_holes(
    target: str,
    rule: CleaningRule | None,
    pairs: Sequence[CasePair],
    scheme: LabelScheme,
    num_tried: int,
) -> CleaningRule | None:
    """The rule with holes filled after it, where that helps."""
    members = member_indices(target, scheme)
    before = () if rule is None else (rule,)
    filling = CleaningRule(structure=target, fill_holes=True)
    gains, patients = [], []
    for pair, prediction, reference, spacing in _read(pairs, scheme):
        if target in scheme.incomplete(pair.unannotated):
            continue
        cleaned, _ = clean(prediction, before, scheme, spacing=spacing)
        filled, _ = clean(cleaned, (filling,), scheme, spacing=spacing)
        scores = [_mask_dice(m, reference, members) for m in (cleaned, filled)]
        gains.append(scores[1] - scores[0])
        patients.append(pair.patient_id)
    found = _interval(np.array(gains), patients, num_tried)
    if not found[1] > 0:
        return rule
    reason = f"holes: {_reason(found, len(gains))}"
    if rule is None:
        return filling.replaced(reason=reason)
    update = {"fill_holes": True, "reason": f"{rule.reason}; {reason}"}
    return rule.replaced(**update)


def _interval(
    gains: np.ndarray, patients: Sequence[str], num_tried: int
) -> tuple[float, float, float]:
    """Mean gain and its interval, corrected for the number of rules (Bonferroni)."""
    if not gains.any():
        return 0.0, 0.0, 0.0
    low, high = mean_interval(
        gains,
        groups=patients,
        confidence=1 - LEVEL / num_tried,
        num_resamples=RESAMPLES,
    )
    return float(gains.mean()), low, high


def _candidates(cases: Sequence[_Case]) -> list[ComponentRule]:
    """Rules that make sense by the references and change anything."""
    present = [case for case in cases if case.reference]
    single = sum(len(case.reference_sizes) == 1 for case in present)
    options = [ComponentRule(min_volume_mm3=volume) for volume in LADDER_MM3]
    if present and single >= SINGLE * len(present):
        options.insert(0, ComponentRule(largest=True))
    return [o for o in options if any(case.gain(o) for case in cases)]


def _measure(
    pairs: Sequence[CasePair], scheme: LabelScheme, targets: Sequence[str]
) -> dict[str, list[_Case]]:
    cases: dict[str, list[_Case]] = {target: [] for target in targets}
    for pair, prediction, reference, spacing in _read(pairs, scheme):
        scored = reference != IGNORE_INDEX
        for target in targets:
            if target in scheme.incomplete(pair.unannotated):
                continue
            members = member_indices(target, scheme)
            mask = np.isin(prediction, members)
            truth = np.isin(reference, members)
            numbers, sizes = label_components(mask)
            count = _counter(numbers, len(sizes))
            cases[target].append(
                _Case(
                    patient=pair.patient_id,
                    voxel_mm3=float(np.prod(spacing)),
                    sizes=sizes,
                    counted=count(scored),
                    shared=count(truth),
                    reference=int(truth.sum()),
                    reference_sizes=label_components(truth)[1][1:],
                )
            )
    return cases


def _counter(numbers: np.ndarray, length: int) -> Callable[[np.ndarray], np.ndarray]:
    def count(where: np.ndarray) -> np.ndarray:
        return np.bincount(numbers[where], minlength=length)

    return count


def _read(
    pairs: Sequence[CasePair], scheme: LabelScheme
) -> Iterator[tuple[CasePair, np.ndarray, np.ndarray, tuple[float, float, float]]]:
    for pair in pairs:
        prediction, reference = read_pair(pair, scheme)
        yield (
            pair,
            scheme.to_indices(prediction.voxels, name=pair.case_id),
            scheme.to_indices(reference.voxels, name=pair.case_id),
            prediction.grid.spacing,
        )


def _mask_dice(
    prediction: np.ndarray, reference: np.ndarray, members: Sequence[int]
) -> float:
    mask = np.isin(prediction, members) & (reference != IGNORE_INDEX)
    truth = np.isin(reference, members)
    return _dice(int((mask & truth).sum()), int(mask.sum()), int(truth.sum()))


def _dice(shared: int, predicted: int, reference: int) -> float:
    """Dice; rightly finding nothing counts as 1, so that it can be gained."""
    total = predicted + reference
    return 2 * shared / total if total else 1.0


def _reason(found: tuple[float, float, float], num_cases: int) -> str:
    return (
        f"mean Dice {found[0]:+.4f} ({found[1]:.4f} to {found[2]:.4f}) on the "
        f"{num_cases} held-out cases it was chosen on"
    )
