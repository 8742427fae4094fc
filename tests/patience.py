"""How long tests wait for what is to come, and what they call too long.

Limits are written for a quiet machine. REEVE_TEST_PATIENCE (default 1; tools/check says 5) multiplies them: a machine that is
shared, slow or runs several suites at once is no defect of what is tested, and a limit that is not reached costs nothing.
Least times (a delay that must have passed) are never multiplied.
"""
import os

PATIENCE = float(os.environ.get("REEVE_TEST_PATIENCE", "1"))


def within(seconds):
    """The limit in seconds, on this machine."""
    return None if seconds is None else seconds * PATIENCE
