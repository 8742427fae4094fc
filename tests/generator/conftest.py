"""A root directory with kinds in it, and reeve-generator run on it as systemd runs it. Needs $REEVE_BUILD."""
import os
import pathlib
import subprocess

import pytest
from patience import within

BUILD = pathlib.Path(os.environ["REEVE_BUILD"])
GENERATOR = BUILD / "src/generator/reeve-generator"
ETC, RUN, RELEASE, USR = ("etc/reeve/kinds", "run/reeve/kinds", "var/lib/reeve/release/current/kinds", "usr/lib/reeve/kinds")
GOOD = "[Exec]\nStart=/bin/true\n"


class Tree:
    def __init__(self, path):
        self.root = path / "root"
        self.out = path / "out"
        self.root.mkdir()
        self.out.mkdir()

    def write(self, path, text):
        p = self.root / path
        p.parent.mkdir(parents=True, exist_ok=True)
        p.write_bytes(text if isinstance(text, bytes) else text.encode())
        return p

    def kind(self, name, text=GOOD, where=ETC):
        return self.write(f"{where}/{name}.kind", text)

    def link(self, path, target):
        p = self.root / path
        p.parent.mkdir(parents=True, exist_ok=True)
        p.symlink_to(target)

    def run(self, *arguments, env=None):
        return subprocess.run([GENERATOR, f"--root={self.root}", *arguments], text=True, capture_output=True, timeout=within(60),
                              env={**os.environ, **(env or {})})

    def generate(self, env=None):
        for d in ("early", "late"):
            self.out.with_name(d).mkdir(exist_ok=True)
        return self.run(self.out, self.out.with_name("early"), self.out.with_name("late"), env=env)

    def made(self):
        """All that was written, relative to the normal directory."""
        for d in ("early", "late"):
            assert not list(self.out.with_name(d).iterdir())
        return {str(p.relative_to(self.out)) for p in self.out.rglob("*") if p.is_symlink() or p.is_file()}

    def service(self, name):
        return (self.out / f"reeve-run-{name}@.service").read_text()

    def socket(self, name):
        return (self.out / f"reeve-run-{name}.socket").read_text()

    def exec_start(self, name):
        return next(line for line in self.service(name).splitlines() if line.startswith("ExecStart="))


@pytest.fixture
def tree(tmp_path):
    return Tree(tmp_path)


def files_of(*names):
    """What is written for these kinds together."""
    made = {f"reeve-run-{n}{end}" for n in names for end in (".socket", "@.service")}
    made |= {f"reeve.target.wants/reeve-run-{n}.socket" for n in names}
    return made | ({"reeve-worker@.service.d/50-kinds.conf"} if names else set())
