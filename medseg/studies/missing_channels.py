"""What a model makes of scans that lack a channel, measured on held-out cases."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from medseg.evaluation.bootstrap import mean_interval
from medseg.evaluation.cases import score_case
from medseg.evaluation.settings import MetricSettings
from medseg.prediction.segmentation_model import SegmentationModel
from medseg.preparation.normalization import absent_value
from medseg.progress import Progress, Silent
from medseg.reading import read_label_map, read_volume
from medseg.studies.cross_validate import CrossValidation
from medseg.volume import Volume

if TYPE_CHECKING:
    import pandas as pd

    from medseg.plan import ChannelPlan

NOTHING = "nothing"
"""What is absent from a complete scan."""


def score_without_channels(
    result: CrossValidation, *, device: str = "auto", progress: Progress | None = None
) -> pd.DataFrame:
    """Dice of every held-out case, complete and without each of its channels.

    The channel is read as zero, which is what `predict` does where the model was
    trained with `augmentation.channel_dropout`; of other models it shows why `predict`
    refuses.

    Args:
        result: Of scans with several channels.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:n``.
        progress: Shows progress.

    Returns:
        Columns absent, structure, case_id, patient_id, dice.
    """
    import pandas as pd

    store = result.store
    models: dict[Path, SegmentationModel] = {}
    rows = []
    pairs = list(result.held_out())
    for run, case_id in (progress or Silent()).track(pairs, label="without channels"):
        if run not in models:
            models[run] = SegmentationModel.load(run, device=device)
        volume = read_volume(store.images(case_id))
        reference = read_label_map(
            store.label(case_id), scheme=store.plan.labels, grid=volume.grid
        )
        channels = models[run].saved.plan.channels
        for absent in (None, *range(len(channels))):
            scan = volume if absent is None else _without(volume, absent, channels)
            scores = score_case(
                models[run].segment(scan, name=case_id),
                reference,
                store.plan.labels,
                MetricSettings(distances=False),
                case_id=case_id,
                patient_id=store.patients[case_id],
            )
            name = NOTHING if absent is None else channels[absent].name
            rows += [
                (name, row.structure, case_id, row.patient_id, row.dice)
                for row in scores
            ]
    columns = ["absent", "structure", "case_id", "patient_id", "dice"]
    return pd.DataFrame(rows, columns=columns)


def summarize_absent(cases: pd.DataFrame) -> pd.DataFrame:
    """Mean Dice with its interval over patients for each absent channel.

    Args:
        cases: As `score_without_channels` gives.
    """
    import pandas as pd

    rows = []
    for (structure, absent), part in cases.groupby(["structure", "absent"], sort=False):
        dice = part["dice"].astype(float)
        low, high = mean_interval(dice.to_numpy(), groups=part["patient_id"].tolist())
        rows.append((structure, absent, dice.mean(), low, high, dice.count()))
    columns = ["structure", "absent", "dice", "ci_low", "ci_high", "n"]
    return pd.DataFrame(rows, columns=columns)


def _without(volume: Volume, number: int, channels: tuple[ChannelPlan, ...]) -> Volume:
    voxels = volume.voxels.astype("float32")
    voxels[number] = absent_value(channels[number])
    return replace(volume, voxels=voxels)
