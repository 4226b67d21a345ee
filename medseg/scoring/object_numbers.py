"""Whether the values of label maps number objects rather than name structures.

Structures have the same value in prediction and reference; numbers of objects are
those of either program. So where objects lie on each other under other numbers, the
values are no names. In a picture, many values of which each is one connected part are
objects, too.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from medseg.datasets.discovery import MOST_STRUCTURES
from medseg.errors import InputError
from medseg.evaluation.pairs import CasePair
from medseg.labels import LabelScheme
from medseg.reading import read_label_map
from medseg.types import LabelArray

OBJECTS = LabelScheme(names={"object": 1}, instances=True)
"""Any value but 0 is one object."""
MANY = 10
"""More values in a map are rarely structures of a picture."""
MOST_PAIRS = 8
"""So many pairs are looked at."""
ALMOST_ALL = 0.9
"""Of the values, so many are one connected part each."""


@dataclass(frozen=True)
class NumberFacts:
    """What the values of some pairs of label maps are like."""

    most_values: int
    """Values of the map that has most."""
    one_part: float
    """Share of the values of the references that are one connected part each."""
    flat: bool
    """Whether all maps are pictures."""
    partners: int
    """Values that lie on one of the other map, at an IoU of 0.5 and more."""
    same: int
    """Those of them under the same number."""

    @property
    def reason(self) -> str:
        """Why the values number objects, in words; empty where they seem not to."""
        if self.most_values <= MANY or self.one_part < ALMOST_ALL:
            return ""
        if self.most_values > MOST_STRUCTURES:
            return f"a map holds {self.most_values} values, each one connected part"
        if self.partners and 2 * self.same < self.partners:
            return (
                f"{self.partners - self.same} of {self.partners} parts lie on each "
                "other under other numbers"
            )
        if self.flat:
            return f"a picture holds {self.most_values} values, each one connected part"
        return ""

    @property
    def renumbered(self) -> bool:
        """Whether most of what lies on each other has other numbers."""
        return self.partners > 1 and 2 * self.same < self.partners


def look_at_numbers(pairs: Sequence[CasePair]) -> NumberFacts | None:
    """What the values of the first pairs are like; None where none can be read."""
    found: list[NumberFacts] = []
    for pair in pairs:
        if pair.prediction is None or len(found) == MOST_PAIRS:
            continue
        try:
            prediction = read_label_map(pair.prediction, allow_shear=True).voxels
            reference = read_label_map(pair.reference, allow_shear=True).voxels
        except InputError:
            continue
        if prediction.shape == reference.shape:
            found.append(_facts(prediction, reference))
    if not found:
        return None
    return NumberFacts(
        most_values=max(facts.most_values for facts in found),
        one_part=float(np.mean([facts.one_part for facts in found])),
        flat=all(facts.flat for facts in found),
        partners=sum(facts.partners for facts in found),
        same=sum(facts.same for facts in found),
    )


def _facts(prediction: LabelArray, reference: LabelArray) -> NumberFacts:
    import cc3d

    values = np.setdiff1d(np.unique(reference), [0])
    numbers = np.searchsorted(np.append(0, values), reference).astype(np.uint32)
    numbers[reference == 0] = 0
    parts = cc3d.connected_components(np.ascontiguousarray(numbers), connectivity=26)
    partners, same = _partners(prediction, reference)
    return NumberFacts(
        most_values=max(len(values), len(np.setdiff1d(np.unique(prediction), [0]))),
        one_part=len(values) / max(int(parts.max()), 1),
        flat=1 in reference.shape,
        partners=partners,
        same=same,
    )


def _partners(prediction: LabelArray, reference: LabelArray) -> tuple[int, int]:
    """Values that share half of their union, and those of the same number."""
    predicted, p = np.unique(prediction, return_inverse=True)
    referenced, r = np.unique(reference, return_inverse=True)
    shared = np.zeros((len(predicted), len(referenced)), dtype=np.int64)
    np.add.at(shared, (p.ravel(), r.ravel()), 1)
    union = shared.sum(1)[:, None] + shared.sum(0)[None] - shared
    close = shared >= 0.5 * union
    close[predicted == 0] = False
    close[:, referenced == 0] = False
    equal = predicted[:, None] == referenced[None]
    return int(close.sum()), int((close & equal).sum())
