"""Trained models of other tools, as model folders of medseg."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from medseg.bundle_recipe import BundleRecipe
from medseg.conversion.fast_agreement import measure_fast
from medseg.errors import MissingFileError, OutputError, SettingsError
from medseg.files import atomic_folder
from medseg.imported.bundle import read_bundle
from medseg.imported.bundle_folder import is_bundle
from medseg.imported.imported_model import ImportedModel
from medseg.imported.nnunet import read_nnunet
from medseg.imported.nnunet_folder import is_nnunet
from medseg.model import Model, save_model
from medseg.nnunet_recipe import FastAgreement, NnUNetRecipe
from medseg.prediction.ensemble import PREVIOUS_STAGE, ensemble_of
from medseg.prediction.exact_model import LEAST_DICE
from medseg.progress import Progress, Silent


def import_model(
    source: Path,
    out: Path,
    *,
    configuration: str | None = None,
    previous: Path | None = None,
    orientation: str | None = None,
    as_planned: bool = False,
    overrides: Sequence[str] = (),
    calibrate: Path | None = None,
    device: str = "auto",
    progress: Progress | None = None,
) -> ImportedModel:
    """Writes another tool's trained model as a model folder, or several folds as many.

    Args:
        source: Of nnU-Net v2 the folder (``TRAINER__PLANS__CONFIGURATION``) or one
            above it, of MONAI the bundle's folder; or a zip.
        out: A folder to be made; it must not be there yet.
        configuration: Which, where there are several, such as ``3d_fullres``.
        previous: For a cascade, the folder of its first stage; by default the one
            called ``3d_lowres`` beside it.
        orientation: Axes of the training files, such as ``LPS``, if they are known.
        as_planned: Take a trainer of unknown name to build the network of its plans.
        overrides: Of a bundle, texts ``place=value`` for values of inference.json.
        calibrate: Scans to measure on how far fast mode is from exact mode.
        device: Where to measure.
        progress: Is told what was imported.

    Raises:
        MissingFileError: There is no model.
        ModelError: Something in it is not known, or is refused; it is named.
        OutputError: The folder is there already, or cannot be written.
        SettingsError: An option belongs to models of another tool.
    """
    shown = progress or Silent()
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise OutputError(f"{out}: is there already; name a folder that is not")
    if not source.exists():
        raise MissingFileError(f"{source}: no such file or folder")
    if is_bundle(source):
        _require_unused(
            {
                "--configuration": configuration,
                "--previous": previous,
                "--orientation": orientation,
                "--as-planned": as_planned,
                "--calibrate": calibrate,
            },
            "a MONAI bundle",
        )
        imported = read_bundle(source, overrides=overrides)
    elif is_nnunet(source):
        _require_unused({"--set": overrides}, "a model of nnU-Net")
        imported = read_nnunet(
            source,
            configuration=configuration,
            previous=previous,
            orientation=orientation,
            as_planned=as_planned,
        )
    else:
        raise MissingFileError(
            f"{source}: no trained model of nnU-Net v2 and no MONAI bundle here; "
            "expected a folder with plans.json, dataset.json and "
            "fold_*/checkpoint_final.pth, one with configs/inference.json and "
            "models/model.pt, or a zip of such"
        )
    if calibrate is not None:
        agreement = measure_fast(
            ensemble_of(source, imported), calibrate, device=device, progress=shown
        )
        imported = _with_agreement(imported, agreement)
    write_imported(imported, out)
    shown.say(_in_words(imported, out))
    return imported


def _require_unused(options: Mapping[str, object], what: str) -> None:
    """Refuses options that mean nothing to a model.

    Raises:
        SettingsError: One of them was given.
    """
    if given := [name for name, value in options.items() if value]:
        raise SettingsError(f"{given[0]}: {what} knows no such option; leave it out")


def write_imported(imported: ImportedModel, out: Path) -> None:
    """Writes the model folder whole, or not at all.

    One fold is a model folder; several are folders ``fold_N`` in it, as the runs of an
    ensemble are. The first stage of a cascade lies in ``previous_stage``.

    Raises:
        OutputError: It cannot be written.
    """
    with atomic_folder(out) as temporary:
        if len(imported.models) == 1:
            single = temporary / "model"
            _save(imported.models[0], single)
            for file in sorted(single.iterdir()):
                file.replace(temporary / file.name)
            single.rmdir()
        else:
            _save_folds(imported.models, imported.folds, temporary)
        if imported.previous is not None:
            before, place = imported.previous, temporary / PREVIOUS_STAGE
            _save_folds(before.models, before.folds, place)


def _save_folds(models: Sequence[Model], folds: Sequence[str], folder: Path) -> None:
    for model, fold in zip(models, folds, strict=True):
        _save(model, folder / f"fold_{fold}")


def _save(model: Model, folder: Path) -> None:
    save_model(
        folder,
        model.network,
        model.plan,
        model.provenance,
        flips=model.flips,
        exact=model.exact,
    )


def _with_agreement(imported: ImportedModel, agreement: FastAgreement) -> ImportedModel:
    models = []
    for model in imported.models:
        assert isinstance(model.exact, NnUNetRecipe)
        recipe = model.exact.replaced(fast=agreement)
        models.append(replace(model, exact=recipe))
    return replace(imported, models=tuple(models))


def _in_words(imported: ImportedModel, out: Path) -> str:
    model = imported.models[0]
    recipe, plan = model.exact, model.plan
    assert recipe is not None
    lines = [
        f"{out}: {plan.name}, from {recipe.origin(model.provenance.dataset)}",
        f"structures: {', '.join(plan.labels.regions or plan.labels.structures)}",
        f"licence: {model.provenance.licence or 'not stated'}",
        *imported.notes,
    ]
    if isinstance(recipe, BundleRecipe):
        return "\n".join((*lines, "predicts as MONAI does (exact mode)"))
    lines += [
        f"folds: {', '.join(imported.folds)}",
        "predicts as nnU-Net does (exact mode)"
        + ("" if recipe.turned_to else "; scans are taken in the axes of their files"),
    ]
    if recipe.keep_largest:
        lines.append(f"post-processing: {len(recipe.keep_largest)} steps")
    if recipe.fast is not None:
        fine = recipe.fast.smallest >= LEAST_DICE
        lines.append(
            f"fast mode: Dice {recipe.fast.smallest:.4f} and more against exact mode "
            f"on {recipe.fast.num_scans} scans; {'allowed' if fine else 'not allowed'}"
        )
    return "\n".join(lines)
