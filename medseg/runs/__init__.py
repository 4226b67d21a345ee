"""One training: configured, trained, calibrated, scored, reported."""
