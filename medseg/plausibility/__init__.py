"""Whether a scan, and what was found in it, are like the scans a model learned from.

scan_measures.py      geometry and normalised intensities of a scan
channel_pairs.py      which of two channels is which
finding_measures.py   sizes and counts of a label map
judgement.py          how far measures lie outside their ranges, and the sentences
fitting.py            ranges and limits, from the cases of a run
"""
