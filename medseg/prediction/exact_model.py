"""An imported model on its device, as the tool that it comes from would run it."""

from typing import TypeAlias

import torch

from medseg.bundle_recipe import BundleRecipe
from medseg.errors import ModelError
from medseg.inference.bundle.predictor import BundlePredictor
from medseg.inference.nnunet.predictor import NnUNetPredictor
from medseg.inference.settings import InferenceSettings
from medseg.model import Model
from medseg.networks.inference_form import inference_form
from medseg.nnunet_recipe import NnUNetRecipe
from medseg.prediction.ensemble import Ensemble
from medseg.prediction.task_predictor import TaskPredictor

ExactPredictor: TypeAlias = NnUNetPredictor | BundlePredictor | TaskPredictor
"""Segments as the tool would that a model was imported from, or by several models."""

LEAST_DICE = 0.999
"""Of every structure of every scan that fast mode was measured on, against exact."""


def exact_predictor(
    members: Ensemble, where: torch.device, settings: InferenceSettings
) -> NnUNetPredictor | BundlePredictor:
    """What segments in the place of medseg's own predictor.

    Raises:
        ModelError: The previous stage of a cascade is missing.
    """
    joint = members.joint
    if isinstance(joint.exact, BundleRecipe):
        network = joint.network.to(where)
        return BundlePredictor(network, joint.plan, joint.exact, where, settings)
    return _nnunet_predictor(members, where, settings)


def _nnunet_predictor(
    members: Ensemble, where: torch.device, settings: InferenceSettings
) -> NnUNetPredictor:
    recipe, before = members.joint.exact, members.previous
    assert isinstance(recipe, NnUNetRecipe)
    if recipe.cascade and before is None:
        raise ModelError(
            f"{members.folders[0]}: the network needs the label maps of a previous "
            "stage, and that model is missing; import it again with --previous"
        )
    return NnUNetPredictor(
        networks=tuple(
            inference_form(model.network, device=where) for model in members.models
        ),
        plan=members.joint.plan,
        recipe=recipe,
        device=where,
        settings=settings,
        previous=_nnunet_predictor(before, where, settings) if before else None,
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


def engine_in_words(members: Ensemble, settings: InferenceSettings) -> str:
    """What runs an imported model in exact mode, for the record."""
    recipe, folds = members.joint.exact, len(members.models)
    if isinstance(recipe, BundleRecipe):
        return "torch float32, MONAI's own transforms and inferer"
    assert recipe is not None
    words = "torch float32, nnU-Net's own steps"
    words += f", mean logits of {folds} folds" if folds > 1 else ""
    flips = recipe.mirror_axes and settings.flips is not False
    return words + (", test-time flips averaged" if flips else "")
