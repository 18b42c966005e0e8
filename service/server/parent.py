"""BentoML's parent process, which starts the workers and ends them."""

import os
import signal
import threading
import time
from typing import Any, Final

# Part of BentoML, which is pinned; one method is replaced in place, since BentoML makes the object.
from circus.client import make_json
from circus.sighandler import SysHandler

from service.log import LOG

_PAUSE: Final = 0.2
"""Seconds until it is asked again."""


def insist_on_leaving() -> None:
    """Heed SIGTERM, Ctrl-C and a closed terminal, also at the start; call in the parent.

    circus takes one command at a time. While it starts workers it refuses to quit, forgets that it
    was asked to, and would serve until it is killed. So it is asked until it ends.
    """

    def leave(handler: Any) -> None:
        loop, dispatch = handler.controller.loop, handler.controller.dispatch

        def ask() -> None:
            dispatch((None, make_json("quit")))
            loop.call_later(_PAUSE, ask)

        loop.add_callback_from_signal(ask)

    SysHandler.quit = leave
    # A terminal that is closed ends the server, which circus would start anew, unless that is
    # ignored, as under nohup.
    ignored = signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    SysHandler.handle_hup = (lambda _: None) if ignored else leave


def leave_with_parent() -> None:
    """Have this worker ask itself to leave once its parent is gone.

    A parent that was killed cannot tell its workers, and they would keep the port. Call it as
    early as can be: what took the place of one that is gone by then would be taken for the parent.
    """
    parent = os.getppid()

    def follow() -> None:
        while os.getppid() == parent:
            time.sleep(1)
        LOG.warning("the parent process is gone; leaving")
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=follow, daemon=True).start()
