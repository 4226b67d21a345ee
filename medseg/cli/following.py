"""The command that can follow each verb, as words that `Console.made` shows."""

from pathlib import Path

Words = tuple[object, ...]


def train(*, data: object = None, config: object = None) -> Words:
    """A first training, of what the data or a configuration says."""
    source = () if config is None else (config,)
    of_data = () if data is None else ("--data", data)
    return ("medseg", "train", *source, *of_data, "--budget", "15m", "-o", "runs/first")


def resume(run: Path) -> Words:
    """A training that was interrupted, continued."""
    return ("medseg", "train", "--resume", run)


def predict(model: object, scans: object = "SCANS") -> Words:
    """A model used."""
    return ("medseg", "predict", model, scans, "-o", "segmented")


def evaluate(predictions: Path) -> Words:
    """Label maps scored."""
    return ("medseg", "evaluate", predictions, "REFERENCES", "-o", "scores")


def doctor(data: Path) -> Words:
    """A data set looked through."""
    return ("medseg", "doctor", data)


def repair(data: Path) -> Words:
    """A data set repaired, as copies."""
    return ("medseg", "doctor", data, "--repair", "repaired")


def convert(objects: Path) -> Words:
    """DICOM objects read back, as NIfTI."""
    return ("medseg", "convert", objects, "-o", "nifti")


def ui(runs: Path) -> Words:
    """Runs looked at in MLflow's pages."""
    return ("medseg", "ui", runs)


def view(target: Path) -> Words:
    """Cases looked at in a browser."""
    return ("medseg", "view", target)


def compare() -> Words:
    """Finished runs compared patient by patient."""
    named = ("--runs", "a=RUN", "--runs", "b=RUN")
    return ("medseg", "compare", *named, "-o", "comparison")
