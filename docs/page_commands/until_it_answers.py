"""Starts a server, waits until its page answers, and ends it by Ctrl-C.

    until_it_answers URL COMMAND ...

The exit code is 0 where the page answered and the server ended.
"""

import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request

SECONDS = 180
"""Until a server has to answer, and to end."""


def main(address: str, *command: str) -> int:
    """The exit code."""
    # a shell starts what runs in the background with SIGINT ignored, which is inherited
    signal.signal(signal.SIGINT, signal.default_int_handler)
    server = subprocess.Popen(command)
    try:
        answered = _answers(address, server)
        server.send_signal(signal.SIGINT)
        code = server.wait(SECONDS)
    finally:
        server.kill()
    print(f"{address} answered: {answered}; the server's exit code: {code}")
    return 0 if answered and code in (0, 130) else 1


def _answers(address: str, server: "subprocess.Popen[bytes]") -> bool:
    end = time.monotonic() + SECONDS
    while time.monotonic() < end and server.poll() is None:
        try:
            with urllib.request.urlopen(address, timeout=10) as answer:
                return bool(answer.status == 200)
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            time.sleep(0.5)
    return False


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
