"""An imported model on its device, as the tool that it comes from would run it."""

import torch

from medseg.bundle_recipe import BundleRecipe
from medseg.errors import ModelError, SettingsError
from medseg.inference.bundle.predictor import BundlePredictor
from medseg.inference.exact_predictor import ExactPredictor
from medseg.inference.memory_plan import window_bytes
from medseg.inference.nnunet.predictor import NnUNetPredictor
from medseg.inference.nnunet.windows import Predict
from medseg.inference.settings import InferenceSettings
from medseg.model import Model
from medseg.networks.folding import inference_form
from medseg.nnunet_recipe import NnUNetRecipe
from medseg.prediction.ensemble import Ensemble
from medseg.progress import Progress

LEAST_DICE = 0.999
"""Of every structure of every scan that fast mode was measured on, against exact."""


def exact_predictor(
    members: Ensemble,
    where: torch.device,
    settings: InferenceSettings,
    *,
    progress: Progress,
) -> tuple[ExactPredictor, str]:
    """What segments in the place of medseg's own predictor, and in words how.

    Args:
        members: The imported model.
        where: Its device.
        settings: In fast mode the networks run on the engine that they choose.
        progress: Told of engines that are measured.

    Raises:
        ModelError: The previous stage of a cascade is missing, or fast mode was not
            measured for the model.
        SettingsError: The engine that was named cannot be had here, or a bound of
            memory that was given cannot be held.
        PredictionError: It does not agree with torch.
    """
    joint = members.combined
    require_bounds_that_hold(joint, settings)
    if settings.fast:
        require_calibrated(joint)
    if isinstance(joint.exact, BundleRecipe):
        network = joint.network.to(where)
        predictor = BundlePredictor(network, joint.plan, joint.exact, where, settings)
        return predictor, "torch float32, MONAI's own transforms and inferer"
    return _nnunet_predictor(members, where, settings, progress)


def _nnunet_predictor(
    members: Ensemble,
    where: torch.device,
    settings: InferenceSettings,
    progress: Progress,
) -> tuple[NnUNetPredictor, str]:
    recipe, before = members.combined.exact, members.previous
    assert isinstance(recipe, NnUNetRecipe)
    if recipe.cascade and before is None:
        raise ModelError(
            f"{members.folders[0]}: the network needs the label maps of a previous "
            "stage, and that model is missing; import it again with --previous"
        )
    networks: tuple[Predict, ...]
    if settings.fast:
        full = settings  # short formats move borders farther than fast mode may
        if settings.precision == "auto":
            full = settings.replaced(precision="float32")
        engines = members.engines(full, device=where, progress=progress)
        networks = tuple(engines)
        words = " and ".join(dict.fromkeys(str(engine.variant) for engine in engines))
    else:
        networks = tuple(
            inference_form(model.network, device=where) for model in members.models
        )
        words = "torch float32"
    folds = len(members.models)
    words += ", nnU-Net's own steps"
    words += f", mean logits of {folds} folds" if folds > 1 else ""
    if recipe.mirror_axes and settings.flips is not False:
        words += ", test-time flips averaged"
    previous = None
    if before is not None:
        previous, _ = _nnunet_predictor(before, where, settings, progress)
    predictor = NnUNetPredictor(
        networks=networks,
        plan=members.combined.plan,
        recipe=recipe,
        device=where,
        settings=settings,
        previous=previous,
        window_bytes=_window_bytes(members, recipe, settings),
    )
    return predictor, words


def _window_bytes(
    members: Ensemble, recipe: NnUNetRecipe, settings: InferenceSettings
) -> int:
    """What a network takes for a window; 0 where nobody asks."""
    if settings.max_ram is None:
        return 0
    plan = members.combined.plan
    inputs = len(plan.channels) + recipe.extra_channels
    return window_bytes(
        members.combined.network,
        (inputs, *plan.patch_size),
        num_outputs=plan.num_outputs,
    )


def require_bounds_that_hold(saved: Model, settings: InferenceSettings) -> None:
    """Refuses a bound of memory that an imported model would not keep.

    Raises:
        SettingsError: One was given; says why not.
    """
    is_bundle = isinstance(saved.exact, BundleRecipe)
    if is_bundle and (settings.max_ram is not None or settings.max_vram is not None):
        raise SettingsError(
            f"--max-ram, --max-vram: {saved.plan.name} is a MONAI bundle, whose "
            "transforms hold all classes of the whole scan at once, however little is "
            "allowed; leave the bound out, or segment parts of the scan"
        )
    if settings.max_vram is not None:
        size = " x ".join(map(str, saved.plan.patch_size))
        raise SettingsError(
            f"--max-vram: {saved.plan.name} is a model of nnU-Net, whose windows are "
            f"{size} voxels, one at a time, and cannot be smaller; leave it out, or "
            "take --device cpu"
        )


def require_calibrated(saved: Model) -> None:
    """Refuses fast mode for a model whose difference from exact is not known.

    Raises:
        ModelError: It was not measured, or is too large.
    """
    assert saved.exact is not None
    if isinstance(saved.exact, BundleRecipe):
        raise ModelError(
            f"{saved.plan.name}: a MONAI bundle predicts by its own transforms alone; "
            "leave --fast out"
        )
    fast = saved.exact.fast
    if fast is None:
        raise ModelError(
            f"{saved.plan.name}: fast mode was not measured for this model; import it "
            "again with --calibrate SCANS, or leave --fast out"
        )
    if fast.smallest < LEAST_DICE:
        raise ModelError(
            f"{saved.plan.name}: fast mode was measured to differ from exact mode: "
            f"Dice {fast.smallest:.4f} on {fast.num_scans} scans, below "
            f"{LEAST_DICE:g}; leave --fast out"
        )
