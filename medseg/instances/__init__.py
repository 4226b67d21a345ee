"""Single objects, such as cells: what a network learns of them, and the way back."""

from medseg.instances.decoding import DecodingSettings, Depths, decode
from medseg.instances.targets import LEVELS, Target, encode

__all__ = ["LEVELS", "DecodingSettings", "Depths", "Target", "decode", "encode"]
