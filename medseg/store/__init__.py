"""The prepared store: one folder per case, read by the patch."""

from medseg.store.store import Store
from medseg.store.stored_case import StoredCase

__all__ = ["Store", "StoredCase"]
