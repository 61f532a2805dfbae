"""The errors a user can cause, and therefore can mend.

Each is one line that quotes the value, the rule and the place. The programs print that line and exit with
code 2; a traceback appears only with ``--debug``.
"""

_LONGEST = 300  # characters of a foreign error


def one_line(error: BaseException) -> str:
    """Return what an error of another library says, as one line of at most 300 characters.

    >>> one_line(ValueError("first\n  second")), one_line(KeyError())
    ('first second', 'KeyError')
    """
    return " ".join(str(error).split())[:_LONGEST] or type(error).__name__


def reading_fault(error: Exception) -> str:
    """Return what is wrong with a text file that could not be read.

    >>> reading_fault(FileNotFoundError(2, "No such file or directory", "a.csv"))
    'No such file or directory'
    """
    if isinstance(error, UnicodeDecodeError):
        return "it is not in UTF-8 (in GBK, perhaps, as programs on Windows write it): save it as UTF-8"
    return getattr(error, "strerror", None) or one_line(error)


class VideoToolkitError(Exception):
    """Base of every error that this project raises on purpose."""


class ConfigError(VideoToolkitError):
    """A config file, an override or a command-line flag breaks a rule of the schema."""


class FileListError(VideoToolkitError):
    """A file list or label file is missing, empty or has a bad line."""


class VideoError(VideoToolkitError):
    """One video cannot be read. Training replaces it, testing reports it as unscored."""


class ReaderError(VideoToolkitError):
    """The reader as a whole cannot go on: too many bad videos, a dead worker, a time limit."""


class WeightsError(VideoToolkitError):
    """A weights file is missing, damaged, foreign, or does not fit the network."""


class ArchiveError(VideoToolkitError):
    """An archive is damaged, or would do harm."""


class DownloadError(VideoToolkitError):
    """A file cannot be fetched, or is not the one that was fetched before."""


class DeviceError(VideoToolkitError):
    """The device that was asked for is not there."""


class TrainingError(VideoToolkitError):
    """Training cannot go on, for example because the loss is not finite."""


class DistributedError(VideoToolkitError):
    """One of several processes of a run is lost to the others."""
