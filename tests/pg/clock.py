"""Clocks that tests step, of one program or of a throw-away server (step-clock.c). Only CLOCK_REALTIME is stepped, as a step of a host's
clock does; what is relative to CLOCK_MONOTONIC goes on."""
import os
import pathlib
import shutil

HOUR = 3600


class Clock:
    """A clock at path for programs that are started with env()."""

    def __init__(self, build, path):
        self.path = pathlib.Path(path)
        self.path.write_bytes(bytes(8))
        os.chmod(self.path, 0o644)
        # The build directory may be closed to PostgreSQL's user.
        self.library = shutil.copy(build / "tests/pg/step-clock.so", self.path.with_suffix(".so"))
        os.chmod(self.library, 0o755)

    def step(self, seconds):
        """To so many seconds before or after the true time."""
        with open(self.path, "r+b", buffering=0) as f:
            f.write((int(seconds) * 1_000_000).to_bytes(8, "little", signed=True))

    def env(self):
        return {"LD_PRELOAD": str(self.library), "STEP_CLOCK": str(self.path)}


def server(pg):
    """A server by such a clock, initialised and started; the caller removes it."""
    s = pg.Server()
    s.clock = Clock(pg.BUILD, s.dir / "clock")
    s.init()
    s.as_user = [*s.as_user, "env", *(f"{k}={v}" for k, v in s.clock.env().items())]
    s.start()
    s.psql(pg.MIGRATIONS / "bootstrap.sql")
    return s
