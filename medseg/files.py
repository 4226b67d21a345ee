"""Writing whole files or none, and telling files apart by content."""

import hashlib
import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from errno import EDQUOT, ENOSPC, EROFS
from pathlib import Path

from medseg.errors import OutputError

_NOTHING_MORE = {ENOSPC, EDQUOT, EROFS}


@contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """A temporary path beside `path` that becomes `path` when the block succeeds.

    The temporary name keeps the suffixes, so that writers that look at them work.
    Whatever goes wrong, no file appears under the final name and the temporary one
    is removed.

    Raises:
        OutputError: The file cannot be written (permissions, full disk).
    """
    temporary = path.with_name(f".{uuid.uuid4().hex[:8]}.part.{path.name}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        _flush_to_disk(temporary)
        temporary.replace(path)
    except OSError as error:
        if isinstance(error, OutputError) or not is_write_failure(error):
            raise
        raise OutputError(f"{path}: cannot be written: {error.strerror}") from error
    finally:
        with suppress(OSError):  # where the folder itself could not be entered
            temporary.unlink(missing_ok=True)


@contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """A temporary folder beside `path` that becomes `path` when the block succeeds.

    A folder that already has the name is replaced.

    Raises:
        OutputError: The folder cannot be written.
    """
    temporary = path.with_name(f".{uuid.uuid4().hex[:8]}.part.{path.name}")
    retired = path.with_name(f".{uuid.uuid4().hex[:8]}.old.{path.name}")
    try:
        temporary.mkdir(parents=True)
        yield temporary
        if path.exists():
            path.replace(retired)
        temporary.replace(path)
    except OSError as error:
        if isinstance(error, OutputError) or not is_write_failure(error):
            raise
        raise OutputError(f"{path}: cannot be written: {error.strerror}") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
        shutil.rmtree(retired, ignore_errors=True)


def write_text(path: Path, text: str) -> None:
    """Writes a text file whole, or not at all.

    What is no UTF-8, as names of files may be, is written as escapes.

    Raises:
        OutputError: The file cannot be written.
    """
    with atomic_write(path) as temporary:
        temporary.write_text(text, encoding="utf-8", errors="backslashreplace")


def require_writable(path: Path) -> None:
    """Refuses a file below something that is no folder, or one that is closed to us.

    Raises:
        OutputError: It is so.
    """
    above = next((part for part in path.absolute().parents if part.exists()), None)
    if path.is_dir():
        reason = "a folder of that name is there"
    elif above is not None and not above.is_dir():
        reason = f"{above} is no folder"
    elif above is not None and not os.access(path if path.exists() else above, os.W_OK):
        reason = "no permission"
    else:
        return
    raise OutputError(f"{path}: cannot be written: {reason}")


def real_path(path: Path) -> Path:
    """Where a path leads when links are followed; circular ones lead where they can."""
    return Path(os.path.realpath(path))


def is_disk_full(error: OutputError) -> bool:
    """Whether the disk is full or read-only: nothing more can be written."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, OSError) and cause.errno in _NOTHING_MORE:
            return True
        cause = cause.__cause__
    return False


def hash_file(path: Path) -> str:
    """SHA-256 of a file's bytes, as hexadecimal text."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def hash_bytes(content: bytes) -> str:
    """SHA-256 of bytes, as hexadecimal text."""
    return hashlib.sha256(content).hexdigest()


def hash_text(text: str) -> str:
    """SHA-256 of a text's UTF-8 bytes, as hexadecimal text."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def _flush_to_disk(path: Path) -> None:
    with path.open("r+b") as stream:  # Windows flushes no file that is only read
        os.fsync(stream.fileno())


def is_write_failure(error: OSError) -> bool:
    """Whether the operating system refused; library errors carry no number."""
    return error.errno is not None
