"""Fingerprint, plan and network input; and the store that is made of them."""

from medseg.preparation.measuring import make_fingerprint
from medseg.preparation.planning import make_plan
from medseg.preparation.prepare import prepare
from medseg.preparation.preprocessing import Prepared, preprocess, preprocess_label

__all__ = [
    "Prepared",
    "make_fingerprint",
    "make_plan",
    "prepare",
    "preprocess",
    "preprocess_label",
]
