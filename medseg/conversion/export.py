"""A trained model as a file that other programs run."""

from pathlib import Path

from medseg.conversion.monai_bundle import write_bundle
from medseg.conversion.plain_formats import write_onnx, write_torchscript
from medseg.conversion.portable import Portable
from medseg.errors import ModelError, OutputError, SettingsError
from medseg.files import atomic_folder
from medseg.prediction.ensemble import load_ensemble
from medseg.progress import Progress, Silent

WRITERS = {
    "onnx": write_onnx,
    "torchscript": write_torchscript,
    "monai-bundle": write_bundle,
}


def export(
    model_folder: Path, out: Path, *, to: str, progress: Progress | None = None
) -> str:
    """Writes a folder with the network, an example and a page on how to use it.

    The folder appears only after what was written was read back, and computed the same
    as the network.

    Args:
        model_folder: A model folder, or a run that holds one.
        out: The folder; it must not be there yet.
        to: ``onnx``, ``torchscript`` or ``monai-bundle``.
        progress: Is told what was written.

    Returns:
        How it was checked, in words.

    Raises:
        MissingFileError: There is no model.
        ModelError: The model folder is damaged or holds several models, or what was
            written does not compute the same.
        SettingsError: There is no such format, or a library for it is missing.
        OutputError: The folder is there already, or cannot be written.
    """
    if to not in WRITERS:
        raise SettingsError(f"--to {to}: expected one of {', '.join(WRITERS)}")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise OutputError(f"{out}: is there already; name a folder that is not")
    members = load_ensemble(model_folder)
    if len(members.models) > 1:
        raise ModelError(
            f"{model_folder}: holds {len(members.models)} models; export them one by "
            "one, and average their logits where they are used"
        )
    if members.combined.exact is not None and members.combined.exact.cascade:
        raise ModelError(
            f"{model_folder}: needs the label maps of a previous stage, which no other "
            "program makes; it cannot be exported"
        )
    if to == "monai-bundle" and members.combined.plan.instance_target != "none":
        raise ModelError(
            f"{model_folder}: numbers single objects by watershed, which no bundle "
            "does; use --to onnx, or predict with medseg"
        )
    with atomic_folder(out) as temporary:
        checked = WRITERS[to](temporary, Portable(members.combined))
    if progress is None:
        progress = Silent()
    progress.say(f"{out}: {to} of model {members.combined.identity}\n{checked}")
    return checked
