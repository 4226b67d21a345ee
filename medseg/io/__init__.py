"""Files to volumes and label maps, and back: NIfTI, NRRD, MetaImage, DICOM, pictures.

DICOM's and ITK's LPS world lives only in here; what comes out is RAS+ in mm.
"""

from medseg.io.formats import find_scans, is_scan, scan_stem
from medseg.io.geometry_warning import GeometryWarning
from medseg.io.label_reading import read_label_map
from medseg.io.reading import read_grid, read_volume
from medseg.io.writing import write_label_map, write_volume

__all__ = [
    "GeometryWarning",
    "find_scans",
    "is_scan",
    "read_grid",
    "read_label_map",
    "read_volume",
    "scan_stem",
    "write_label_map",
    "write_volume",
]
