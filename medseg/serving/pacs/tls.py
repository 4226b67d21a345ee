"""TLS for both directions, from certificate files."""

import ssl
from typing import TYPE_CHECKING

from medseg.errors import SettingsError

if TYPE_CHECKING:
    from medseg.serving.pacs.settings import PacsSettings


def server_context(settings: "PacsSettings") -> ssl.SSLContext | None:
    """SSL context of the server; None without TLS.

    Raises:
        SettingsError: A certificate cannot be used.
    """
    if settings.tls_cert is None:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    return _filled(context, settings, require=settings.tls_ca is not None)


def client_context(settings: "PacsSettings") -> ssl.SSLContext | None:
    """SSL context for connections to the destination; None without TLS.

    The destination must show a certificate of `tls_ca`, or of the machine's own
    authorities where there is none. Certificates of hospital devices seldom name
    their host, so that names are not compared.

    Raises:
        SettingsError: A certificate cannot be used.
    """
    if settings.tls_cert is None:
        return None
    context = ssl.create_default_context()
    context.check_hostname = False
    return _filled(context, settings, require=True)


def _filled(
    context: ssl.SSLContext, settings: "PacsSettings", *, require: bool
) -> ssl.SSLContext:
    assert settings.tls_cert is not None
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(settings.tls_cert, settings.tls_key)
        if settings.tls_ca is not None:
            context.load_verify_locations(settings.tls_ca)
    except (OSError, ssl.SSLError) as error:
        raise SettingsError(
            f"TLS: {settings.tls_cert}, {settings.tls_key} or {settings.tls_ca} cannot "
            f"be used: {error}"
        ) from error
    context.verify_mode = ssl.CERT_REQUIRED if require else ssl.CERT_NONE
    return context
