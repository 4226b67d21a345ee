"""Everything medseg raises on purpose.

MedsegError
├── InputError                 a file or folder cannot be used as it is
│   ├── MissingFileError       it is not there                  (FileNotFoundError)
│   ├── UnreadableFileError    it is there and cannot be read   (OSError)
│   ├── GeometryError          its affine is unusable           (ValueError)
│   │   └── GridMismatchError  two grids that must agree do not
│   ├── LabelError             label values outside the scheme  (ValueError)
│   └── DatasetError           the data set as a whole is wrong (ValueError)
├── SettingsError              a configuration is wrong         (ValueError)
│   └── PluginError            what it names cannot be found or used
├── StoreError                 a prepared store is unusable     (RuntimeError)
├── ModelError                 a model folder is unusable       (RuntimeError)
├── TrackingError              a tracking store is unusable     (RuntimeError)
├── TrainingError              training cannot go on            (RuntimeError)
│   ├── NonFiniteLossError     the loss became NaN or infinite
│   └── NonFiniteWeightsError  weights of the network did
├── PredictionError            a scan cannot be segmented       (RuntimeError)
└── OutputError                a result cannot be written       (OSError)

The message says which file or case, what was expected, what was found and what to
do. No message carries a patient's name.
"""

ONE_AXIS = (
    "one-dimensional signals are out of scope; medseg segments pictures and volumes, "
    "of 2 or 3 axes"
)
"""What is said of lines of values, wherever they turn up."""


class MedsegError(Exception):
    """Base of all errors that medseg raises on purpose.

    Examples:
        >>> import medseg
        >>> try:
        ...     medseg.read_volume("nothing.nii.gz")
        ... except medseg.MedsegError as error:
        ...     print(error)
        nothing.nii.gz: no such file
    """


class InputError(MedsegError):
    """A file or folder cannot be used as it is."""


class MissingFileError(InputError, FileNotFoundError):
    """A file or folder is not there."""


class UnreadableFileError(InputError, OSError):
    """A file is there and cannot be read."""


class GeometryError(InputError, ValueError):
    """An affine cannot be used."""


class GridMismatchError(GeometryError):
    """Two grids that must agree do not."""


class LabelError(InputError, ValueError):
    """A label map holds values that the scheme does not know."""


class DatasetError(InputError, ValueError):
    """A data set as a whole cannot be used."""


class SettingsError(MedsegError, ValueError):
    """A configuration is wrong."""


class PluginError(SettingsError):
    """A part that a name stands for cannot be found, or does not do what it must."""


class StoreError(MedsegError, RuntimeError):
    """A prepared store cannot be used."""


class ModelError(MedsegError, RuntimeError):
    """A model folder cannot be used."""


class TrackingError(MedsegError, RuntimeError):
    """A tracking store cannot be used."""


class TrainingError(MedsegError, RuntimeError):
    """Training cannot go on."""


class ShortBudgetError(TrainingError):
    """The time budget of a run has no room for enough steps.

    Attributes:
        least_seconds: Seconds that a budget needs at least, on this machine.
    """

    def __init__(self, message: str, *, least_seconds: float) -> None:
        super().__init__(message)
        self.least_seconds = least_seconds


class NonFiniteLossError(TrainingError):
    """The loss became NaN or infinite."""


class NonFiniteWeightsError(TrainingError):
    """Weights of the network became NaN or infinite."""


class PredictionError(MedsegError, RuntimeError):
    """A scan cannot be segmented."""


class OutputError(MedsegError, OSError):
    """A result cannot be written."""
