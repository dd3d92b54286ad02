"""Downloads: from the hub by huggingface_hub, from elsewhere by httpx.

The only file that opens a network connection. What is fetched appears whole or not at all; what was seen once has to
stay the same. Proxies and certificates come from the environment, as those libraries read it; so do ``HF_TOKEN``,
``HF_ENDPOINT``, ``HF_HOME`` and ``HF_HUB_CACHE``. ``SEPTOOL_OFFLINE=1`` or ``HF_HUB_OFFLINE=1`` opens no connection.
"""

import contextlib
import json
import logging
import os
import re
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from septool.atomic import atomic_write
from septool.config import JsonDict, cache_folder, read_switch
from septool.errors import CheckpointError
from septool.files import make_folder, sha256_of
from septool.version import __version__

if TYPE_CHECKING:
    import httpx
    from tqdm import tqdm

LOG = logging.getLogger(__name__)
HUB = "https://huggingface.co"
HUB_FILE = re.compile(rf"{HUB}/([\w.-]+/[\w.-]+)/resolve/([\w./-]+?)/(.+)")
MOST = 2_000_000_000  # bytes of a file of unknown size
ATTEMPTS = 5  # connections in a row that bring nothing
PATIENCE = 30.0  # seconds without a byte
WAIT = 1.0  # seconds before the second attempt; doubled for each further one
BLOCK = 1 << 20  # bytes
RETRIED = (408, 429, 500, 502, 503, 504)

Progress = Callable[[str, int, int], None]  # a file's name, bytes that are here, bytes in all (0 if not known)


class MismatchError(CheckpointError):
    """A fetched file that is another one than expected."""


@dataclass(frozen=True, kw_only=True)
class RemoteFile:
    """A file of a published checkpoint."""

    name: str
    url: str  # at a fixed revision
    sha256: str = ""  # empty if it was never published; the first one seen counts then
    bytes: int = 0  # 0 if not known
    about_bytes: int = 0  # where only a rounded size is known

    @property
    def limit(self) -> int:
        """Bytes after which a download ends, whatever the server goes on sending."""
        return self.bytes or (2 * self.about_bytes + 1_000_000 if self.about_bytes else MOST)


def is_offline() -> bool:
    """Return whether connections are forbidden.

    Raises:
        ConfigError: a variable that is neither on nor off.
    """
    return any(read_switch(name) for name in ("SEPTOOL_OFFLINE", "HF_HUB_OFFLINE"))


def endpoint() -> str:
    """Return where the hub is: ``$HF_ENDPOINT``, or the public one."""
    return os.environ.get("HF_ENDPOINT", "").rstrip("/") or HUB


def hub_cache() -> Path:
    """Return the folder in which the hub's own library keeps what it fetched, for every program."""
    if folder := os.environ.get("HF_HUB_CACHE"):
        return Path(folder).expanduser()
    if folder := os.environ.get("HF_HOME"):
        return Path(folder).expanduser() / "hub"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "huggingface" / "hub"


def find_downloaded(file: RemoteFile) -> Path | None:
    """Return where a file is on this machine, if it was fetched before; opens no connection."""
    if match := HUB_FILE.fullmatch(file.url):
        repository, revision, name = match.groups()
        folder = hub_cache() / f"models--{repository.replace('/', '--')}"
        with contextlib.suppress(OSError):  # a branch or tag is kept as the commit that it meant
            revision = (folder / "refs" / revision).read_text().strip()
        path = folder / "snapshots" / revision / name
    else:
        path = own_path(file)
    return path if path.exists() else None


def expected_folder(file: RemoteFile) -> Path:
    """Return the folder below which a file will be once it is fetched: its repository's, or the one of all others."""
    if match := HUB_FILE.fullmatch(file.url):
        return hub_cache() / f"models--{match.group(1).replace('/', '--')}"
    return cache_folder() / "downloads"


def own_path(file: RemoteFile) -> Path:
    """Return where a file that is not of the hub will be, or is."""
    return expected_folder(file) / sha256_of(file.url.encode())[:16] / file.name


def remote_size(file: RemoteFile) -> int:
    """Return a file's size in bytes, asking its server if it is not known; 0 if that does not say it.

    Raises:
        CheckpointError: the server cannot be asked.
    """
    if file.bytes or is_offline():
        return file.bytes
    with _in_words(file.url):
        if HUB_FILE.fullmatch(file.url):
            from huggingface_hub import get_hf_file_metadata

            return get_hf_file_metadata(_at_endpoint(file.url), endpoint=endpoint()).size or 0
        import httpx

        response = httpx.head(file.url, follow_redirects=True, timeout=PATIENCE)
        response.raise_for_status()
        return int(response.headers.get("content-length", 0))


def download(file: RemoteFile, progress: Progress = lambda *_: None) -> Path:
    """Fetch a file unless it is here, and compare it with what is known of it.

    Args:
        file: what to fetch.
        progress: callback for every block.

    Returns:
        Where it is.

    Raises:
        MismatchError: it is another file than expected; nothing is left of it then.
        CheckpointError: it cannot be fetched, or not be compared.
    """
    path = find_downloaded(file)
    if path is None:
        if is_offline():
            raise CheckpointError(f"{file.url} is not here, and connections are off (--offline, or SEPTOOL_OFFLINE)")
        LOG.info("fetching %s", file.url)
        with _in_words(file.url):
            path = _from_hub(file, progress) if HUB_FILE.fullmatch(file.url) else _from_elsewhere(file, progress)
    try:
        check_sum(file, path)
    except MismatchError:  # what cannot be compared, for want of the sums, may be the right one: it stays
        _forget(path)
        raise
    return path


def check_sum(file: RemoteFile, path: Path) -> None:
    """Compare a fetched file with its entry, or else with what was seen of it first, which is kept.

    Raises:
        MismatchError: it is another file.
        CheckpointError: the list of sums is damaged or cannot be read.
    """
    digest, size = sha256_of(path), path.stat().st_size
    known = read_sums().get(file.url, {}).get("sha256", "")
    for expected, source in ((file.sha256, "checkpoints.toml"), (known, "the one that was seen first")):
        if expected and digest != expected:
            raise MismatchError(
                f"{file.url} is another file than expected: its sha256 is {digest[:12]}..., "
                f"{source} says {expected[:12]}..."
            )
    if file.bytes and size != file.bytes:
        raise MismatchError(f"{file.url} has {size} bytes, checkpoints.toml says {file.bytes}")
    if not known:
        record_sum(file.url, digest, size)


def _forget(path: Path) -> None:
    """Remove a file, and what it points at in the hub's cache, so that it is not taken for the right one."""
    with contextlib.suppress(OSError):
        path.resolve().unlink(missing_ok=True)
        path.unlink(missing_ok=True)


# Sums that were seen first.


def _sums_path() -> Path:
    return cache_folder() / "weights" / "sums.lock.json"


def read_sums() -> dict[str, JsonDict]:
    """Return what was seen of files first: ``{url: {sha256, bytes}}``.

    Raises:
        CheckpointError: the list is damaged or cannot be read.
    """
    path = _sums_path()
    try:
        sums = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error.strerror or error}") from None
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{path} is damaged ({type(error).__name__}); delete it to trust what is here") from None
    if not isinstance(sums, dict) or not all(isinstance(value, Mapping) for value in sums.values()):
        raise CheckpointError(f"{path} is damaged; delete it to trust what is here")
    return sums


def record_sum(key: str, digest: str, size: int) -> None:
    """Keep a sum for ever after; several processes may do so at once."""
    path = _sums_path()
    make_folder(path.parent)
    with _lock(path):
        sums = read_sums() | {key: {"sha256": digest, "bytes": size}}
        with atomic_write(path) as partial:
            partial.write_text(json.dumps(sums, indent=1, sort_keys=True), encoding="utf-8")


def _lock(path: Path) -> contextlib.AbstractContextManager[object]:
    from filelock import FileLock

    return FileLock(path.with_name(f".{path.name}.lock"))


# The hub.


def _at_endpoint(url: str) -> str:
    return endpoint() + url.removeprefix(HUB)


class _TooLongError(Exception):
    """A server goes on sending."""


def _meter(file: RemoteFile, progress: Progress) -> "type[tqdm]":
    """Make what huggingface_hub takes for a progress bar: it tells the progress, and ends what does not end."""
    from tqdm import tqdm

    class Meter(tqdm):
        def __init__(self, *_: object, total: int | None = None, initial: int = 0, **__: object) -> None:
            super().__init__(disable=True, total=total, initial=initial)
            self.here = initial
            self.tell(total or 0)

        def update(self, n: float | None = 1) -> None:
            self.here += int(n or 0)
            self.tell(0)

        def tell(self, announced: int) -> None:
            if max(self.here, announced) > file.limit:
                raise _TooLongError(max(self.here, announced))
            progress(file.name, self.here, self.total or file.bytes)

    return Meter


def _from_hub(file: RemoteFile, progress: Progress) -> Path:
    from huggingface_hub import hf_hub_download
    from huggingface_hub.utils import logging as hub_logging

    hub_logging.set_verbosity_error()  # what it tries again is its own affair
    match = HUB_FILE.fullmatch(file.url)
    assert match is not None
    repository, revision, name = match.groups()
    return Path(
        hf_hub_download(
            repository,
            name,
            revision=revision,
            endpoint=endpoint(),
            cache_dir=hub_cache(),
            library_name="septool",
            library_version=__version__,
            tqdm_class=_meter(file, progress),
        )
    )


@dataclass(frozen=True)
class Repository:
    """What the hub, or its cache on this machine, says of a repository at one commit."""

    files: dict[str, RemoteFile]  # by name
    licence: str  # empty if its card does not say it


def describe_repository(repository: str, revision: str) -> Repository:
    """Look at a repository of the hub; without connections, or where none can be made, at what is in the cache.

    Raises:
        CheckpointError: it is not there, or cannot be reached.
    """
    if is_offline():
        cached = _describe_cached(repository, revision)
        if cached is None:
            raise CheckpointError(f"hf:{repository} is not here, and connections are off")
        return cached
    with _in_words(f"{HUB}/{repository}"):
        from huggingface_hub import HfApi

        try:
            info = HfApi(endpoint=endpoint()).model_info(repository, revision=revision, files_metadata=True)
        except Exception as error:  # whatever library carries the request
            answered = getattr(error, "response", None) is not None
            cached = None if answered else _describe_cached(repository, revision)
            if cached is None:
                raise
            return cached
    files = {}
    for file in info.siblings or ():
        digest = file.lfs.sha256 if file.lfs else ""
        url = f"{HUB}/{repository}/resolve/{info.sha}/{file.rfilename}"
        files[file.rfilename] = RemoteFile(name=file.rfilename, url=url, sha256=digest, bytes=file.size or 0)
    licence = getattr(info.card_data, "license", None)
    return Repository(files, licence if isinstance(licence, str) else "")


def _describe_cached(repository: str, revision: str) -> Repository | None:
    """Look at what the cache has of a repository; None if that is nothing."""
    folder = hub_cache() / f"models--{repository.replace('/', '--')}"
    with contextlib.suppress(OSError):
        revision = (folder / "refs" / revision).read_text().strip()
    snapshot = folder / "snapshots" / revision
    if revision == "main":  # what was fetched by its commit has no name here: the latest that was
        snapshot = max(folder.glob("snapshots/*"), key=lambda path: path.stat().st_mtime, default=snapshot)
        revision = snapshot.name
    if not snapshot.is_dir():
        return None
    names = [path.relative_to(snapshot).as_posix() for path in snapshot.rglob("*") if path.is_file()]
    url = f"{HUB}/{repository}/resolve/{revision}"
    return Repository({name: RemoteFile(name=name, url=f"{url}/{name}") for name in names}, "")


def upload(repository: str, files: Mapping[str, bytes | Path], *, message: str, private: bool = False) -> str:
    """Put files into a repository of the hub, which is made if it is not there; they appear together or not at all.

    Args:
        repository: ``OWNER/NAME``.
        files: by name, in memory or on disk.
        message: what the commit says.
        private: of a repository that has to be made.

    Returns:
        The URL of the commit.

    Raises:
        CheckpointError: the hub cannot be reached, or refuses.
    """
    if is_offline():
        raise CheckpointError(f"{HUB}/{repository} cannot be written to: connections are off")
    with _in_words(f"{endpoint()}/{repository}", doing="written to"):
        from huggingface_hub import CommitOperationAdd, HfApi

        api = HfApi(endpoint=endpoint(), library_name="septool", library_version=__version__)
        api.create_repo(repository, private=private, exist_ok=True)
        additions = [CommitOperationAdd(name, content) for name, content in files.items()]
        return str(api.create_commit(repository, additions, commit_message=message).commit_url)


@contextlib.contextmanager
def _in_words(url: str, doing: str = "fetched") -> Iterator[None]:
    """Say in one line what went wrong on the way to a server."""
    try:
        yield
    except (CheckpointError, ImportError):
        raise
    except _TooLongError as error:
        raise CheckpointError(f"{url} sends more than it should: {error.args[0]} bytes and on") from None
    except Exception as error:  # huggingface_hub raises what its own HTTP library raises, which is not always the same
        status = getattr(getattr(error, "response", None), "status_code", None)
        raise CheckpointError(f"{url} cannot be {doing}: {_reason(error, status)}") from None


def _reason(error: Exception, status: int | None) -> str:
    kind = type(error).__name__
    if kind == "GatedRepoError":
        return "its terms have to be accepted on its page, and HF_TOKEN set to a token of that account"
    if status in (401, 403) or kind == "RepositoryNotFoundError":
        return "it is not there, or it needs a token; set HF_TOKEN to one that may read it"
    if status == 404 or kind in ("EntryNotFoundError", "RevisionNotFoundError", "RemoteEntryNotFoundError"):
        return "the server has no such file (404)"
    if status == 429:
        return "the server asks to come back later (429); wait some minutes, or set HF_TOKEN"
    if status is not None:
        return f"the server answers {status}"
    if kind == "LocalEntryNotFoundError":
        cause = error.__cause__
        return (
            _reason(cause, getattr(getattr(cause, "response", None), "status_code", None))
            if isinstance(cause, Exception)
            else "the server cannot be reached"
        )
    text = " ".join(str(error).split())[:150] or kind
    if "Connect" in kind or "Timeout" in kind:  # exceptions of httpx, whoever called it
        return f"the server cannot be reached ({text}); is there a network, and are HTTPS_PROXY and HF_ENDPOINT right?"
    return text


# Elsewhere.


def _from_elsewhere(file: RemoteFile, progress: Progress) -> Path:
    path = own_path(file)
    make_folder(path.parent)
    with _lock(path):
        if not path.exists():  # another process may have fetched it meanwhile
            partial = path.with_name(f"{path.name}.partial")
            _fetch(file, partial, progress)
            os.replace(partial, path)
    return path


def _fetch(file: RemoteFile, partial: Path, progress: Progress) -> None:
    """Fetch into ``partial``, going on where an earlier attempt broke off, also one of another day."""
    import httpx

    failures = 0
    tag = partial.with_name(f"{partial.name}.etag")  # entity tag of the partial file
    with httpx.Client(follow_redirects=True, timeout=PATIENCE) as client:
        while True:
            before = partial.stat().st_size if partial.exists() else 0
            try:
                _fetch_once(client, file, partial, tag, progress)
            except (httpx.TransportError, httpx.HTTPStatusError) as error:
                if isinstance(error, httpx.HTTPStatusError) and error.response.status_code not in RETRIED:
                    raise
                grown = partial.exists() and partial.stat().st_size > before
                failures = 1 if grown else failures + 1
                if failures >= ATTEMPTS:
                    raise
                LOG.info("%s broke off (%s); trying again", file.url, type(error).__name__)
                time.sleep(WAIT * 2 ** (failures - 1))
            else:
                tag.unlink(missing_ok=True)
                return


def _fetch_once(client: "httpx.Client", file: RemoteFile, partial: Path, tag: Path, progress: Progress) -> None:
    import httpx

    here = partial.stat().st_size if partial.exists() and tag.exists() else 0
    headers = {"Accept-Encoding": "identity", "User-Agent": f"septool/{__version__}"}
    if here:
        headers |= {"Range": f"bytes={here}-", "If-Range": tag.read_text()}
    with client.stream("GET", file.url, headers=headers) as response:
        if response.status_code == 416:  # the part is longer than the file has become
            partial.unlink()
            raise httpx.RemoteProtocolError("the file has changed")
        response.raise_for_status()
        if response.status_code != 206:
            here = 0
        rest = response.headers.get("content-length")
        total = here + int(rest) if rest else 0
        if total > file.limit:
            raise _TooLongError(total)
        etag = response.headers.get("etag", "")
        if etag and not etag.startswith("W/"):  # a weak one does not promise the same bytes
            tag.write_text(etag)
        else:
            tag.unlink(missing_ok=True)
        with partial.open("ab" if here else "wb") as out:
            for block in response.iter_raw(BLOCK):
                here += len(block)
                if here > file.limit:
                    out.close()
                    partial.unlink()
                    raise _TooLongError(here)
                out.write(block)
                progress(file.name, here, total or file.bytes)
        if total and here != total:
            raise httpx.RemoteProtocolError(f"{here} of {total} bytes came")
