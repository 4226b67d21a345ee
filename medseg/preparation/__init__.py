"""Fingerprint, plan, network input and the prepared store."""

from medseg.preparation.fingerprint import Fingerprint
from medseg.preparation.measuring import make_fingerprint
from medseg.preparation.placement import Placement, restore
from medseg.preparation.planning import make_plan
from medseg.preparation.prepare import prepare
from medseg.preparation.preprocessing import Prepared, preprocess, preprocess_label
from medseg.preparation.store import Store
from medseg.preparation.stored_case import StoredCase

__all__ = [
    "Fingerprint",
    "Placement",
    "Prepared",
    "Store",
    "StoredCase",
    "make_fingerprint",
    "make_plan",
    "prepare",
    "preprocess",
    "preprocess_label",
    "restore",
]
