"""A list of models that together make one label map: ``medseg predict tasks.yaml``.

A task list names models (of medseg, or imported), perhaps one that finds where to look,
the voxel size that all of them see, and how their structures become one label map.
"""

from pathlib import Path
from typing import Annotated

from pydantic import Field, model_validator

from medseg.errors import ModelError, SettingsError
from medseg.labels import LabelScheme
from medseg.setting_errors import nearest_name
from medseg.settings import Settings, load_settings

Millimetres = Annotated[float, Field(gt=0, le=1000)]
Value = Annotated[int, Field(ge=1, le=65535)]


class CropSettings(Settings):
    """A first, rough model that finds where to look."""

    model: Path
    """Its folder, relative to the file."""
    configuration: str | None = None
    """Which, where an nnU-Net folder holds several."""
    structures: tuple[str, ...] = ()
    """Those whose bounding box is looked at; none: all."""
    margin: Annotated[float, Field(ge=0, le=1000)] = 20.0
    """Millimetres around the box, on every side."""
    spacing: Millimetres | tuple[Millimetres, Millimetres, Millimetres] | None = None
    """Voxel size that scans are brought to before this model; None: the scan's own."""
    licence: str = ""
    """What the model may be used for, where its own files do not say it."""


class TaskSettings(Settings):
    """One model of the list."""

    model: Path
    """Its folder or zip, relative to the file."""
    configuration: str | None = None
    """Which, where an nnU-Net folder holds several."""
    labels: dict[str, Value] = {}
    """Value in the merged label map of each structure that is taken over; none: all,
    by name, with the next free values."""
    rename: dict[str, str] = {}
    """Other names for structures, such as ``{vertebra_1: vertebra_C1}``."""
    licence: str = ""
    """What the model may be used for, where its own files do not say it."""


class TaskListSettings(Settings):
    """What a task list holds."""

    name: str = Field(default="", max_length=80)
    """Of the whole, for reports; by default the file's."""
    spacing: Millimetres | tuple[Millimetres, Millimetres, Millimetres] | None = None
    """Voxel size that scans are brought to before all models; None: the scan's own.
    The merged label map is brought back by the nearest voxel."""
    crop: CropSettings | None = None
    """A first model that finds where to look."""
    models: tuple[TaskSettings, ...] = Field(min_length=1)
    """In the order of work. Where structures of two models meet, the later model's
    is painted over the earlier's."""

    @model_validator(mode="after")
    def _one_name_for_a_value(self) -> "TaskListSettings":
        names: dict[int, str] = {}
        for task in self.models:
            for name, value in task.labels.items():
                called = task.rename.get(name, name)
                if names.setdefault(value, called) != called:
                    raise ValueError(
                        f"labels: value {value} stands for {names[value]} and {called}"
                    )
        return self


def is_task_list(path: Path) -> bool:
    """Whether a path is a file that may hold a task list."""
    return path.suffix.lower() in {".yaml", ".yml"} and path.is_file()


def read_task_list(path: Path) -> TaskListSettings:
    """The task list of a file, its paths made absolute.

    Raises:
        MissingFileError: There is no such file.
        SettingsError: It is not a task list; each wrong key is named.
    """
    found = load_settings(TaskListSettings, path)
    tasks = tuple(
        task.replaced(model=path.parent / task.model) for task in found.models
    )
    crop = found.crop
    if crop is not None:
        crop = crop.replaced(model=path.parent / crop.model)
    return found.replaced(name=found.name or path.stem, models=tasks, crop=crop)


def merged_labels(
    tasks: TaskListSettings, schemes: list[LabelScheme], *, source: str
) -> tuple[LabelScheme, list[dict[int, int]]]:
    """The label scheme of the merged map, and each model's values in it.

    Args:
        tasks: The list.
        schemes: Labels of each model, in order.
        source: What messages call the file.

    Returns:
        The scheme, and for each model its values and what they become; values that are
        left out become background.

    Raises:
        SettingsError: A structure is not the model's, or a value stands for two.
        ModelError: A model numbers objects.
    """
    taken = {value for task in tasks.models for value in task.labels.values()}
    names: dict[str, int] = {}
    maps: list[dict[int, int]] = []
    for number, (task, scheme) in enumerate(zip(tasks.models, schemes, strict=True)):
        if scheme.instances:
            raise ModelError(
                f"{source}: models.{number}: numbers single objects, which cannot be "
                "merged with structures"
            )
        wanted = dict(task.labels)
        for name in (*wanted, *task.rename):
            if name not in scheme.names:
                raise SettingsError(
                    f"{source}: models.{number}: {task.model.name} has no structure "
                    f"{name!r}{nearest_name(name, scheme.names)}; it has "
                    f"{', '.join(scheme.structures)}"
                )
        values: dict[int, int] = {}
        for name in wanted or scheme.structures:
            called = task.rename.get(name, name)
            value = wanted.get(name) or names.get(called) or _next_free(taken)
            taken.add(value)
            if names.setdefault(called, value) != value:
                raise SettingsError(
                    f"{source}: models.{number}: {called} has the values "
                    f"{names[called]} and {value}; rename one of them"
                )
            values[scheme.names[name]] = value
        maps.append(values)
    return LabelScheme(names=names), maps


def _next_free(taken: set[int]) -> int:
    value = 1
    while value in taken:
        value += 1
    return value
