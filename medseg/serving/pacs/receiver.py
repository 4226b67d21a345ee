"""Receives C-ECHO and C-STORE requests from known senders, within limits."""

import struct
from collections.abc import Callable
from typing import Any

from medseg.errors import MedsegError, OutputError, SettingsError
from medseg.io.dicom.elements import quiet
from medseg.progress import Progress
from medseg.serving.pacs.inbox import FullError, Inbox, RefusedObjectError
from medseg.serving.pacs.settings import PacsSettings

SUCCESS, OUT_OF_RESOURCES, NOT_UNDERSTOOD = 0x0000, 0xA700, 0xC000
"""Answers to C-STORE, DICOM PS3.4 table B.2-1."""

VERIFICATION = "1.2.840.10008.1.1"
"""C-ECHO, DICOM PS3.4 annex A."""
IMAGE_CLASSES = (
    "CTImageStorage",
    "EnhancedCTImageStorage",
    "LegacyConvertedEnhancedCTImageStorage",
    "MRImageStorage",
    "EnhancedMRImageStorage",
    "LegacyConvertedEnhancedMRImageStorage",
    "PositronEmissionTomographyImageStorage",
    "EnhancedPETImageStorage",
    "LegacyConvertedEnhancedPETImageStorage",
    "NuclearMedicineImageStorage",
    "XRayAngiographicImageStorage",
    "ComputedRadiographyImageStorage",
    "DigitalXRayImageStorageForPresentation",
    "DigitalMammographyXRayImageStorageForPresentation",
    "BreastTomosynthesisImageStorage",
    "UltrasoundImageStorage",
)
"""Kinds of objects that can be segmented; others are not even negotiated."""

SYNTAXES = (
    "1.2.840.10008.1.2.1",  # explicit VR little endian
    "1.2.840.10008.1.2",  # implicit VR little endian
    "1.2.840.10008.1.2.2",  # explicit VR big endian
    "1.2.840.10008.1.2.4.57",  # JPEG lossless
    "1.2.840.10008.1.2.4.70",  # JPEG lossless, first-order prediction
    "1.2.840.10008.1.2.4.80",  # JPEG-LS lossless
    "1.2.840.10008.1.2.4.90",  # JPEG 2000 lossless
    "1.2.840.10008.1.2.5",  # RLE
)
"""Deflated data, which may expand without end, and lossy pixels are not taken."""

_LARGEST_PDU = 1 << 20
_COMMANDS = 1 << 16
"""Bytes that an object's messages may take beside the object."""


class Receiver:
    """Listens from `start` to `stop`."""

    def __init__(
        self,
        inbox: Inbox,
        settings: PacsSettings,
        progress: Progress,
    ) -> None:
        """Does not listen yet."""
        self._inbox = inbox
        self._settings = settings
        self._progress = progress
        self._server: Any = None

    @property
    def port(self) -> int:
        """The TCP port it listens at."""
        return int(self._server.socket.getsockname()[1])

    def start(self) -> None:
        """Begins to listen, in threads of its own.

        Raises:
            SettingsError: The address is in use or not this machine's, or a TLS file
                cannot be used.
        """
        from pynetdicom import AE, evt, sop_class

        from medseg.serving.pacs.listener import listen

        settings = self._settings
        entity = AE(ae_title=settings.ae_title)
        entity.require_called_aet = True
        entity.require_calling_aet = list(settings.allow)
        entity.maximum_associations = settings.max_associations
        entity.maximum_pdu_size = _LARGEST_PDU
        entity.network_timeout = settings.timeout
        entity.acse_timeout = settings.timeout
        entity.dimse_timeout = settings.timeout
        entity.add_supported_context(VERIFICATION)
        for name in IMAGE_CLASSES:
            entity.add_supported_context(getattr(sop_class, name), list(SYNTAXES))
        handlers: list[Any] = [
            (evt.EVT_CONN_OPEN, self._limit),
            (evt.EVT_C_ECHO, lambda _: SUCCESS),
            (evt.EVT_C_STORE, self._store),
            (evt.EVT_REJECTED, self._rejected),
        ]
        try:
            self._server = listen(
                entity, settings, handlers=handlers, hang_up=self._hang_up
            )
        except OSError as error:
            raise SettingsError(
                f"{settings.host}:{settings.port}: cannot listen there: "
                f"{error.strerror or error}; choose another --port or --host"
            ) from error

    def stop(self) -> None:
        """Ends all associations and listens no more."""
        if self._server is not None:
            self._server.ae.shutdown()
            self._server = None

    def _limit(self, event: Any) -> None:
        """Bounds what one connection may send for one object."""
        socket = event.assoc.dul.socket
        limit = int(self._settings.max_object_mb * 1e6) + _COMMANDS
        event.assoc.medseg_meter = _Meter(socket.recv, limit, self._hang_up)
        socket.recv = event.assoc.medseg_meter.recv

    def _hang_up(self, reason: str) -> None:
        self._progress.warn(f"a sender was hung up on: {reason}")

    def _rejected(self, event: Any) -> None:
        """Says that somebody was turned away; what they said is not repeated."""
        del event
        self._progress.warn(
            "a sender was turned away: its title, the title that it called, or the "
            "number of senders is not allowed"
        )

    def _store(self, event: Any) -> int:
        """Takes one object; the answer to its sender."""
        event.assoc.medseg_meter.start_anew()
        try:
            with quiet():
                study = self._inbox.store(
                    event.encoded_dataset(),
                    sop_class=str(event.request.AffectedSOPClassUID),
                    sop_instance=str(event.request.AffectedSOPInstanceUID),
                )
        except (FullError, OutputError) as error:
            self._progress.warn(f"an object was refused: {error}")
            return OUT_OF_RESOURCES
        except (MedsegError, ValueError, TypeError, struct.error) as error:
            reason = error if isinstance(error, RefusedObjectError) else "it is damaged"
            self._progress.warn(f"an object was refused: {reason}")
            return NOT_UNDERSTOOD
        if study.num_objects == 1:
            self._progress.say(f"study {study.name[:12]}: receiving")
        return SUCCESS


class _Meter:
    """Counts the bytes of one object and stops reading at a limit."""

    def __init__(
        self,
        recv: Callable[[int], bytearray],
        limit: int,
        hang_up: Callable[[str], None],
    ) -> None:
        self._recv = recv
        self._limit = limit
        self._hang_up = hang_up
        self._count = 0

    def start_anew(self) -> None:
        """Resets the count for the next object."""
        self._count = 0

    def recv(self, count: int) -> bytearray:
        """The next bytes; where they are too many, an end of the connection."""
        if count > 2 * _LARGEST_PDU:
            self._hang_up("a message unit is larger than was agreed")
            raise ConnectionAbortedError
        self._count += count
        if self._count > self._limit:
            self._hang_up("an object is larger than max_object_mb")
            raise ConnectionAbortedError
        return self._recv(count)
