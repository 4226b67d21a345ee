"""DICOM series as scans: every volume, or one series for each channel of a study."""

from collections import defaultdict
from collections.abc import Sequence

from medseg.io.identity import Pseudonymizer
from medseg.io.sources import ScanSource
from medseg.plan import ChannelPlan
from medseg.prediction.modality import modality_fault
from medseg.prediction.scan import Scan
from medseg.prediction.series_rules import SeriesRules

NOT_CHOSEN = "not chosen by the series rules"


def scans_of_series(
    sources: Sequence[ScanSource],
    channels: Sequence[ChannelPlan],
    rules: SeriesRules,
    names: Pseudonymizer,
) -> list[Scan]:
    """The scans that series make up, and what is set aside, with reasons.

    Args:
        sources: One volume, or one object that is no image, each.
        channels: The model's channels, in order.
        rules: Which series are wanted, and for which channel.
        names: Gives studies their names.
    """
    aside = {id(s): _reason(s, rules) for s in sources}
    scans = [_set_aside(s, aside[id(s)]) for s in sources if aside[id(s)]]
    wanted = [source for source in sources if not aside[id(source)]]
    if len(channels) == 1:
        rule = rules.by_channel.get(channels[0].name)
        for source in wanted:
            assert source.series is not None
            if rule is not None and not rule.chooses(source.series):
                scans.append(_set_aside(source, NOT_CHOSEN))
            else:
                scans.append(_single(source, channels[0]))
        return scans
    studies: dict[str, list[ScanSource]] = defaultdict(list)
    for source in wanted:
        assert source.series is not None
        studies[source.series.attributes["StudyInstanceUID"]].append(source)
    for uid, found in studies.items():
        name = f"study_{names.name(uid or str(found[0].files[0]))}"
        scans += _study(name, found, channels, rules)
    return scans


def _reason(source: ScanSource, rules: SeriesRules) -> str:
    """Why a series is no scan whatever the channel; empty if it may be one."""
    assert source.series is not None
    if source.reason:
        return source.reason
    return "" if rules.wanted.chooses(source.series) else NOT_CHOSEN


def _set_aside(source: ScanSource, reason: str) -> Scan:
    return Scan(
        source.name, (source,), source.shown, reason=reason, is_fault=source.is_fault
    )


def _single(source: ScanSource, channel: ChannelPlan) -> Scan:
    assert source.series is not None
    reason = modality_fault(source.series.attributes["Modality"], channel)
    return Scan(
        source.name, (source,), source.shown, reason=reason, is_fault=bool(reason)
    )


def _study(
    name: str,
    found: list[ScanSource],
    channels: Sequence[ChannelPlan],
    rules: SeriesRules,
) -> list[Scan]:
    """One scan of a study, and a line for each of its series that is not used."""
    shown = found[0].shown
    if not rules.by_channel:
        example = f"{channels[0].name}:Description~{channels[0].name.lower()}"
        reason = (
            f"a study of {len(found)} series, the model wants {len(channels)} channels "
            f"({', '.join(c.name for c in channels)}); say for each which series it "
            f'is, such as --series "{example}"'
        )
        return [Scan(name, tuple(found), shown, reason=reason, is_fault=True)]
    chosen: list[ScanSource] = []
    faults: list[str] = []
    for channel in channels:
        rule = rules.by_channel[channel.name]
        fitting = [s for s in found if s.series and rule.chooses(s.series)]
        faults += _channel_faults(channel, fitting)
        chosen += fitting[:1]
    if len({id(source) for source in chosen}) < len(chosen):
        faults.append("one series was chosen for several channels")
    used = found if faults else chosen
    rest = [s for s in found if not any(s is other for other in used)]
    scan = Scan(
        name, tuple(used), shown, reason="; ".join(faults), is_fault=bool(faults)
    )
    return [scan, *(_set_aside(source, NOT_CHOSEN) for source in rest)]


def _channel_faults(channel: ChannelPlan, fitting: list[ScanSource]) -> list[str]:
    if not fitting:
        return [f"no series fits the rule of channel {channel.name}"]
    if len(fitting) > 1:
        listed = ", ".join(_described(source) for source in fitting[:5])
        return [
            f"{len(fitting)} series fit the rule of channel {channel.name} ({listed}); "
            "make it narrower"
        ]
    assert fitting[0].series is not None
    fault = modality_fault(fitting[0].series.attributes["Modality"], channel)
    return [fault] if fault else []


def _described(source: ScanSource) -> str:
    """Number, part and count of slices; never the free text of a header."""
    assert source.series is not None
    number = source.series.attributes["SeriesNumber"]
    words = [f"Number={number}" if number.isdigit() else source.name]
    words += [f"Part={source.series.part}"] if source.series.part else []
    return " ".join([*words, f"Slices={len(source.series.frames)}"])
