"""The errors that a user can cause or repair. Each is one sentence: what was expected, what came, what to try."""


class CharRNNError(Exception):
    """Base of all errors that the command line reports in one line, with exit status 1."""


class DataError(CharRNNError):
    """A text, or a folder of prepared text, cannot be used."""


class UndecodableError(DataError):
    """A file cannot be decoded in the encoding that is used to read it, or cannot be decompressed."""


class ConfigError(CharRNNError):
    """With a setting, or a combination of settings, no model can be made or trained."""


class CheckpointError(CharRNNError):
    """A checkpoint or a run folder cannot be read, or does not fit what it is used with."""


class OutputError(CharRNNError):
    """Something cannot be written to the place that the user asked for."""


class TrainingError(CharRNNError):
    """Training went wrong: it broke again and again, had no time for a step, or was never better than guessing."""


class InterruptError(BaseException):
    """A signal asked the command to end; the command line says so, with exit status 128 + the signal's number.

    Like KeyboardInterrupt, it is not an Exception, because libraries that handle every Exception must not lose it.
    """

    def __init__(self, signal: int) -> None:
        super().__init__(signal)
        self.signal = signal
