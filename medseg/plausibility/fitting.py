"""Ranges and limits from the cases of a run.

Ranges run from the 5th to the 95th percentile of training cases. How far beyond them a
scan may lie is calibrated as in split conformal prediction (Vovk, Gammerman and
Shafer, Algorithmic Learning in a Random World, 2005; Lei et al., JASA 2018,
doi:10.1080/01621459.2017.1307116): of n patients whom the ranges were not made from,
each has a score in each family of measures (geometry, intensities, order of channels,
findings): the largest excess of any of its measures in any of their scans. A family's
limit is the ceil((n + 1)(1 - α))th smallest score. A new patient like them exceeds it
with a probability of at most α, where n is large enough, and else, with the largest of
the n scores as limit, of at most 1/(n + 1). α is 5 %; of the order of channels 10 %: a
few scans of nearly every training set look as if their channels were swapped, and 5 %
of fewer than 40 patients lets the worst of them decide. Only a scan that another order
fits better is suspect by it, so that its rate is smaller. A scan is suspect by any
family: the bounds add up.

Scores of scans are cross-fitted (Vovk, Ann Math Artif Intell 2015,
doi:10.1007/s10472-013-9368-4): each patient's scan is compared with ranges of the
other folds' patients, so that all cases of a run count; no network is involved. That
rests on folds being alike, and the bound is then approximate. Scores of what was found
come from predictions for held-out cases, compared with the references of training.
"""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from medseg.plausibility.channel_pairs import (
    names_as_they_look,
    orders_of,
    pairs_of,
    reordered,
    swapped,
)
from medseg.plausibility.judgement import excess_by_family, profiles_of, spell_out
from medseg.plausibility.measure import BINARY, Measures, range_of
from medseg.plausibility.scan_measures import Profiles, ScanMeasures
from medseg.training_ranges import (
    ChannelPair,
    ChannelProfile,
    Family,
    Limit,
    MeasureRange,
    TrainingRanges,
)

ALPHA: dict[Family, float] = {
    "geometry": 0.05,
    "intensities": 0.05,
    "order": 0.1,
    "findings": 0.05,
}
"""Share of patients like those of training whom a family may call suspect."""
SHARE = 0.05
"""Quantile at either end of a range."""
FOLDS = 5
"""Of cross-fitting; patients where there are fewer."""
LEAST_EXCESS: dict[Family, float] = {
    "geometry": 0.25,
    "intensities": 0.25,
    "order": 0.05,
    "findings": 0.25,
}
"""So far beyond its range, in widths of it, nothing is suspect."""
FIXED_EXCESS = 2.0
"""The limit where there is no patient to calibrate it on."""

Scores = Mapping[Family, Mapping[str, float]]
"""By family, the score of each patient."""


@dataclass(frozen=True)
class MeasuredRun:
    """What was measured on the cases of a run, by case.

    Attributes:
        patients: The patient of each case.
        scans: Measures of all cases' scans.
        references: Measures of the label maps that were learned from.
        predictions: Measures of the predictions for held-out cases.
    """

    patients: Mapping[str, str]
    scans: Mapping[str, ScanMeasures]
    references: Mapping[str, Measures]
    predictions: Mapping[str, Measures]


def fit_ranges(run: MeasuredRun) -> TrainingRanges:
    """Ranges, limits, and how often the limits raise a false alarm.

    Args:
        run: At least one scan and its reference were measured.
    """
    typical = Profiles.of_scans(list(run.scans.values()))
    scans = _ranges([scan.against(typical) for scan in run.scans.values()])
    findings = _ranges(list(run.references.values()))
    findings = _without_common_oddities(findings, list(run.predictions.values()))
    found = {c: excess_by_family(m, findings) for c, m in run.predictions.items()}
    scores = {
        **_by_family(cross_fitted(run.scans, run.patients), run.patients),
        **_by_family(found, run.patients),
    }
    judged, alarms = count_false_alarms(scores, scores.get("findings", {}))
    limits = {f: limit_of(f, list(scores.get(f, {}).values())) for f in LEAST_EXCESS}
    return TrainingRanges(
        num_cases=len(run.scans),
        ranges=(*scans, *findings),
        profiles=tuple(ChannelProfile(mean=_short(mean)) for mean in typical.mean),
        pairs=_pairs(run, typical, limits["order"]),
        limits=limits,
        num_judged=judged,
        num_false_alarms=alarms,
    )


def odd_cases(run: MeasuredRun, ranges: TrainingRanges) -> dict[str, tuple[str, ...]]:
    """Cases of a run that its own ranges and limits call suspect, and why.

    Where many were measured, the few beyond their limits are among them by design.
    """
    typical = profiles_of(ranges)
    odd = {}
    for case, scan in run.scans.items():
        measures = {**scan.against(typical), **run.predictions.get(case, {})}
        if doubts := spell_out(measures, ranges.ranges, ranges.limits):
            odd[case] = doubts
    return odd


@dataclass(frozen=True)
class Fold:
    """Scans of some patients, and what those of all others look like."""

    typical: Profiles
    ranges: tuple[MeasureRange, ...]
    cases: tuple[str, ...]


def folds_of(
    scans: Mapping[str, ScanMeasures], patients: Mapping[str, str]
) -> Iterator[Fold]:
    """Each scan once, with ranges of other patients' scans.

    None where there is one patient, whose scans nothing can be compared with.
    """
    people = sorted({patients[case] for case in scans})
    if len(people) < 2:
        return
    fold = {person: n % min(FOLDS, len(people)) for n, person in enumerate(people)}
    for number in sorted(set(fold.values())):
        inside = [scans[c] for c in scans if fold[patients[c]] != number]
        typical = Profiles.of_scans(inside)
        ranges = _ranges([scan.against(typical) for scan in inside])
        cases = tuple(case for case in scans if fold[patients[case]] == number)
        yield Fold(typical, ranges, cases)


def cross_fitted(
    scans: Mapping[str, ScanMeasures], patients: Mapping[str, str]
) -> dict[str, dict[Family, float]]:
    """The excess of each scan over ranges of other patients' scans."""
    return {
        case: excess_by_family(scans[case].against(fold.typical), fold.ranges)
        for fold in folds_of(scans, patients)
        for case in fold.cases
    }


def _pairs(
    run: MeasuredRun, typical: Profiles, limit: Limit
) -> tuple[ChannelPair, ...]:
    """What tells each pair of channels apart, tried on swapped scans of each fold."""
    names = next(iter(run.scans.values())).channels
    if not typical.directions.size:
        return ()
    pairs = pairs_of(len(names))
    noticed, count = np.zeros(len(pairs), dtype=int), 0
    for fold in folds_of(run.scans, run.patients):
        for scan in (run.scans[case] for case in fold.cases):
            if not scan.is_distinct or not fold.typical.directions.size:
                continue
            count += 1
            for n, (a, b) in enumerate(pairs):
                changed = reordered(scan.pairs, swapped(len(names), a, b))
                measures = replace(scan, pairs=changed).against(fold.typical)
                excess = excess_by_family(measures, fold.ranges).get("order", 0.0)
                noticed[n] += excess > limit.excess
    return tuple(
        ChannelPair(
            of=(names[a], names[b]),
            direction=tuple(float(f"{w:.4g}") for w in direction),
            num_noticed=int(noticed[n]),
            num_scans=count,
        )
        for n, ((a, b), direction) in enumerate(
            zip(pairs, typical.directions, strict=True)
        )
    )


def limit_of(family: Family, scores: Sequence[float]) -> Limit:
    """The limit that scores of patients like later ones give.

    Args:
        family: What was scored.
        scores: One for each patient.
    """
    count = len(scores)
    if not count:
        return Limit(excess=FIXED_EXCESS)
    rank = min(math.ceil((count + 1) * (1 - ALPHA[family])), count)
    excess = max(sorted(scores)[rank - 1], LEAST_EXCESS[family])
    bound = (count + 1 - rank) / (count + 1)
    return Limit(excess=excess, num_patients=count, false_alarm_bound=bound)


def count_false_alarms(scores: Scores, people: Iterable[str]) -> tuple[int, int]:
    """How many patients limits from the others would call suspect.

    Args:
        scores: Of all patients.
        people: Those to judge: the held-out ones.

    Returns:
        Patients who could be judged, and those called suspect.
    """
    judged = [p for p in people if all(len(s) > 1 for s in scores.values() if p in s)]
    alarms = 0
    for person in judged:
        alarms += any(
            own[person]
            > limit_of(family, [s for p, s in own.items() if p != person]).excess
            for family, own in scores.items()
            if person in own
        )
    return len(judged), alarms


def _ranges(cases: Sequence[Measures]) -> tuple[MeasureRange, ...]:
    """The range of each measure that any case has."""
    names = dict.fromkeys(name for measures in cases for name in measures)
    ranges = []
    for kind, of in names:
        if kind == "arrangement":
            continue
        values = [m[kind, of] for m in cases if (kind, of) in m]
        ranges.append(range_of(kind, of, np.asarray(values), share=SHARE))
    return (*ranges, *_arrangements(cases))


def _arrangements(cases: Sequence[Measures]) -> Iterator[MeasureRange]:
    """The range of margins, for every order that a later scan's may look like.

    It begins at 0 at most: where the given order fits best, nothing is wrong with it.
    """
    margins = [
        value for case in cases for (kind, _), value in case.items()
        if kind == "arrangement"
    ]  # fmt: skip
    if not margins:
        return
    names = tuple(of[0] for kind, of in cases[0] if kind == "rim")
    one = range_of("arrangement", names, np.asarray(margins), share=SHARE)
    one = one.replaced(low=min(one.low, 0.0))
    for order in orders_of(len(names))[1:]:
        yield one.replaced(of=names_as_they_look(names, order))


def _without_common_oddities(
    ranges: Sequence[MeasureRange], predictions: Sequence[Measures]
) -> tuple[MeasureRange, ...]:
    """Ranges of either-or measures widened by what predictions for held-out cases show.

    Such a measure is odd or is not; were it odd in a healthy scan, it could only raise
    the limit for all others.
    """
    widened = []
    for one in ranges:
        seen = [m[one.kind, one.of] for m in predictions if (one.kind, one.of) in m]
        if one.kind in BINARY and seen:
            low, high = min(one.low, *seen), max(one.high, *seen)
            one = one.replaced(low=low, high=high)
        widened.append(one)
    return tuple(widened)


def _by_family(
    scores: Mapping[str, Mapping[Family, float]], patients: Mapping[str, str]
) -> dict[Family, dict[str, float]]:
    """The largest score of each patient's scans, by family."""
    worst: dict[Family, dict[str, float]] = {}
    for case, found in scores.items():
        for family, score in found.items():
            own = worst.setdefault(family, {})
            own[patients[case]] = max(score, own.get(patients[case], 0.0))
    return worst


def _short(values: np.ndarray) -> tuple[float, ...]:
    """Four decimals are enough, and make a small file."""
    return tuple(round(float(value), 4) for value in values)
