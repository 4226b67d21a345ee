"""What is odd about the scans of a data set, though all can be read: said once."""

from collections.abc import Sequence

from medseg.datasets.splits import some
from medseg.fingerprint import Fingerprint
from medseg.plan import Plan
from medseg.preparation.preprocessing import axes_with_last
from medseg.progress import Progress


def warn_of_oddities(fingerprint: Fingerprint, plan: Plan, progress: Progress) -> None:
    """Warns of channels without contrast, and of slices that lie across the plan's."""
    total = fingerprint.num_cases
    for number, channel in enumerate(plan.channels):
        flat = [
            case.case_id
            for case in fingerprint.cases
            if case.channels[number].smallest == case.channels[number].largest
        ]
        if flat:
            progress.warn(
                f"channel {channel.name} is the same everywhere in {len(flat)} of "
                f"{total} cases ({some(flat)}): nothing can be learnt from it there"
            )
    if across := _across(fingerprint, plan):
        progress.warn(
            f"{len(across)} of {total} cases ({some(across)}) are one slice that lies "
            f"across the others' (slices along {plan.slice_axis}): a 2D network sees "
            "them row by row; take them out, or prepare for 3D (spatial_dims: 3)"
        )


def _across(fingerprint: Fingerprint, plan: Plan) -> Sequence[str]:
    """Cases that are one slice along another axis than the plan's."""
    if plan.spatial_dims == 3:
        return ()
    turned = fingerprint.permuted(axes_with_last("ijk".index(plan.slice_axis)))
    return [
        case.case_id
        for case in turned.cases
        if case.shape[2] > 1 and min(case.shape[:2]) == 1
    ]
