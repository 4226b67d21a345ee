"""What a path means that ``medseg predict`` is given: models, or a task list."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

from medseg.errors import ModelError, SettingsError
from medseg.files import hash_text
from medseg.inference.settings import InferenceSettings
from medseg.model import Model
from medseg.prediction.ensemble import load_ensemble
from medseg.prediction.segmentation_model import SegmentationModel
from medseg.prediction.task_list import (
    CropSettings,
    TaskListSettings,
    TaskSettings,
    is_task_list,
    merged_labels,
    read_task_list,
)
from medseg.prediction.task_predictor import Crop, Segment, Task, TaskPredictor
from medseg.progress import Progress, Silent
from medseg.setting_errors import nearest_name
from medseg.types import Spacing
from medseg.volume import LabelMap, Volume

Load = Callable[[Path, str | None], SegmentationModel]


def load_segmentation(
    path: Path,
    *,
    device: str = "auto",
    settings: InferenceSettings | None = None,
    postprocess: bool = True,
    progress: Progress | None = None,
) -> SegmentationModel:
    """The model, the models, or the task list at a path, ready to segment.

    Args:
        path: What `SegmentationModel.load` takes, or a YAML file with a task list.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:n``.
        settings: Windows, overlap, flips and engine.
        postprocess: Apply the rules that are kept with the models.
        progress: Told of engines that are measured, and of licences.

    Raises:
        MissingFileError: There is no model.
        ModelError: A model is damaged, or models do not fit together.
        SettingsError: There is no such device or engine, or the task list is wrong.
        PredictionError: The engine that was named does not agree with torch.
    """
    shown = progress or Silent()

    def load(place: Path, configuration: str | None) -> SegmentationModel:
        return SegmentationModel.of_members(
            load_ensemble(place, configuration=configuration),
            device=device,
            settings=settings,
            postprocess=postprocess,
            progress=shown,
        )

    model = _task_list(path, load) if is_task_list(path) else load(path, None)
    if licence := model.saved.provenance.licence:
        shown.say(f"licence: {licence}")
    return model


def _task_list(path: Path, load: Load) -> SegmentationModel:
    """A task list as one model.

    Raises:
        SettingsError: The list is wrong.
        ModelError: Models do not fit together.
    """
    tasks = read_task_list(path)
    models = [load(task.model, task.configuration) for task in tasks.models]
    saved = [model.saved for model in models]
    labels, maps = merged_labels(
        tasks, [one.plan.labels for one in saved], source=str(path)
    )
    _require_same_channels(path, saved)
    crop = None
    everything: list[tuple[TaskSettings | CropSettings, Model]] = []
    everything += zip(tasks.models, saved, strict=True)
    described = [model.depends_on for model in models]
    if tasks.crop is not None:
        rough = load(tasks.crop.model, tasks.crop.configuration)
        _require_same_channels(path, [*saved, rough.saved])
        crop = _crop(path, tasks.crop, rough)
        everything.append((tasks.crop, rough.saved))
        described.append(rough.depends_on)
    first = models[0]
    plan = saved[0].plan.replaced(
        name=tasks.name, labels=labels, instance_target="none"
    )
    joint = replace(
        saved[0],
        plan=plan,
        provenance=saved[0].provenance.replaced(licence=_licences(everything)),
        weights_sha256=hash_text(
            "\n".join(one.weights_sha256 for _, one in everything)
        ),
        postprocessing=(),
        golden=None,
        exact=None,
    )
    predictor = TaskPredictor(
        tasks=tuple(
            Task(task.model.name, _segmenting(model), values)
            for task, model, values in zip(tasks.models, models, maps, strict=True)
        ),
        crop=crop,
        spacing=_three(tasks.spacing),
        description=" ".join((_without_places(tasks), *described)),
    )
    return SegmentationModel(
        joint,
        replace(first.predictor, plan=plan),
        f"{len(models)} models of {tasks.name}: {first.engine}",
        exact=predictor,
    )


def _crop(path: Path, settings: CropSettings, rough: SegmentationModel) -> Crop:
    names = rough.labels.names
    for name in settings.structures:
        if name not in names:
            raise SettingsError(
                f"{path}: crop.structures: {settings.model.name} has no {name!r}"
                f"{nearest_name(name, names)}; it has {', '.join(names)}"
            )
    return Crop(
        _segmenting(rough),
        tuple(names[name] for name in settings.structures or names),
        settings.margin,
        _three(settings.spacing),
    )


def _segmenting(model: SegmentationModel) -> Segment:
    return partial(_segmented, model)


def _segmented(
    model: SegmentationModel, volume: Volume, name: str, notes: list[str]
) -> LabelMap:
    return model.segment(volume, name=name, notes=notes)


def _require_same_channels(path: Path, models: list[Model]) -> None:
    """Refuses models that want other scans.

    Raises:
        ModelError: The number of channels differs.
    """
    wanted = [model.plan.channel_names for model in models]
    for model, names in zip(models, wanted, strict=True):
        if len(names) != len(wanted[0]):
            raise ModelError(
                f"{path}: {model.plan.name} wants the channels {', '.join(names)}, "
                f"{models[0].plan.name} {', '.join(wanted[0])}; no scan fits both"
            )


def _licences(models: list[tuple[TaskSettings | CropSettings, Model]]) -> str:
    """What each model says about its licence, each once."""
    said = [
        f"{task.model.name}: {task.licence or one.provenance.licence or 'not stated'}"
        for task, one in models
    ]
    return "; ".join(dict.fromkeys(said))


def _three(spacing: float | tuple[float, float, float] | None) -> Spacing | None:
    return (spacing,) * 3 if isinstance(spacing, int | float) else spacing


def _without_places(tasks: TaskListSettings) -> str:
    """A task list as text, without where its models lie: moved, they give the same."""
    return tasks.model_dump_json(
        exclude={"models": {"__all__": {"model"}}, "crop": {"model"}}
    )
