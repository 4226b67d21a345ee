"""Trained models: loaded, applied, looked at, exported."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, TypedDict, Unpack, cast, overload

from medseg.api.shown import ShowProgress, shown
from medseg.conversion import export as exporting
from medseg.inference.settings import InferenceSettings
from medseg.io.in_memory import AnyImage
from medseg.io.object_files import parse_formats
from medseg.networks.analysis.costs import Precision
from medseg.networks.analysis.inspection import Inspection
from medseg.prediction import predict as predicting
from medseg.prediction.load import load_segmentation
from medseg.prediction.records import Prediction
from medseg.prediction.segmentation_model import SegmentationModel
from medseg.prediction.segmenter import ScanOptions
from medseg.runs.run import Run
from medseg.settings import parse_settings
from medseg.studies import inspect as inspecting
from medseg.types import AnyPath


class InferenceOptions(TypedDict, total=False):
    """How a model predicts; what is left out takes what its scores were made with."""

    flips: bool
    """Test-time flips along the axes that training mirrored."""
    overlap: float | Literal["auto"]
    """Share of a window that the next one sees again."""
    engine: Literal["auto", "torch", "torch-compile", "onnx", "openvino"]
    """What runs the network."""
    precision: Literal["auto", "float32", "bfloat16", "float16"]
    """Number format of the convolutions."""
    reproducible: bool
    """Only the reference engine, torch in float32."""
    roi: Literal["auto", "all", "body", "coarse"]
    """Where to look."""
    window_size: tuple[int, ...]
    """Voxels of a window."""
    batch_size: int
    """Windows per pass through the network."""
    max_ram: int | str
    """Most memory to hold, in bytes or such as ``"8g"``."""
    max_vram: int | str
    """The same on the GPU."""
    ensemble: Literal["logits", "probabilities"]
    """What is averaged over several models."""


def load_model(
    source: AnyPath | Run,
    *,
    device: str = "auto",
    postprocessing: bool = True,
    progress: ShowProgress = False,
    **options: Unpack[InferenceOptions],
) -> SegmentationModel:
    """A trained model, or several that predict together, ready to predict.

    Args:
        source: A model folder, a run, a folder of runs (an ensemble), several of these
            separated by commas, the name of a model that comes with medseg, such as
            ``"nuclei"``, or a model that MLflow keeps: ``runs:/RUN_ID`` or
            ``models:/NAME/VERSION``; a trained model of nnU-Net v2 or a MONAI bundle
            (folder or zip); or a YAML file with a task list.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:n``.
        postprocessing: Apply the rules that are kept with the model.
        progress: Show engines that are measured.
        options: Windows, flips and engine, as `medseg predict` takes them: ``flips``,
            ``overlap``, ``engine``, ``precision``, ``reproducible``, ``roi``,
            ``window_size``, ``batch_size``, ``max_ram``, ``max_vram``, ``ensemble``.

    Raises:
        MissingFileError: There is no model.
        ModelError: A model folder is damaged, or models do not fit together.
        SettingsError: There is no such device or engine, or an option is wrong.

    Examples:
        >>> import medseg
        >>> model = medseg.load_model("runs/tiny")  # trained by medseg.train
        >>> model.predict("tiny/imagesTr/tiny_000.nii.gz")
        LabelMap(24 x 28 x 20 uint8, 1 x 1 x 1.5 mm, RAS)
    """
    return load_segmentation(
        _folder(source),
        device=device,
        settings=_settings(options),
        postprocess=postprocessing,
        progress=shown(progress),
    )


@overload
def predict(
    model: AnyPath | Run | SegmentationModel,
    images: AnyImage | AnyPath | Sequence[AnyPath],
    out: None = None,
    *,
    device: str = ...,
    series: Sequence[str] = ...,
    strict: bool = ...,
    progress: ShowProgress = ...,
    **options: Unpack[InferenceOptions],
) -> Any: ...
@overload
def predict(
    model: AnyPath | Run | SegmentationModel,
    images: AnyPath,
    out: AnyPath,
    *,
    device: str = ...,
    series: Sequence[str] = ...,
    strict: bool = ...,
    overwrite: bool = ...,
    probabilities: bool = ...,
    seg: bool = ...,
    sr: bool = ...,
    cells_as: Sequence[str] = ...,
    key: AnyPath | None = ...,
    progress: ShowProgress = ...,
    **options: Unpack[InferenceOptions],
) -> list[Prediction]: ...
def predict(
    model: AnyPath | Run | SegmentationModel,
    images: AnyImage | AnyPath | Sequence[AnyPath],
    out: AnyPath | None = None,
    *,
    device: str = "auto",
    series: Sequence[str] = (),
    strict: bool = False,
    overwrite: bool = False,
    probabilities: bool = False,
    seg: bool = False,
    sr: bool = False,
    cells_as: Sequence[str] = (),
    key: AnyPath | None = None,
    progress: ShowProgress = True,
    **options: Unpack[InferenceOptions],
) -> Any:
    """The label map of one image; or, with ``out``, of every scan of a folder, written.

    Args:
        model: What `load_model` takes, or gives; several calls with the latter load it
            once, and its own options hold.
        images: One image: a path, a list of paths, one for each channel, or an image
            in memory, see `Model.predict`. With ``out``: a scan or a tree of anything.
        out: Folder of the label maps and of ``predictions.csv``.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:n``.
        series: Rules for DICOM series, such as ``"Modality=CT"``.
        strict: Refuse scans that need repair.
        overwrite: With ``out``: segment again what is done already.
        probabilities: With ``out``: also write them, as .b2nd files.
        seg: With ``out``: also write DICOM SEG for DICOM scans.
        sr: With ``out``: also write that, and DICOM reports of measurements.
        cells_as: With ``out``: as what else to write single cells: ``"roi"``,
            ``"geojson"``, ``"ome-tiff"``.
        key: With ``out``: file with the key of the pseudonyms of DICOM scans.
        progress: Show how far it is.
        options: As for `load_model`.

    Returns:
        Of one image, a `LabelMap` or the kind of image that was given; with ``out``,
        what became of each scan.

    Raises:
        MedsegError: There is no model or no scan, or an option is wrong; of several
            scans, one that fails is said in its line and stops no other.

    Examples:
        >>> import medseg
        >>> lines = medseg.predict(
        ...     "runs/tiny", "tiny/imagesTr", "segmented", progress=False
        ... )
        >>> lines[0].status, lines[0].outputs
        ('done', ('tiny_000.nii.gz',))
        >>> medseg.predict("runs/tiny", "tiny/imagesTr/tiny_000.nii.gz")
        LabelMap(24 x 28 x 20 uint8, 1 x 1 x 1.5 mm, RAS)
    """
    loaded = model
    if not isinstance(loaded, SegmentationModel):
        loaded = load_model(loaded, device=device, progress=False, **options)
    if out is None:
        return loaded.predict(images, series=series, strict=strict)
    return predicting.predict(
        loaded,
        Path(cast(AnyPath, images)),
        Path(out),
        options=ScanOptions(
            strict=strict,
            seg=seg,
            sr=sr,
            probabilities=probabilities,
            cells_as=parse_formats(",".join(cells_as)),
        ),
        series=series,
        key_path=None if key is None else Path(key),
        overwrite=overwrite,
        progress=shown(progress),
    )


def inspect(
    source: AnyPath | Run,
    *,
    out: AnyPath | None = None,
    precision: Precision = "float32",
    settings: Sequence[str] = (),
    channels: int | None = None,
    classes: int | None = None,
) -> Inspection:
    """What a network is, costs, sees and gets wrong, without training it.

    Args:
        source: A model or run, a prepared store, a plan, or a configuration.
        out: Folder for ``inspect.html`` and ``inspect.png``.
        precision: What the costs count in.
        settings: ``key=value`` for a configuration.
        channels: Of images, for a configuration without data; 1 by default.
        classes: With background, likewise; 2 by default.

    Raises:
        MissingFileError: There is nothing at `source`.
        SettingsError: It does not say which network, or for which patches.

    Examples:
        >>> import medseg
        >>> found = medseg.inspect("runs/tiny")
        >>> found.trained
        True
    """
    return inspecting.inspect(
        _folder(source),
        out=None if out is None else Path(out),
        precision=precision,
        overrides=list(settings),
        channels=channels,
        classes=classes,
    )


def export(
    model: AnyPath | Run,
    out: AnyPath,
    *,
    to: Literal["onnx", "torchscript", "monai-bundle"],
    progress: ShowProgress = True,
) -> Path:
    """Writes a model for other programs, checked by reading it back.

    Args:
        model: A model folder or a run.
        out: The folder; it must not be there yet.
        to: Which format.
        progress: Say what was written.

    Returns:
        The folder.

    Raises:
        ModelError: What was written does not compute the same; nothing is left.
        OutputError: The folder is there already, or cannot be written.

    Examples:
        >>> import medseg
        >>> out = medseg.export(
        ...     "runs/tiny", "exported", to="torchscript", progress=False
        ... )
        >>> (out / "network.ts").is_file()
        True
    """
    exporting.export(_folder(model), Path(out), to=to, progress=shown(progress))
    return Path(out)


def _folder(source: AnyPath | Run) -> Path:
    return source.folder if isinstance(source, Run) else Path(source)


def _settings(options: InferenceOptions) -> InferenceSettings:
    return parse_settings(InferenceSettings, dict(options), source="options")
