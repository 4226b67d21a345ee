"""Single objects, such as cells: what a network learns of them, and the way back."""

from medseg.instances.decoding import decode
from medseg.instances.decoding_settings import DecodingSettings
from medseg.instances.object_maps import ObjectMaps
from medseg.instances.targets import LEVELS, Target, encode

__all__ = ["LEVELS", "DecodingSettings", "ObjectMaps", "Target", "decode", "encode"]
