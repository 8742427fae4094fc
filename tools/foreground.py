"""Reeve's programs without systemd, as an ordinary user: for tools/quickstart --foreground. PostgreSQL, a private bus, reeved,
workers that start their launchers themselves, and the API behind systemd-socket-activate; all below one directory, all ended
and removed by remove()."""
import contextlib
import ctypes
import fcntl
import glob
import os
import pathlib
import pwd
import re
import shlex
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import time
import urllib.parse
import xml.sax.saxutils

TREE = pathlib.Path(__file__).resolve().parent.parent
PROGRAMS = ("systemd-socket-activate", "dbus-daemon", "busctl", "curl", "pdftotext", "pdfseparate", "meson", "ninja", "cc", "pkg-config", "psql")
LIBRARIES = ("libsystemd", "libpq", "libcurl", "libmicrohttpd", "libcrypto")
PACKAGES = ("systemd libsystemd-dev dbus curl poppler-utils meson ninja-build gcc pkg-config libpq-dev libcurl4-openssl-dev "
            "libmicrohttpd-dev libssl-dev libjson-c-dev scdoc python3 postgresql-15")
BUS = """<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig><type>system</type><listen>{}</listen><auth>EXTERNAL</auth>
<policy context="default"><allow user="*"/><allow own="*"/><allow send_type="method_call"/><allow send_type="signal"/>
<allow send_requested_reply="true" send_type="method_return"/><allow send_requested_reply="true" send_type="error"/>
<allow receive_type="method_call"/><allow receive_type="method_return"/><allow receive_type="error"/><allow receive_type="signal"/></policy>
</busconfig>
"""
PR_SET_PDEATHSIG = 1
# What the programs get of the environment. No more: PGHOSTADDR= would lead to another server, and a function of bash is no variable.
KEPT = re.compile(r"PATH|HOME|USER|LOGNAME|SHELL|LANG|LANGUAGE|LC_[A-Z]+|TZ|TMPDIR|LD_LIBRARY_PATH|REEVE_LOG_LEVEL|[A-Z]+SAN_OPTIONS")
PATH_MAX = 80   # of the directory, so that sockets in it have room


class Failed(Exception):
    pass


def is_own(path):
    """Whether it is a directory that nobody else can change; in /tmp others may have made it."""
    with contextlib.suppress(OSError):
        s = os.lstat(path)
        return stat.S_ISDIR(s.st_mode) and s.st_uid == os.getuid() and not s.st_mode & 0o022 and os.access(path, os.R_OK | os.W_OK | os.X_OK)
    return False


def runtime():
    """Where it runs: XDG_RUNTIME_DIR may be that of the user who called su."""
    run = os.environ.get("XDG_RUNTIME_DIR")
    name = f"reeve-foreground-{os.getuid()}"
    found = [d for d in (run if run and is_own(run) else None, tempfile.gettempdir()) if d and d[0] == "/" and len(d + name) < PATH_MAX]
    return pathlib.Path(found[0] if found else "/tmp") / name


def cache():
    """Where the build stays between two calls."""
    home = pathlib.Path(os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache").absolute()
    with contextlib.suppress(OSError):
        (home / "reeve-foreground").mkdir(mode=0o700, parents=True, exist_ok=True)
        if os.access(home / "reeve-foreground", os.W_OK):
            return home / "reeve-foreground"
    kept = pathlib.Path(tempfile.gettempdir()) / f"reeve-foreground-{os.getuid()}.cache"
    with contextlib.suppress(FileExistsError):
        kept.mkdir(mode=0o700)
    if not is_own(kept):   # the programs that are run would be somebody else's
        raise Failed(f"{kept} is there, and others can change it: remove it, or set XDG_CACHE_HOME= to a directory of yours.")
    return kept


def servers():
    """The directory of PostgreSQL's newest server programs, or None."""
    found = glob.glob("/usr/lib/postgresql/*/bin/initdb")
    newest = max(found, key=lambda p: int(re.sub(r"\D", "", p.split("/")[4]) or 0), default=None)
    return newest and os.path.dirname(newest)


def what_is_missing():
    missing = [p for p in PROGRAMS if not shutil.which(p)]
    if shutil.which("pkg-config"):
        missing += [f"{x} (its headers)" for x in LIBRARIES if subprocess.run(["pkg-config", "--exists", x]).returncode]
    return missing + ([] if servers() else ["PostgreSQL's server"])


def end_with_parent():
    """In a child: ends with the process that made it, however that ends. Its Ctrl-C is the parent's to pass on."""
    os.setsid()
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)


class Foreground:
    """directory: where everything is, for the time being; build: the programs' build directory."""

    def __init__(self, directory, build):
        self.dir, self.build = pathlib.Path(directory), pathlib.Path(build)
        self.kinds = self.dir / "root/etc/reeve/kinds"
        self.user = pwd.getpwuid(os.getuid()).pw_name
        self.processes = []   # (name, process), in the order of their start
        self.lock = None   # a descriptor of the directory while it is ours
        self.bus = f"unix:path={urllib.parse.quote(str(self.dir / 'bus'))}"
        self.database = "host='{}' dbname=reeve".format(re.sub(r"(['\\])", r"\\\1", str(self.dir)))
        self.env = {k: v for k, v in os.environ.items() if KEPT.fullmatch(k)} | {"DBUS_SYSTEM_BUS_ADDRESS": self.bus}

    # ---- processes

    def run(self, *command):
        p = subprocess.run(command, text=True, errors="replace", capture_output=True, env=self.env, stdin=subprocess.DEVNULL)
        if p.returncode:
            raise Failed(f"{shlex.join(map(str, command))} failed ({p.returncode}):\n{(p.stderr or p.stdout).strip()}")
        return p.stdout

    def spawn(self, name, *command):
        with open(self.dir / f"{name}.log", "ab") as log:
            p = subprocess.Popen([str(c) for c in command], stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=self.env,
                                 preexec_fn=end_with_parent)
        self.processes.append((name, p))

    def log_of(self, name, lines=15):
        return "\n".join((self.dir / f"{name}.log").read_text(errors="replace").strip().splitlines()[-lines:])

    def check_alive(self):
        for name, p in self.processes:
            if p.poll() is not None:
                raise Failed(f"{name} has ended ({p.returncode}):\n{self.log_of(name)}")

    def wait_for(self, what, condition, seconds=30):
        deadline = time.monotonic() + seconds
        while not condition():
            self.check_alive()
            if time.monotonic() > deadline:
                raise Failed(f"{what}: not within {seconds} s; the logs are in {self.dir}")
            time.sleep(0.02)

    # ---- parts

    def start_postgres(self):
        data, bin = self.dir / "postgres", servers()
        self.run(f"{bin}/initdb", "-D", data, "-U", "reeve-postgres", "--locale=C", "-E", "UTF8", "-k", "-A", "peer", "--no-instructions")
        (data / "pg_hba.conf").write_text("local all all peer map=reeve\n")
        (data / "pg_ident.conf").write_text("".join(f"reeve {self.user} {role}\n" for role in (
            "reeve-postgres", "reeve_owner", "reeve_api", "reeve_worker")))
        with open(data / "postgresql.conf", "a", encoding="utf-8") as f:
            inside = str(self.dir).replace("'", "''").replace('"', '""')
            f.write(f"listen_addresses = ''\nunix_socket_directories = '\"{inside}\"'\n")
        self.spawn("postgres", f"{bin}/postgres", "-D", data)
        psql = ["psql", "-XAtq", "-v", "ON_ERROR_STOP=1", "-h", self.dir, "-U", "reeve-postgres", "-d", "postgres"]
        self.wait_for("PostgreSQL", lambda: subprocess.run([*psql, "-c", "select"], capture_output=True, env=self.env).returncode == 0)
        self.run(*psql, "-f", TREE / "migrations/bootstrap.sql")
        self.run(self.build / "src/migrate/reeve-migrate", "up", *self.migrating())

    def migrating(self):
        """reeve-migrate's options."""
        return [f"--directory={TREE}/migrations", f"--database={self.database}", "--user=reeve_owner"]

    def configure(self):
        etc = self.dir / "root/etc/reeve"
        self.kinds.mkdir(parents=True)
        (self.dir / "blobs").mkdir()
        (etc / "reeve.conf").write_text(f"[Database]\nDatabase={self.database}\nPrepared=yes\n[Peer]\nAllow={self.user} admin *\n")
        for kind in self.build.glob("src/systems/*/*.kind"):
            at = str(kind.parent).replace("\\", "\\\\").replace('"', '\\"')
            text = re.sub(r"(?m)^((?:Start|Join)=)/\S*/([^/\s]+)", lambda m: f'{m[1]}"{at}/{m[2]}"', kind.read_text())
            (self.kinds / kind.name).write_text(text)

    def start_bus(self):
        (self.dir / "bus.conf").write_text(BUS.format(xml.sax.saxutils.escape(self.bus)))
        self.spawn("bus", "dbus-daemon", f"--config-file={self.dir}/bus.conf", "--nofork", "--nopidfile")
        self.wait_for("the bus", (self.dir / "bus").exists)
        self.spawn("reeved", self.build / "src/manager/reeved", f"--root={self.dir}/root")

    def start_workers(self):
        self.kinds_read = self.kinds_seen = self.kinds_now()
        for pool in ("default", "inline"):
            self.spawn(f"reeve-worker-{pool}", self.build / "src/worker/reeve-worker", f"--root={self.dir}/root", f"--blobs={self.dir}/blobs",
                       f"--launcher={self.build}/src/exec/reeve-exec", pool)

    def kinds_now(self):
        return {p: (s.st_mtime_ns, s.st_size) for p in self.kinds.glob("*.kind") for s in [p.stat()]}

    def look_for_kinds(self):
        """Once in a while: whether .kind files are new, changed or gone, and as they are now for two looks. Then workers start anew."""
        with contextlib.suppress(FileNotFoundError):   # one that goes while we look
            now = self.kinds_now()
            if now == self.kinds_read or now != self.kinds_seen:
                self.kinds_seen = now
                return False
            self.kinds_read = now
            for entry in [e for e in self.processes if e[0].startswith("reeve-worker-")]:
                self.end(*entry)
                self.processes.remove(entry)
            self.start_workers()
            return True
        return False

    def start_api(self, port):
        keep = [f"-E{k}" for k in self.env]   # it hands on what it is told to, and nothing else; values are for nobody's eyes
        self.spawn("reeve-api", "systemd-socket-activate", "-l", f"127.0.0.1:{port}", "-l", self.dir / "api.sock", "--fdname=http:local",
                   *keep, self.build / "src/api/reeve-api", f"--root={self.dir}/root", f"--blobs={self.dir}/blobs")
        self.wait_for("the API's socket", self.answers)

    def answers(self):
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as s:
            s.connect(str(self.dir / "api.sock"))
            return True
        return False

    def write_scripts(self):
        """DIR/in COMMAND...: with the bus and reevectl as they are here."""
        (self.dir / "bin").mkdir()
        def q(what):
            return shlex.quote(str(what))

        here, src = f"export REEVE_FOREGROUND={q(self.dir)}", self.build / "src"
        for path, text in (("bin/reevectl", f'{here}\nexec {q(src / "ctl/reevectl")} --socket={q(self.dir / "api.sock")} "$@"'),
                           ("bin/reeve-doctor", f'exec {q(src / "doctor/reeve-doctor")} --root={q(self.dir / "root")}'),
                           ("bin/reeve-generator", f'[ $# -gt 1 ] || set -- --check {q(self.kinds)}/*.kind\n'
                                                   f'exec {q(src / "generator/reeve-generator")} "$@"'),
                           ("bin/reeve-migrate", f'exec {q(src / "migrate/reeve-migrate")} "$@" {shlex.join(self.migrating())}'),
                           ("in", f'{here} DBUS_SYSTEM_BUS_ADDRESS={q(self.bus)} PATH={q(self.dir / "bin")}:$PATH\nexec "$@"')):
            path = self.dir / path
            path.write_text(f"#!/bin/sh\n{text}\n")
            path.chmod(0o700)

    # ---- life

    def claim(self):
        """Makes the directory ours; removes that of one that was killed. Returns whether there was such a one."""
        theirs = f"{self.dir} is there, and is not yours: remove it, or set TMPDIR= to a directory of yours."
        try:
            old = os.open(self.dir, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        except FileNotFoundError:
            old = None
        except OSError:
            raise Failed(theirs)
        if old is not None:
            try:
                if os.fstat(old).st_uid != os.getuid():
                    raise Failed(theirs)
                fcntl.flock(old, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(self.dir, ignore_errors=True)
            except BlockingIOError:
                raise Failed(f"tools/quickstart --foreground is running already, in {self.dir}: end that one first.")
            finally:
                os.close(old)
        try:
            self.dir.mkdir(mode=0o700)
        except FileExistsError:
            raise Failed(f"{self.dir} cannot be removed, or came back: is another one running? Look into it, and remove it.")
        self.lock = os.open(self.dir, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        fcntl.flock(self.lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return old is not None

    def up(self, port):
        self.configure()
        self.write_scripts()
        self.start_postgres()
        self.start_bus()
        self.start_workers()
        self.start_api(port)

    def end(self, name, p):
        stop = {"postgres": signal.SIGINT}.get(name, signal.SIGTERM)
        for s in (stop, stop, signal.SIGKILL):   # a second word: not to wait for runs
            with contextlib.suppress(ProcessLookupError):
                p.send_signal(s)
            with contextlib.suppress(subprocess.TimeoutExpired):
                p.wait(0.5 if s is stop and "worker" in name else 10)
                break

    def remove(self):
        for name, p in reversed(self.processes):
            self.end(name, p)
        self.processes = []
        if self.lock is not None:   # else it is another one's
            shutil.rmtree(self.dir, ignore_errors=True)
            os.close(self.lock)
            self.lock = None


if __name__ == "__main__":
    sys.exit("foreground: this is a part of tools/quickstart --foreground")
