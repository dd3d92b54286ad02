"""The exception hierarchy; each error is shown as one line and has an exit status."""

import signal


class SeptoolError(Exception):
    """Something a person can put right: what is wrong with its value, what would be right, what to do."""

    status = 1


class UsageError(SeptoolError):
    """The request itself does not make sense; nothing was tried."""

    status = 2


class AudioError(SeptoolError):
    """A file that cannot be read as audio, written, or worked on."""


class ManifestError(SeptoolError):
    """A manifest or list with a row that does not fit."""


class CheckpointError(SeptoolError):
    """Weights that are missing, damaged, or of another model."""


class ConfigError(UsageError):
    """A setting that does not exist or has the wrong type."""


class InterruptedBySignal(BaseException):
    """The user or the system asked to stop, by the signal named; temporary files go, finished ones stay."""

    @property
    def status(self) -> int:
        """What shells make of a signal; of one that is not named, what they make of Ctrl-C."""
        named = str(self.args[0]) if self.args else ""
        return 128 + signal.Signals.__members__.get(named, signal.SIGINT)
