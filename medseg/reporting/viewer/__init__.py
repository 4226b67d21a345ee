"""Pages to look at one case in: scan, prediction and reference, from the disk."""
