"""What the conclusions of a comparison rest on, said beside each of them."""

from dataclasses import dataclass

FEW_STEPS = 250
"""Steps below which a network has hardly been trained: an epoch of nnU-Net's.

Isensee et al., Nat Methods 2021, doi:10.1038/s41592-020-01008-z.
"""


@dataclass(frozen=True)
class Evidence:
    """How much training stands behind a comparison; None where it is not known."""

    num_seeds: int | None = None
    """Seeds of the variation that has fewest."""
    num_folds: int | None = None
    """Folds, likewise."""
    steps: tuple[int, int] | None = None
    """Fewest and most optimiser steps of a run."""

    @property
    def is_enough(self) -> bool:
        """Whether a difference may be called one of the variations themselves."""
        if self.num_seeds is None or self.steps is None:
            return False
        return self.num_seeds > 1 and self.steps[0] >= FEW_STEPS

    def in_words(self, *, num_patients: int, fewest_patients: int) -> str:
        """What it rests on, and what that leaves open.

        Args:
            num_patients: Patients of the pair that has most.
            fewest_patients: Patients of the pair that has fewest.
        """
        parts = [_counted(num_patients, "held-out patient")]
        if fewest_patients < num_patients:
            parts[0] = f"{fewest_patients} to {parts[0]} in each pair"
        if self.num_folds is not None:
            parts.append(_counted(self.num_folds, "fold"))
        if self.num_seeds is not None:
            parts.append(_counted(self.num_seeds, "seed"))
        if self.steps is not None:
            fewest, most = self.steps
            span = f"{fewest:,}" if fewest == most else f"{fewest:,} to {most:,}"
            parts.append(f"{span} training steps per run")
        text = f"It rests on {', '.join(parts)}."
        if self.num_seeds is None or self.steps is None:
            text += " How many seeds and steps were trained is not known."
        if self.num_seeds == 1:
            text += (
                " With one seed, the chance of training itself is not in it: another "
                "seed may turn it around (--seeds 0,1,2 shows that)."
            )
        if self.steps is not None and self.steps[0] < FEW_STEPS:
            text += (
                f" Fewer than {FEW_STEPS} steps hardly train a network: it says little "
                "of trained ones."
            )
        return text


def _counted(number: int, what: str) -> str:
    return f"{number} {what}" + ("" if number == 1 else "s")
