"""Segmentations and reports back to the archive, by C-STORE or STOW."""

from pathlib import Path

from medseg.errors import OutputError
from medseg.io.dicom.elements import quiet
from medseg.serving.pacs.dicomweb import RefusedResultError, WebArchive
from medseg.serving.pacs.settings import (
    Address,
    PacsSettings,
    WebAddress,
    client_context,
)

_WARNINGS = range(0xB000, 0xC000)


def send(path: Path, settings: PacsSettings) -> None:
    """Sends a segmentation object or a report to the destination.

    Raises:
        RefusedResultError: The destination does not take it.
        OutputError: It cannot be reached.
    """
    assert settings.send_to is not None
    if isinstance(settings.send_to, WebAddress):
        WebArchive(settings.send_to, settings).store(path)
    else:
        _c_store(path, settings, settings.send_to)


def _c_store(path: Path, settings: PacsSettings, to: Address) -> None:
    """By C-STORE."""
    from pydicom import dcmread
    from pynetdicom import AE

    entity = AE(ae_title=settings.ae_title)
    entity.acse_timeout = entity.dimse_timeout = settings.timeout
    entity.network_timeout = entity.connection_timeout = settings.timeout
    sop_class = dcmread(path, specific_tags=["SOPClassUID"]).SOPClassUID
    entity.add_requested_context(sop_class)
    context = client_context(settings)
    tls = None if context is None else (context, to.host)
    with quiet():
        association = entity.associate(
            to.host, to.port, ae_title=to.ae_title, tls_args=tls
        )
        if association.rejected_contexts:
            raise _refusal(to, path, "takes no objects of its kind")
        if not association.is_established:
            raise _failure(to, path, "does not answer or refuses the association")
        try:
            answer = association.send_c_store(path)
        except (ValueError, RuntimeError, AttributeError) as error:
            raise _refusal(to, path, f"does not take it: {error!s:.200}") from error
        finally:
            association.release()
    status = answer.get("Status")
    if status is None:
        raise _failure(to, path, "hung up before it answered")
    if status != 0 and status not in _WARNINGS:
        raise _refusal(to, path, f"refuses it with status 0x{status:04X}")


def _failure(to: Address, path: Path, what: str) -> OutputError:
    return OutputError(f"{path.name}: {to} {what}")


def _refusal(to: Address, path: Path, what: str) -> RefusedResultError:
    return RefusedResultError(f"{path.name}: {to} {what}")
