"""Which DICOM series feed a model: one rule for all, or one for each channel."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from medseg.errors import SettingsError
from medseg.io.dicom.series_selection import SeriesRule, parse_rule


@dataclass(frozen=True)
class SeriesRules:
    """What ``--series`` asks for.

    Attributes:
        wanted: Conditions that every series must meet.
        by_channel: Conditions that tell a channel's series from the others.
    """

    wanted: SeriesRule = field(default_factory=SeriesRule)
    by_channel: dict[str, SeriesRule] = field(default_factory=dict)

    @property
    def text(self) -> str:
        """The rules in one line, the same for equal rules."""
        parts = [_text_of(self.wanted)]
        parts += [f"{name}:{_text_of(rule)}" for name, rule in self.by_channel.items()]
        return "; ".join(filter(None, parts))


def parse_series_rules(
    texts: Sequence[str], *, channels: tuple[str, ...]
) -> SeriesRules:
    """Rules from texts such as ``Modality=MR`` and ``flair:Description~flair``.

    A text that begins with a channel's name and a colon chooses that channel's
    series; any other must hold for every series.

    Raises:
        SettingsError: A rule cannot be understood, or a channel has none while
            others do.
    """
    wanted: list[str] = []
    by_channel: dict[str, SeriesRule] = {}
    known = {name.lower(): name for name in channels}
    for text in texts:
        head, colon, rule = text.partition(":")
        name = known.get(head.strip().lower()) if colon else None
        if name is None:
            wanted.append(text)
        elif name in by_channel:
            raise SettingsError(f"--series: channel {name} has two rules")
        else:
            by_channel[name] = parse_rule(rule)
    missing = [name for name in channels if name not in by_channel]
    if by_channel and missing:
        raise SettingsError(
            f"--series: no rule for {', '.join(missing)}; with a rule for one channel, "
            "every channel needs one"
        )
    ordered = {name: by_channel[name] for name in channels if name in by_channel}
    return SeriesRules(parse_rule(",".join(wanted)), ordered)


def _text_of(rule: SeriesRule) -> str:
    return ",".join(f"{c.keyword}{c.operator}{c.value}" for c in rule.conditions)
