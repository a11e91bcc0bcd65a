"""The errors that a user can cause or mend: each one sentence, what was expected, what came, what to try."""


class CharRNNError(Exception):
    """Base of all errors that the command line reports in one line, with exit status 1."""


class DataError(CharRNNError):
    """A text, or a folder of prepared text, cannot be used."""


class UndecodableError(DataError):
    """A file is no text in the encoding that it is read in."""


class ConfigError(CharRNNError):
    """A setting, or a combination of settings, makes no model or no training run."""


class CheckpointError(CharRNNError):
    """A checkpoint or a run folder cannot be read, or does not fit what it is used with."""


class OutputError(CharRNNError):
    """Something cannot be written where it was asked for."""


class TrainingError(CharRNNError):
    """Training went wrong: the loss or the gradient is no longer a finite number."""


class InterruptError(BaseException):
    """A signal asked the command to end; the command line says so, with exit status 128 + the signal's number.

    It is no Exception, like KeyboardInterrupt: libraries that handle any Exception must not lose it.
    """

    def __init__(self, signal: int) -> None:
        super().__init__(signal)
        self.signal = signal
