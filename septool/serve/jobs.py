"""The job queue: one worker for each device, and files that expire."""

import base64
import logging
import re
import secrets
import shutil
import tempfile
import threading
import time
import unicodedata
import zipfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

import numpy as np
from filelock import FileLock, Timeout

from septool import audio
from septool.atomic import atomic_write
from septool.batch.outcomes import Failed, Skipped
from septool.config import JsonDict
from septool.conversation.result import SeparatedConversation
from septool.conversation.speaker_count import TRACKS, check_tracks, parse_count
from septool.errors import SeptoolError, UsageError
from septool.load_cache import keep_loaded
from septool.printable import is_in_words
from septool.reports.spectrograms import RANGE_DB, spectrogram
from septool.tasks.separate import separate

LOG = logging.getLogger(__name__)
FOLDER_PREFIX = "septool-serve-"
LOCK = "running.lock"  # held for as long as the folder's process lives
MAX_WAITING = 20  # recordings; whoever sends more is asked to come again
FREE_BYTES = 1_000_000_000  # free space that is left to others
NAME_BYTES = 160  # limit of a recording's name; names of its voices are longer
STOP_SECONDS = 20.0  # for all workers together: a segment that is being computed is not interrupted
SWEEP_SECONDS = 15.0
KEPT_FILES = 3  # whose networks stay loaded on each device, the speaker network of conversations among them
# What browsers play; other recordings are written as wav to be listened to.
PLAYABLE = frozenset({".wav", ".flac", ".mp3", ".ogg", ".oga", ".opus", ".m4a", ".mp4", ".webm", ".aac"})


class State(StrEnum):
    """How far a recording is."""

    SENDING = "sending"
    WAITING = "waiting"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"


class BusyError(SeptoolError):
    """No more recordings are taken for now."""


class DiskFullError(SeptoolError):
    """There is no room for a recording."""

    @classmethod
    def of(cls, error: OSError) -> "DiskFullError":
        """Return it for what the system said when a recording was to be kept."""
        return cls(f"the recording cannot be kept: {error.strerror}")


class NoSuchJobError(SeptoolError):
    """A recording that never was, or whose time is over."""


class CancelledError(SeptoolError):
    """Who sent a recording does not want it any more."""


@dataclass(frozen=True)
class Limits:
    """What is too much."""

    upload_bytes: int = 500_000_000
    seconds: float = 3 * 3600.0  # longest recording
    keep_seconds: float = 3600.0  # files, once a recording is done


@dataclass(frozen=True)
class Track:
    """Something to listen to on the time axis."""

    title: str
    path: Path
    levels: np.ndarray  # spectrogram, [frequency, column] from the lowest, uint8 over RANGE_DB below the loudest track

    @property
    def size(self) -> int:
        """Bytes of the file."""
        return self.path.stat().st_size


@dataclass
class Job:
    """A recording, what is asked of it, and what has become of it."""

    name: str  # name of the file as it was sent, made safe
    folder: Path
    model: str
    speakers: str | None  # a conversation of so many people, as for ``separate``; None is the model's voices
    id: str = field(default_factory=lambda: secrets.token_urlsafe(16))  # who knows it may have the files
    state: State = State.SENDING
    done_seconds: float = 0.0
    seconds: float | None = None  # length of the recording
    elapsed: float | None = None
    error: str | None = None
    notes: tuple[str, ...] = ()
    tracks: tuple[Track, ...] = ()
    activity: Path | None = None  # file that says who speaks when
    ended_at: float | None = None  # by the clock of the queue
    cancelled: bool = False

    @property
    def recording(self) -> Path:
        """Where the recording is."""
        return self.folder / "in" / self.name

    @property
    def is_over(self) -> bool:
        """Return whether nothing more will happen to it."""
        return self.state in (State.DONE, State.FAILED)

    @property
    def downloads(self) -> list[Path]:
        """The files that were made."""
        return [track.path for track in self.tracks[1:]] + ([self.activity] if self.activity else [])


def safe_name(name: str) -> str:
    """Return a name as a file may have it, on every system, in this folder and no other.

    >>> safe_name("../../etc/pass wd?.wav")
    'pass wd_.wav'
    """
    last = unicodedata.normalize("NFC", re.split(r"[/\\]", name)[-1])
    kept = (character if character in "_ ().+-" or is_in_words(character) else "_" for character in last)
    path = Path("".join(kept).strip(" ."))
    suffix = path.suffix if re.fullmatch(r"\.\w{1,8}", path.suffix, re.ASCII) else ""
    stem = path.name.removesuffix(suffix).encode()[:NAME_BYTES].decode(errors="ignore").strip(" .")
    return (stem or "recording") + suffix


class JobQueue:
    """Recordings, worked on one at a time on each device.

    Args:
        model: the separator that is used unless a recording is sent with another.
        models: voices of each that may be asked for, by name; no path and nothing that has to be fetched is taken from
            outside.
        devices: where models compute; each works on one recording at a time.
        limits: what is refused.
        suffix: format of the voices.
        clock: seconds that pass.
    """

    def __init__(
        self,
        *,
        model: str = "galr",
        models: Mapping[str, int] | None = None,
        devices: Sequence[str] = ("auto",),
        limits: Limits = Limits(),
        suffix: str = "wav",
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.model, self.models = model, {model: TRACKS} if models is None else dict(models)
        self.devices, self.limits, self.suffix = tuple(devices), limits, suffix
        self._clock = clock
        self._jobs: dict[str, Job] = {}
        self._waiting: list[Job] = []
        self._changed = threading.Condition()
        self._stopping = threading.Event()
        self._threads: list[threading.Thread] = []
        self._folder: Path | None = None
        self._lock: FileLock | None = None

    def start(self) -> None:
        """Begin to work."""
        clear_left_behind(Path(tempfile.gettempdir()))
        self._folder = Path(tempfile.mkdtemp(prefix=FOLDER_PREFIX))
        self._lock = FileLock(self._folder / LOCK, thread_local=False)  # whoever stops may be another than who starts
        self._lock.acquire()
        for device in self.devices:
            self._threads.append(threading.Thread(target=self._work, args=(device,), daemon=True))
        self._threads.append(threading.Thread(target=self._sweep, daemon=True))
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """End: what is being worked on is given up, and every file goes.

        A worker that does not hear of it in time goes on until the process ends.
        """
        self._stopping.set()
        with self._changed:
            for job in self._jobs.values():
                job.cancelled = True
            self._changed.notify_all()
        until = time.monotonic() + STOP_SECONDS
        for thread in self._threads:
            thread.join(max(until - time.monotonic(), 0.0))
        if self._lock is not None:
            self._lock.release()
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)

    def open(self, name: str, model: str | None = None, speakers: str | None = None) -> Job:
        """Make room for a recording, which is then written to ``job.recording``.

        Raises:
            UsageError: a model that is not offered, a number of speakers that is none, or a model that does not take
                conversations.
            BusyError: too many are waiting.
            DiskFullError: the disk has no room for it.
        """
        model = model or self.model
        if model not in self.models:
            raise UsageError(f"model is {model!r}; it can be {', '.join(self.models)}")
        if speakers is not None:
            parse_count(speakers)
            check_tracks(model, self.models[model])
        if self._folder is None:
            raise BusyError("the server is starting")
        try:
            free = shutil.disk_usage(self._folder).free
        except OSError as error:  # somebody cleared the folder away
            raise DiskFullError.of(error) from None
        if free < self.limits.upload_bytes + FREE_BYTES:
            raise DiskFullError("the disk of this machine is full; come again when it is not")
        job = Job(safe_name(name), Path(), model, speakers)
        job.folder = self._folder / job.id
        with self._changed:
            if sum(not other.is_over for other in self._jobs.values()) >= MAX_WAITING + len(self.devices):
                raise BusyError(f"{MAX_WAITING} recordings are waiting already; come again when one is done")
            self._jobs[job.id] = job
        try:
            job.recording.parent.mkdir(parents=True)
        except OSError as error:
            self.remove(job)  # its place is for others
            raise DiskFullError.of(error) from None
        return job

    def submit(self, job: Job) -> None:
        """Let a recording that is here whole wait for its turn."""
        with self._changed:
            job.state = State.WAITING
            self._waiting.append(job)
            self._changed.notify()

    def find(self, identifier: str) -> Job:
        """Return a recording by its identifier.

        Raises:
            NoSuchJobError: there is none.
        """
        job = self._jobs.get(identifier)
        if job is None or job.cancelled:
            raise NoSuchJobError("there is no such recording; its files may be gone")
        return job

    def ahead(self, job: Job) -> int:
        """Return how many recordings are worked on before this one begins."""
        with self._changed:
            if job not in self._waiting:
                return 0
            running = sum(other.state == State.RUNNING for other in self._jobs.values())
            return max(self._waiting.index(job) + running - len(self.devices) + 1, 0)

    def waiting(self) -> int:
        """Return how many recordings have not begun."""
        with self._changed:
            return len(self._waiting)

    def expires_in(self, job: Job) -> float | None:
        """Return the seconds until the files of a recording go; None as long as it is worked on."""
        return None if job.ended_at is None else max(job.ended_at + self.limits.keep_seconds - self._clock(), 0.0)

    def remove(self, job: Job) -> None:
        """Give a recording up, and remove its files."""
        with self._changed:
            job.cancelled = True
            if job in self._waiting:
                self._waiting.remove(job)
            if job.state == State.RUNNING:  # its worker removes it
                return
            self._jobs.pop(job.id, None)
        shutil.rmtree(job.folder, ignore_errors=True)

    def remove_expired(self) -> None:
        """Remove the recordings whose time is over."""
        for job in list(self._jobs.values()):
            if self.expires_in(job) == 0.0:
                self.remove(job)

    def archive(self, job: Job) -> Path:
        """Return a zip file of what was made of a recording, written when it is first asked for."""
        path = job.folder / "voices.zip"
        if not path.exists():
            with atomic_write(path) as partial, zipfile.ZipFile(partial, "w", zipfile.ZIP_STORED) as archive:
                for made in job.downloads:
                    archive.write(made, made.name)
        return path

    def _sweep(self) -> None:
        while not self._stopping.wait(min(SWEEP_SECONDS, self.limits.keep_seconds)):
            self.remove_expired()

    def _work(self, device: str) -> None:
        with keep_loaded(KEPT_FILES):
            self._work_on_jobs(device)

    def _work_on_jobs(self, device: str) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting or self._stopping.is_set())
                if self._stopping.is_set():
                    return
                job = self._waiting.pop(0)
                job.state = State.RUNNING
            try:
                self._separate(job, device)
            except SeptoolError as error:
                job.error = self._without_folders(job, str(error))
            except Exception as error:  # whatever torch or a driver raises: the next recording may do
                LOG.exception("%s", job.name)
                job.error = f"{job.name}: {type(error).__name__}: {str(error).partition(chr(10))[0]}"
            job.ended_at = self._clock()
            job.state = State.DONE if job.error is None else State.FAILED
            LOG.info("%s: %s", job.name, job.error or f"{job.seconds:.1f} s in {job.elapsed:.1f} s with {job.model}")
            if job.cancelled:
                self.remove(job)
            elif job.error is not None:  # there is nothing to fetch, and the recording is not ours to keep
                shutil.rmtree(job.folder, ignore_errors=True)

    def _separate(self, job: Job, device: str) -> None:
        """Write the voices of a recording and draw them.

        Raises:
            SeptoolError: why there are none.
        """

        def check_wanted() -> None:
            if job.cancelled:
                raise CancelledError(f"{job.name}: not wanted any more")

        def follow(_: str, done: float, total: float) -> None:
            check_wanted()
            job.done_seconds, job.seconds = done, max(done, total)
            if job.seconds > self.limits.seconds:
                raise UsageError(
                    f"{job.name} is longer than the {self.limits.seconds / 60:g} minutes that are taken here"
                )

        follow("", 0.0, _seconds(job.recording))
        (result,) = separate(
            [str(job.recording)],
            model=job.model,
            out=str(job.folder / "out"),
            device=device,
            jobs=1,
            suffix=self.suffix,
            speakers=job.speakers,
            activity=None if job.speakers is None else "rttm",
            progress=follow,
        )
        if isinstance(result, Failed | Skipped):
            raise SeptoolError(getattr(result, "error", "the voices are there already"))
        titles = [f"Voice {number}" for number in range(1, len(result.outputs) + 1)]
        if isinstance(result, SeparatedConversation):
            titles = [f"Speaker {number}" for number in range(1, len(result.outputs) + 1)]
            job.activity = None if result.activity is None else Path(result.activity)
        shown = {"Recording": _playable(job.recording, check_wanted)} | {
            title: Path(path) for title, path in zip(titles, result.outputs, strict=True)
        }
        job.notes = tuple(self._without_folders(job, finding.fact) for finding in result.findings)
        job.tracks = tuple(_draw_tracks(shown, check_wanted))
        job.seconds = job.done_seconds = result.seconds
        job.elapsed = result.elapsed

    @staticmethod
    def _without_folders(job: Job, text: str) -> str:
        """Return a message in which files go by the names that whoever sent the recording knows."""
        for folder in (job.recording.parent, job.folder / "out", job.folder):
            text = text.replace(f"{folder}/", "").replace(f"{folder}\\", "")
        return text


def _seconds(recording: Path) -> float:
    """Return how long a recording is, as far as that is known before it is decoded; a header may announce more."""
    with audio.open_audio(recording) as file:
        return file.frames / file.rate


def _draw_tracks(shown: dict[str, Path], check_wanted: Callable[[], None]) -> list[Track]:
    """Return files as tracks, drawn on one scale, so that what is quieter looks it."""
    drawn = {}
    for title, path in shown.items():
        check_wanted()
        drawn[title] = spectrogram(path)
    loudest = max(float(levels.max()) for levels in drawn.values())
    return [
        Track(title, path, (np.clip((drawn[title] - loudest) / RANGE_DB + 1, 0, 1) * 255).astype(np.uint8))
        for title, path in shown.items()
    ]


def _playable(recording: Path, check_wanted: Callable[[], None]) -> Path:
    """Return a recording as browsers play it."""
    if recording.suffix.lower() in PLAYABLE:
        return recording
    target = recording.parent.parent / f"{recording.stem}.wav"
    with atomic_write(target) as partial:
        audio.transcode(recording, partial, target, "PCM_16", check_wanted=check_wanted)
    return target


def picture_row(track: Track) -> JsonDict:
    """Return the spectrogram of a track as plain values for JSON, its levels as base64 of bytes, row by row."""
    rows, columns = track.levels.shape
    levels = base64.b64encode(track.levels.tobytes()).decode()
    return {"rows": rows, "columns": columns, "range_db": RANGE_DB, "levels": levels}


def clear_left_behind(temporary: Path) -> None:
    """Remove the folders of servers that were killed."""
    for folder in temporary.glob(f"{FOLDER_PREFIX}*"):
        with suppress(OSError, Timeout):  # another user's, or one of a server that runs
            if (folder / LOCK).exists():
                with FileLock(folder / LOCK, timeout=0):
                    shutil.rmtree(folder, ignore_errors=True)
