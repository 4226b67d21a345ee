"""Reading the next scan and writing the last one while one is segmented."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass

from medseg.prediction.captured_warnings import remarks_by_thread
from medseg.prediction.crash_guard import CrashGuard
from medseg.prediction.records import FAILED, Prediction
from medseg.prediction.scan import Scan
from medseg.prediction.scan_job import ScanWork
from medseg.prediction.segmenter import Segmenter

_UNFOLDED = 8
"""A volume in memory may be so many times larger than its files."""


@dataclass(frozen=True)
class Assembly:
    """Three stages, each busy with another scan.

    The model works in the calling thread; one thread reads, one writes. After an
    abrupt end of an earlier process, and where memory is short, scans go one by one.

    Attributes:
        segmenter: Reads, segments and writes.
        earlier: Gives the line of an earlier call.
        guard: Remembers what is worked on.
        say: Is told of each line, in order, as soon as it is known.
    """

    segmenter: Segmenter
    earlier: Callable[[Scan], Prediction | None]
    guard: CrashGuard
    say: Callable[[Prediction], None]

    def run(self, scans: Iterator[Scan], following: Sequence[Scan]) -> None:
        """Takes every scan through the stages.

        Args:
            scans: What to do; taken one by one, so that progress can be shown.
            following: The same scans, to look ahead.

        Raises:
            OutputError: Nothing more can be written.
        """
        overlaps = not self.guard.is_wary
        reader, writer = ThreadPoolExecutor(1), ThreadPoolExecutor(1)
        writing: Future[Prediction] | None = None
        ahead: Future[ScanWork] | None = None
        try:
            with remarks_by_thread():
                for number, scan in enumerate(scans):
                    reading = ahead or reader.submit(self._read, scan)
                    work = reading.result()
                    ahead = None
                    if overlaps and number + 1 < len(following):
                        ahead = self._read_ahead(following[number + 1], reader)
                    work = self.segmenter.compute(work)
                    self._finish(writing)
                    writing = writer.submit(self.segmenter.write, work)
                    if not overlaps:
                        self._finish(writing)
                        writing = None
        finally:
            reader.shutdown(cancel_futures=True)
            writer.shutdown()
            try:
                self._finish(writing)
            finally:
                self.guard.settle_all()

    def _read(self, scan: Scan) -> ScanWork:
        if self.guard.has_crashed(scan.name):
            return ScanWork(scan, line=_passed_over(scan))
        self.guard.begin(scan.name)
        return self.segmenter.read(scan, self.earlier(scan))

    def _read_ahead(
        self, scan: Scan, reader: ThreadPoolExecutor
    ) -> "Future[ScanWork] | None":
        """Begins to read the next scan, where memory surely holds it as well."""
        import psutil

        size = 0
        with suppress(OSError):
            size = sum(path.stat().st_size for path in scan.files)
        if size * _UNFOLDED > psutil.virtual_memory().available / 4:
            return None
        return reader.submit(self._read, scan)

    def _finish(self, writing: "Future[Prediction] | None") -> None:
        """Waits for the last scan's writing; its line is said."""
        if writing is not None:
            line = writing.result()
            self.guard.end(line.scan)
            self.say(line)


def _passed_over(scan: Scan) -> Prediction:
    reason = (
        "medseg ended abruptly while it worked on this scan, twice (killed, out of "
        "memory, or a decoder that crashed on damaged data); the next call tries "
        "it again"
    )
    return Prediction(scan.name, FAILED, source=scan.shown, reason=reason)
