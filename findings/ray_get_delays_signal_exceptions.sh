#!/usr/bin/env bash
# ray 2.60.0: an exception that a signal handler raises does not interrupt `ray.get`, and comes out as another one.
#
# Python runs a signal handler at once when the main thread waits, and what the handler raises ends the wait: so it is
# with `time.sleep`, locks, queues and sockets (PEP 475). Ray lets only KeyboardInterrupt and SystemExit through. Any
# other exception (a time limit, an orchestrator's cancellation) waits until the task has ended, however long that
# takes. Then a SystemError is raised in its place, so that `except TimeoutError` misses it.
# Seen: an alarm after 1 s raises TimeoutError; `time.sleep` ends after 1 s with it, `ray.get` of a task of 6 s after
# 6 s with SystemError, and with KeyboardInterrupt after 1 s. The script fails when `ray.get` ends early.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q --disable-pip-version-check ray==2.60.0
cat >"$folder/alarm.py" <<'PYTHON'
import logging
import signal
import time

import ray


def ring_during(wait, error):
    """Return the seconds until the wait ended, and the name of what it raised."""

    def ring(number, frame):
        raise error("the alarm rang")

    signal.signal(signal.SIGALRM, ring)
    started = time.monotonic()
    signal.setitimer(signal.ITIMER_REAL, 1)
    try:
        wait()
    except BaseException as raised:
        return time.monotonic() - started, type(raised).__name__
    return time.monotonic() - started, "nothing"


@ray.remote
def sleep_long():
    time.sleep(6)


ray.init(num_cpus=1, include_dashboard=False, logging_level=logging.ERROR)
ray.get(ray.remote(lambda: None).remote())  # the worker is up
slept = ring_during(lambda: time.sleep(6), TimeoutError)
got = ring_during(lambda: ray.get(sleep_long.remote()), TimeoutError)
interrupted = ring_during(lambda: ray.get(sleep_long.remote()), KeyboardInterrupt)
print(f"ray {ray.__version__}; an alarm rings after 1 s:")
for what, (seconds, raised) in {
    "time.sleep, TimeoutError": slept,
    "ray.get, TimeoutError": got,
    "ray.get, KeyboardInterrupt": interrupted,
}.items():
    print(f"{what}: ended after {seconds:.0f} s with {raised}")
assert slept[0] < 4 and slept[1] == "TimeoutError", "Python's own wait was late"
assert interrupted[0] < 4 and interrupted[1] == "KeyboardInterrupt", "KeyboardInterrupt was late"
assert got[0] > 5 and got[1] == "SystemError", "ray.get was interrupted, or raised the handler's own exception"
PYTHON
cd "$folder"
venv/bin/python --version
venv/bin/python alarm.py
