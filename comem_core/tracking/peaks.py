"""The peak memory of this process. Needs no torch."""

import resource
import sys
from pathlib import Path


def read_peak_bytes() -> int:
    """Return the peak resident size of this process so far, in bytes.

    On Linux `ru_maxrss` includes the parent's size before this program was started; VmHWM counts this program alone.
    """
    status = Path("/proc/self/status")
    if status.is_file():
        [line] = [line for line in status.read_text().splitlines() if line.startswith("VmHWM")]
        return int(line.split()[1]) * 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def forget_peak_bytes() -> None:
    """Let the peak begin anew at what this process has now. Raises OSError where that cannot be done; Linux can."""
    Path("/proc/self/clear_refs").write_text("5")
