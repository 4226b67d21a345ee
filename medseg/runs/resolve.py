"""A configuration with everything decided that it left open."""

from medseg.augmentation.settings import AugmentationSettings, suggest_augmentation
from medseg.errors import SettingsError
from medseg.fingerprint import Fingerprint
from medseg.labels import LabelScheme
from medseg.networks.settings import PluginNetworkSettings, UNetSettings
from medseg.plan import Plan
from medseg.preparation.presets import apply_preset
from medseg.runs.config import RunConfig
from medseg.settings import parse_settings
from medseg.training.settings import TrainingSettings

DEFAULT_EPOCHS = 200
"""Length of a run that names none."""


def change_plan(plan: Plan, config: RunConfig, *, fingerprint: Fingerprint) -> Plan:
    """The plan with the numbers that the configuration replaces.

    Args:
        plan: Of the prepared data.
        config: Its ``plan`` names a preset, numbers, or both; numbers go first.
        fingerprint: Of the prepared data, which a preset is fitted to.

    Raises:
        SettingsError: The numbers do not fit the plan.
    """
    given = config.plan.model_dump(exclude_none=True, exclude={"preset"})
    augmentation = config.training.augmentation
    if augmentation is not None and augmentation.channel_dropout > 0:
        names = tuple(channel.name for channel in plan.channels)
        plan = plan.replaced(optional_channels=names)
    if config.plan.preset is not None:
        plan = apply_preset(plan, fingerprint, config.plan.preset)
    if not given:
        return with_settled_network(plan)
    require_used(config)
    reasons = {
        **plan.reasons,
        **dict.fromkeys(given, "set in the run's configuration"),
    }
    values = {**plan.model_dump(), **given, "reasons": reasons}
    return with_settled_network(parse_settings(Plan, values, source="plan"))


def with_settled_network(plan: Plan) -> Plan:
    """The plan with what a network by path leaves open: its sizes and its source.

    Raises:
        PluginError: It cannot be found or built, or does not take the patches.
    """
    network = plan.network
    if not isinstance(network, PluginNetworkSettings):
        return plan
    from medseg.networks.plugin_network import settled

    network = settled(
        network,
        spatial_dims=plan.spatial_dims,
        in_channels=len(plan.channels),
        out_channels=plan.num_outputs,
        patch_size=plan.patch_size,
    )
    return plan.replaced(network=network)


def require_used(config: RunConfig) -> None:
    """Refuses settings of a network that its others make useless.

    Raises:
        SettingsError: There are some.
    """
    network = config.plan.network
    try:
        if isinstance(network, UNetSettings):
            network.require_used()
    except ValueError as error:
        raise SettingsError(f"plan.network: {error}") from error


def settle_training(settings: TrainingSettings, plan: Plan) -> TrainingSettings:
    """The settings with what was left open decided: length and augmentation."""
    changes: dict[str, object] = {}
    if settings.budget is None and settings.epochs is None and settings.steps is None:
        changes["epochs"] = DEFAULT_EPOCHS
    if _leaves_open(settings.augmentation):
        suggested = suggest_augmentation(
            plan.patch_size,
            spacing=[s or 1.0 for s in plan.target_spacing][: plan.spatial_dims],
            has_sides=_has_sides(plan.labels) or plan.left_right_axis is None,
            left_right_axis=(plan.left_right_axis or 0) if plan.reorient else None,
            keep_zeros=any(channel.nonzero_only for channel in plan.channels),
        )
        given = settings.augmentation or AugmentationSettings()
        named = {name: getattr(given, name) for name in given.model_fields_set}
        changes["augmentation"] = suggested.replaced(**named)
    return settings.replaced(**changes)


def with_mirrors(plan: Plan, settings: TrainingSettings) -> Plan:
    """The plan of the model: it says what training mirrored."""
    augmentation = settings.augmentation
    axes: tuple[int, ...] | None = ()
    if augmentation is not None and augmentation.enabled:
        axes = augmentation.flip_axes
    return plan.replaced(mirror_axes=axes)


def _leaves_open(augmentation: AugmentationSettings | None) -> bool:
    """Whether some of it is to be suggested; a resolved configuration names all."""
    named = set() if augmentation is None else augmentation.model_fields_set
    return named != set(AugmentationSettings.model_fields)


def _has_sides(scheme: LabelScheme) -> bool:
    """Whether structures come in a left and a right."""
    words = {word for name in scheme.structures for word in _words(name)}
    return bool(words & {"left", "right", "lh", "rh", "l", "r"})


def _words(name: str) -> list[str]:
    return name.lower().replace("-", " ").replace("_", " ").split()
