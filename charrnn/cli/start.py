"""Where the command `charrnn` begins: before all imports, so that Ctrl-C during them ends it without a traceback."""

from __future__ import annotations

import signal

if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def main() -> None:
    """Run the command line."""
    from charrnn.cli.app import main

    main()
