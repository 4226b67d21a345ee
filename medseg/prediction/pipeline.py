"""Reading the next scan and writing the last one while one is segmented."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass

from medseg.prediction.captured_warnings import remarks_by_thread
from medseg.prediction.ended_calls import MOST, EndedCalls
from medseg.prediction.records import FAILED, Prediction
from medseg.prediction.scan import Scan
from medseg.prediction.scan_job import ScanJob
from medseg.prediction.segmenter import Segmenter

_UNFOLDED = 8
"""A volume in memory may be so many times larger than its files."""


@dataclass(frozen=True)
class PredictionPipeline:
    """Three stages, each busy with another scan.

    The model works in the calling thread; one thread reads, one writes. Where memory
    is short, scans go one by one.

    Attributes:
        segmenter: Reads, segments and writes.
        earlier: Gives the line of an earlier call.
        ended: Remembers the scan that is segmented, in case the call is killed.
        say: Is told of each line, in order, as soon as it is known.
    """

    segmenter: Segmenter
    earlier: Callable[[Scan], Prediction | None]
    ended: EndedCalls
    say: Callable[[Prediction], None]

    def run(self, scans: Iterator[Scan], following: Sequence[Scan]) -> None:
        """Takes every scan through the stages.

        Args:
            scans: What to do; taken one by one, so that progress can be shown.
            following: The same scans, to look ahead.

        Raises:
            OutputError: Nothing more can be written.
        """
        reader, writer = ThreadPoolExecutor(1), ThreadPoolExecutor(1)
        writing: Future[Prediction] | None = None
        ahead: Future[ScanJob] | None = None
        try:
            with remarks_by_thread():
                for number, scan in enumerate(scans):
                    reading = ahead or reader.submit(self._read, scan)
                    job = reading.result()
                    ahead = None
                    if number + 1 < len(following):
                        ahead = self._read_ahead(following[number + 1], reader)
                    job = self._compute(job)
                    self._finish(writing)
                    writing = writer.submit(self.segmenter.write, job)
        finally:
            reader.shutdown(cancel_futures=True)
            writer.shutdown()
            self._finish(writing)

    def _read(self, scan: Scan) -> ScanJob:
        return self.segmenter.read(scan, self.earlier(scan))

    def _compute(self, job: ScanJob) -> ScanJob:
        if job.line is not None:
            return job
        if self.ended.during(job.scan) >= MOST:
            self.ended.forget(job.scan)
            job.loaded, job.line = None, _passed_over(job.scan)
            return job
        with self.ended.marked(job.scan):
            return self.segmenter.compute(job)

    def _read_ahead(
        self, scan: Scan, reader: ThreadPoolExecutor
    ) -> "Future[ScanJob] | None":
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
            self.say(writing.result())


def _passed_over(scan: Scan) -> Prediction:
    reason = (
        f"{MOST} calls ended without a word while this scan was segmented (killed, or "
        "out of memory); try a smaller --max-ram; the next call tries it again"
    )
    return Prediction(scan.name, FAILED, source=scan.shown, reason=reason)
