"""An imported model on its device, as the tool that it comes from would run it."""

import torch

from medseg.errors import ModelError
from medseg.inference.nnunet.predictor import NnUNetPredictor
from medseg.inference.settings import InferenceSettings
from medseg.model import Model
from medseg.networks.inference_form import inference_form
from medseg.prediction.ensemble import Ensemble

LEAST_DICE = 0.999
"""Of every structure of every scan that fast mode was measured on, against exact."""


def exact_predictor(
    members: Ensemble, where: torch.device, settings: InferenceSettings
) -> NnUNetPredictor:
    """What segments in the place of medseg's own predictor.

    Raises:
        ModelError: The previous stage of a cascade is missing.
    """
    recipe, before = members.joint.exact, members.previous
    assert recipe is not None
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
        previous=exact_predictor(before, where, settings) if before else None,
    )


def require_calibrated(saved: Model) -> None:
    """Refuses fast mode for a model whose difference from exact is not known.

    Raises:
        ModelError: It was not measured, or is too large.
    """
    assert saved.exact is not None
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
    assert recipe is not None
    words = "torch float32, nnU-Net's own steps"
    words += f", mean logits of {folds} folds" if folds > 1 else ""
    flips = recipe.mirror_axes and settings.flips is not False
    return words + (", test-time flips averaged" if flips else "")
