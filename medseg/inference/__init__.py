"""From a prepared scan to a label map on the scan's own grid."""
