"""Which kind of scanner a model's channels come from, as far as its plan tells."""

import re

from medseg.plan import ChannelPlan

_MODALITIES = {
    "CT": {"ct", "cect", "ncct", "cbct", "hu"},
    "PT": {"pet", "pt", "suv", "fdg"},
    "MR": {
        *("mr", "mri", "t1", "t1w", "t1c", "t1n", "t1ce", "t1gd", "t1post"),
        *("t2", "t2w", "t2f", "t2s", "flair", "adc", "dwi", "swi", "pd", "pdw"),
    },
    "US": {"us", "ultrasound"},
    "MG": {"mammography"},
}
_BY_WORD = {word: name for name, words in _MODALITIES.items() for word in words}


def modality_of(channel: ChannelPlan) -> str:
    """DICOM's word for a channel's modality; empty where the plan does not tell."""
    if channel.normalization == "ct":
        return "CT"
    words = re.split(r"[^a-z0-9]+", channel.name.lower())
    found = {_BY_WORD[word] for word in words if word in _BY_WORD}
    return found.pop() if len(found) == 1 else ""


def modality_fault(found: str, channel: ChannelPlan) -> str:
    """Why a series of one modality does not fit a channel; empty if it may."""
    expected = modality_of(channel)
    if not expected or not found or found.upper() == expected:
        return ""
    return (
        f"Modality {found}, the model was trained on {expected} (channel "
        f"{channel.name}); --series Modality={expected} sets others aside"
    )
