"""Who may send what to the node, where results go, and TLS for both directions."""

import re
import ssl
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from pydantic import Field, field_validator, model_validator

from medseg.errors import SettingsError
from medseg.extras import how_to_install
from medseg.settings import Settings, apply_overrides, parse_settings

_TITLE = re.compile(
    r"[\x21-\x5b\x5d-\x7e](?:[\x20-\x5b\x5d-\x7e]{0,14}[\x21-\x5b\x5d-\x7e])?"
)
_ADDRESS = re.compile(r"(?P<title>.+)@(?P<host>\[[^\]]+\]|[^:@]+):(?P<port>\d{1,5})")


class Address(Settings):
    """Another DICOM node."""

    ae_title: str
    """Its application entity title."""
    host: str
    """Name or number of its machine."""
    port: int = Field(ge=1, le=65535)
    """Its TCP port."""

    @classmethod
    def parse(cls, text: str) -> "Address":
        """An address such as ``ORTHANC@127.0.0.1:4242``.

        Raises:
            SettingsError: The text has another form.
        """
        match = _ADDRESS.fullmatch(text.strip())
        if match is None or not _TITLE.fullmatch(match["title"]):
            raise SettingsError(
                f"address {text!r}: expected TITLE@HOST:PORT, such as "
                "ORTHANC@127.0.0.1:4242"
            )
        host = match["host"].strip("[]")
        values = {"ae_title": match["title"], "host": host, "port": match["port"]}
        return parse_settings(cls, values, source=f"address {text!r}")

    def __str__(self) -> str:
        """As `parse` reads it."""
        return f"{self.ae_title}@{self.host}:{self.port}"


class WebAddress(Settings):
    """The DICOMweb service of an archive."""

    url: str = Field(pattern=r"^https?://[^\s/@?#]+(/[^\s@?#]*)?$")
    """Such as ``https://pacs.example/dicom-web``; secrets have no place in it."""

    def __str__(self) -> str:
        """The URL."""
        return self.url


def parse_address(text: str) -> Address | WebAddress:
    """``TITLE@HOST:PORT``, or the URL of a DICOMweb service.

    Raises:
        SettingsError: The text has another form.
    """
    if text.lower().startswith(("http://", "https://")):
        return parse_settings(WebAddress, {"url": text}, source="address")
    return Address.parse(text)


class PacsSettings(Settings):
    """The node: its AE title, permitted senders and limits."""

    allow: tuple[str, ...] = ()
    """Titles that may send; every other one is refused. Without any, the node does
    not listen."""
    send_to: Address | WebAddress | None = None
    """Where segmentations go; None keeps them in the folder."""
    fetch_from: WebAddress | None = None
    """A DICOMweb service to ask for studies."""
    query: dict[str, str] = {}
    """Which studies to ask it for, by DICOM keyword, such as ModalitiesInStudy."""
    poll: float = Field(default=30.0, gt=0)
    """Seconds between two questions."""
    web_token: Path | None = None
    """File with a bearer token for DICOMweb; without one, ~/.netrc counts."""
    ae_title: str = "MEDSEG"
    """The node's own title, which senders must call."""
    host: str = "127.0.0.1"
    """Address to listen at; this machine alone unless another is given."""
    port: int = Field(default=11112, ge=0, le=65535)
    """TCP port to listen at; 0 takes a free one."""
    settle: float = Field(default=30.0, gt=0)
    """Seconds without a new object after which a study is complete."""
    keep_hours: float = Field(default=24.0, ge=0)
    """How long objects and results stay after a study's last change. Slices that
    come late find the others of their series within this time."""
    max_object_mb: float = Field(default=1024.0, gt=0)
    """Largest object, in MB; a larger one ends the association."""
    max_study_objects: int = Field(default=20000, ge=1)
    """Most objects of one study."""
    max_total_gb: float = Field(default=50.0, gt=0)
    """Most that all received objects may take, in GB."""
    min_free_gb: float = Field(default=1.0, ge=0)
    """Disk space, in GB, that is left for others."""
    max_associations: int = Field(default=4, ge=1)
    """Senders at a time."""
    timeout: float = Field(default=30.0, gt=0)
    """Seconds of silence after which a sender is hung up on."""
    time_limit: float = Field(default=3600.0, gt=0)
    """Seconds after which segmenting a study is given up."""
    tls_cert: Path | None = None
    """Own certificate (PEM); with it, senders and the destination must use TLS."""
    tls_key: Path | None = None
    """Key of the certificate (PEM)."""
    tls_ca: Path | None = None
    """Certificates (PEM) that others must show one of; without, senders need none."""

    @field_validator("ae_title")
    @classmethod
    def _own_title(cls, title: str) -> str:
        return _checked(title)

    @field_validator("allow")
    @classmethod
    def _titles(cls, titles: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(_checked(title) for title in titles)

    @model_validator(mode="after")
    def _has_a_source(self) -> "PacsSettings":
        if not self.allow and self.fetch_from is None:
            raise ValueError(
                "nobody may send and nothing is fetched; give --allow or --fetch-from"
            )
        return self

    @model_validator(mode="after")
    def _tls_is_whole(self) -> "PacsSettings":
        if (self.tls_cert is None) != (self.tls_key is None):
            raise ValueError("tls_cert and tls_key go together")
        if self.tls_ca is not None and self.tls_cert is None:
            raise ValueError("tls_ca needs tls_cert and tls_key")
        return self


def parse_query(text: str) -> dict[str, str]:
    """Keywords and values from text such as ``"ModalitiesInStudy=CT"``.

    Raises:
        SettingsError: It has another form.
    """
    parts = [part.partition("=") for part in text.split(",") if part.strip()]
    query = {key.strip(): value.strip() for key, _, value in parts}
    if not all(key.isalnum() and value for key, value in query.items()):
        raise SettingsError(
            f"query {text!r}: expected Keyword=value, such as ModalitiesInStudy=CT"
        )
    return query


def _checked(title: str) -> str:
    """A title of 1 to 16 characters, as DICOM PS3.8 allows them."""
    if not _TITLE.fullmatch(title):
        raise ValueError(f"title {title!r}: expected 1 to 16 characters, no backslash")
    return title


def read_pacs_settings(overrides: Sequence[str], **values: Any) -> PacsSettings:
    """Settings from values and texts such as ``max_object_mb=512``.

    Raises:
        SettingsError: One is wrong or unknown, or a library is not installed.
    """
    for library in ("pynetdicom", "dicomweb_client"):
        if find_spec(library) is None:
            raise SettingsError(
                f"medseg pacs needs {library}: {how_to_install('pacs')}"
            )
    given = {key: value for key, value in values.items() if value is not None}
    for key in ("send_to", "fetch_from"):
        if given.get(key):
            given[key] = parse_address(given[key])
    if "query" in given:
        given["query"] = parse_query(given["query"])
    given = apply_overrides(given, list(overrides))
    return parse_settings(PacsSettings, given, source="pacs")


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
