"""A user's layout: a folder for each patient, with ``scan.*`` and ``truth.*`` in it."""

from pathlib import Path

from medseg import Case, Dataset, LabelScheme
from medseg.datasets.overrides import DatasetOverrides


class PatientFolders:
    """Recognised by the file ``STUDY``, which names the structure."""

    signs = "a file STUDY beside folders of patients"

    def matches(self, path: Path) -> bool:
        return (path / "STUDY").is_file()

    def load(self, path: Path, known: DatasetOverrides) -> Dataset:
        name = (path / "STUDY").read_text().strip()
        cases = []
        for folder in sorted(p for p in path.iterdir() if p.is_dir()):
            (scan,), (truth,) = folder.glob("scan.*"), folder.glob("truth.*")
            cases.append(Case(folder.name, folder.name, (scan,), truth))
        return Dataset(
            name=known.name or path.name,
            root=path,
            channels=known.channels or ("MR",),
            scheme=known.scheme or LabelScheme(names={name: 1}),
            cases=tuple(cases),
            layout="patients' folders",
        )
