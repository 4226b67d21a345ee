"""A data set planned as a trained model needs it, for training to go on from it."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from medseg.errors import SettingsError
from medseg.files import hash_text
from medseg.fingerprint import Fingerprint
from medseg.instances.targets import Target
from medseg.labels import LabelScheme
from medseg.plan import CONTRAST_LIMITS, ChannelPlan, Plan

PREPARED = ("reorient", "slice_axis", "target_spacing", "crop_nonzero")
"""Numbers of a plan, beside the channels, that prepared voxels depend on."""
TRAINED = ("patch_size", "batch_size", "network")
"""Numbers of a plan that training takes from the model."""


@dataclass(frozen=True)
class Inheritance:
    """What a plan takes over from that of a trained model.

    Attributes:
        parent: The model's plan.
        name: Of the model, for messages and reasons.
        channels: The model's name of a channel by the data set's, where they differ.
        structures: The same for structures.
    """

    parent: Plan
    name: str
    channels: Mapping[str, str] = field(default_factory=dict)
    structures: Mapping[str, str] = field(default_factory=dict)

    @property
    def key(self) -> str:
        """Hash of everything that prepared data depends on."""
        kept = {*PREPARED, "spatial_dims", "channels", "instance_target"}
        values = self.parent.model_dump_json(include=kept)
        return hash_text(values + json.dumps(dict(self.channels)))[:16]

    def plan(self, own: Plan, fingerprint: Fingerprint) -> Plan:
        """The plan of a data set that the model's training is continued on.

        Args:
            own: What would be planned without a model.
            fingerprint: What was measured on the data set.

        Raises:
            SettingsError: The model does not fit the data set; says in what.
        """
        parent = self.parent
        self.require_axes(own, fingerprint)
        lost = any(case.foreground_cropped for case in fingerprint.cases)
        changes = {
            "reorient": parent.reorient and not fingerprint.pictures,
            "slice_axis": parent.slice_axis,
            "target_spacing": parent.target_spacing,
            "crop_nonzero": parent.crop_nonzero and not lost,
            "channels": self._channels(own),
            "instance_target": self._target(own),
            **{key: getattr(parent, key) for key in TRAINED},
        }
        reasons = dict.fromkeys(changes, f"as {self.name}, which training begins with")
        return own.replaced(**changes, reasons={**own.reasons, **reasons})

    def on_prepared(self, plan: Plan, fingerprint: Fingerprint) -> Plan:
        """The plan of prepared data with the numbers that training inherits.

        Args:
            plan: Of the store.
            fingerprint: Of the store.

        Raises:
            SettingsError: The model does not fit the data; says in what.
        """
        self.require_axes(plan, fingerprint)
        self.sources_of_channels(plan.channel_names)
        target = self._target(plan)
        if plan.instance_target != target:
            raise SettingsError(
                f"{self.name}: learned {target} of single objects, and the data was "
                f"prepared for {plan.instance_target}; name the data set itself, and "
                "it is prepared as the model needs it"
            )
        return plan.replaced(**{key: getattr(self.parent, key) for key in TRAINED})

    def differences(self, plan: Plan) -> list[str]:
        """In what prepared data differs from what the model knows, in words."""
        found = [
            f"{key} {_shown(getattr(plan, key))} instead of "
            f"{_shown(getattr(self.parent, key))}"
            for key in PREPARED
            if getattr(plan, key) != getattr(self.parent, key)
        ]
        sources = self.sources_of_channels(plan.channel_names)
        for channel, source in zip(plan.channels, sources, strict=True):
            if source is None:
                continue
            theirs = self.parent.channels[source]
            if _normalized(channel) != _normalized(theirs):
                found.append(f"another normalization of channel {channel.name}")
        return found

    def require_axes(self, plan: Plan, fingerprint: Fingerprint) -> None:
        """Refuses a network for volumes on slices, and the reverse.

        Raises:
            SettingsError: The number of axes differs.
        """
        dims = self.parent.spatial_dims
        flat = bool((fingerprint.shapes.min(axis=1) == 1).all())
        if plan.spatial_dims == dims and not (dims == 3 and flat):
            return
        found = "slices" if flat else f"planned in {plan.spatial_dims}D"
        raise SettingsError(
            f"{self.name}: a network in {dims}D, and the data set is {found}; begin "
            f"with a model in {2 if flat else plan.spatial_dims}D"
        )

    def sources_of_channels(self, names: tuple[str, ...]) -> tuple[int | None, ...]:
        """For each channel of the data set, the model's; None where it has none.

        Channels are matched by name, whatever the case of its letters; where no name
        is known to both and there are as many, by position.

        Raises:
            SettingsError: The data set lacks a channel that the model needs.
        """
        theirs = self.parent.channel_names
        found = _matched(names, theirs, self.channels, what="channels", of=self.name)
        strangers = all(source is None for source in found)
        if strangers and len(names) == len(theirs):
            return tuple(range(len(names)))
        optional = set(self.parent.optional_channels)
        missing = [
            name
            for index, name in enumerate(theirs)
            if index not in found and name not in optional
        ]
        if missing:
            raise SettingsError(
                f"{self.name}: needs the channels {', '.join(theirs)}, and the data "
                f"set has {', '.join(names)}: {', '.join(missing)} missing; if it has "
                "another name there, say so by training.init.channels, {DATA: MODEL}"
            )
        return found

    def sources_of_outputs(self, plan: Plan) -> tuple[int | None, ...]:
        """For each channel of the new logits, the model's; None where it has none.

        Classes, levels of single objects and overlapping regions are matched by name;
        logits of classes are none of regions.

        Raises:
            SettingsError: A name that was given is no structure.
        """
        ours, theirs = _outputs(plan), _outputs(self.parent)
        if bool(plan.targets.regions) != bool(self.parent.targets.regions):
            return (None,) * len(ours)
        return _matched(ours, theirs, self.structures, what="structures", of=self.name)

    def _channels(self, own: Plan) -> tuple[ChannelPlan, ...]:
        sources = self.sources_of_channels(own.channel_names)
        return tuple(
            channel
            if source is None
            else self.parent.channels[source].replaced(name=channel.name)
            for channel, source in zip(own.channels, sources, strict=True)
        )

    def _target(self, own: Plan) -> Target | Literal["none"]:
        """What is learned of single objects, where labels number them."""
        learned = self.parent.instance_target
        return own.instance_target if learned == "none" else _if_numbered(own, learned)


def _if_numbered(own: Plan, target: Target) -> Target | Literal["none"]:
    scheme: LabelScheme = own.labels
    return target if scheme.instances else "none"


def _outputs(plan: Plan) -> tuple[str, ...]:
    targets = plan.targets
    return tuple(targets.regions) or ("background", *targets.structures)


def _matched(
    ours: tuple[str, ...],
    theirs: tuple[str, ...],
    given: Mapping[str, str],
    *,
    what: str,
    of: str,
) -> tuple[int | None, ...]:
    """For each of our names the position of theirs.

    Raises:
        SettingsError: A name that was given is not there.
    """
    for name, source in given.items():
        for one, known in ((name, ours), (source, theirs)):
            if one not in known:
                whose = "the data set" if known is ours else of
                raise SettingsError(
                    f"training.init.{what}: {one} is none of those of {whose}: "
                    f"{', '.join(known)}"
                )
    places = {name.casefold(): index for index, name in enumerate(theirs)}
    return tuple(places.get(given.get(name, name).casefold()) for name in ours)


def _normalized(channel: ChannelPlan) -> str:
    return channel.model_dump_json(exclude={"name", *CONTRAST_LIMITS})


def _shown(value: object) -> str:
    if isinstance(value, tuple):
        return " x ".join(f"{part:g}" for part in value)
    return str(value)
