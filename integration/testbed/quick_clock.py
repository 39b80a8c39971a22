"""A command line's prefix under which the wall clock runs fast, so that minutes of disuse pass within seconds, or is off."""

import time

from .paths import HEARTH

_LIBRARY = HEARTH.parent / "quick_clock.so"


def quick_clock(speed):
    """From now on `speed` times as fast as the machine's; steady clocks and the times of files stay as they are."""
    return ["env", f"LD_PRELOAD={_LIBRARY}", f"HEARTH_CLOCK_SPEED={speed}", f"HEARTH_CLOCK_START={int(time.time())}"]


def clock_ahead(seconds):
    """So far ahead of the machine's; behind where negative."""
    return ["env", f"LD_PRELOAD={_LIBRARY}", f"HEARTH_CLOCK_AHEAD={seconds}"]
