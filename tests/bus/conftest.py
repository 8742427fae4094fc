"""The real reeved on a private bus, with a real PostgreSQL and an own polkit that speaks the real interface.

bus       (session) a dbus-daemon with the limits of Debian's system bus
polkit    Polkit: what it says is set by the test
manager   a running Manager, on the test's database
start     start(...) for tests that need their own
Everything on the bus is done in one thread: GDBus delivers while spin() or a call waits.
"""
import contextlib
import importlib.util
import json
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import tempfile
import time

import gi
import pytest

gi.require_version("Gio", "2.0")
from gi.repository import Gio, GLib  # noqa: E402
from patience import within

# The throw-away server of tests/pg, and the API of tests/api.
_spec = importlib.util.spec_from_file_location("api_conftest", pathlib.Path(__file__).resolve().parents[1] / "api/conftest.py")
api = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(api)
pg = api.pg
BUILD, wait_for, stopped = pg.BUILD, pg.wait_for, pg.stopped
database, empty, server, template = pg.database, pg.empty, pg.server, pg.template
Variant = GLib.Variant

REEVED = BUILD / "src/manager/reeved"
NAME, ROOT = "org.reeve1", "/org/reeve1"
MANAGER, QUEUE, WORKER, FLAG = (f"org.reeve1.{i}" for i in ("Manager", "Queue", "Worker", "Flag"))
RELEASE, OPERATION = "org.reeve1.Release", "org.reeve1.Operation"
PROPERTIES = "org.freedesktop.DBus.Properties"
INTERACTIVE = Gio.DBusCallFlags.ALLOW_INTERACTIVE_AUTHORIZATION
CONTEXT = GLib.MainContext.default()


def spin(until=lambda: False, timeout=20.0, what="condition", must=True):
    """Serves the bus until it returns something true; that is the result."""
    end = time.monotonic() + within(timeout)
    waker = GLib.timeout_add(5, lambda: True)
    try:
        while True:
            result = until()
            if result:
                return result
            if time.monotonic() > end:
                assert not must, f"{what}: not within {timeout} s"
                return None
            CONTEXT.iteration(True)
    finally:
        GLib.source_remove(waker)


def run(argv, timeout=30, **kw):
    """As subprocess.run(), while the bus is served."""
    kw = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, **kw}
    with subprocess.Popen([str(a) for a in argv], **kw) as p:
        try:
            spin(lambda: p.poll() is not None, timeout, f"{argv}")
        finally:
            if p.poll() is None:
                p.kill()
        out, err = p.communicate()
    return subprocess.CompletedProcess(argv, p.returncode, out, err)


class Failed(Exception):
    """An error reply."""

    def __init__(self, name, text):
        super().__init__(f"{name}: {text}")
        self.name, self.text = name, text


class Pending:
    """A call on its way."""

    def __init__(self):
        self.value = self.error = None
        self.started, self.ended = time.monotonic(), None

    def on_reply(self, connection, result):
        self.ended = time.monotonic()
        try:
            self.value = connection.call_finish(result).unpack()
        except GLib.Error as e:
            name = Gio.DBusError.get_remote_error(e)
            self.error = Failed(name or "local", e.message.split(": ", 1)[1] if name else e.message)

    @property
    def done(self):
        return self.ended is not None

    @property
    def seconds(self):
        return self.ended - self.started

    def wait(self, timeout=20):
        spin(lambda: self.done, timeout, "an answer")
        if self.error:
            raise self.error
        return self.value[0] if len(self.value) == 1 else self.value


class Client:
    """A connection of its own."""

    def __init__(self, address):
        flags = Gio.DBusConnectionFlags.AUTHENTICATION_CLIENT | Gio.DBusConnectionFlags.MESSAGE_BUS_CONNECTION
        self.connection = Gio.DBusConnection.new_for_address_sync(address, flags, None, None)
        self.connection.set_exit_on_close(False)
        self.signals = []

    @property
    def name(self):
        return self.connection.get_unique_name()

    def send(self, path, interface, member, args=None, flags=Gio.DBusCallFlags.NONE, to=NAME, timeout=60):
        """args: a GLib.Variant of a tuple. Returns a Pending."""
        p = Pending()
        self.connection.call(to, path, interface, member, args, None, flags, timeout * 1000, None, p.on_reply)
        return p

    def call(self, *args, **kw):
        return self.send(*args, **kw).wait()

    def fails(self, *args, **kw):
        """The error of a call that must not succeed."""
        with pytest.raises(Failed) as e:
            self.call(*args, **kw)
        return e.value

    def manager(self, member, signature=None, *args, **kw):
        return self.call(ROOT, MANAGER, member, GLib.Variant(signature, args) if signature else None, **kw)

    def get(self, path, interface, name):
        return self.call(path, PROPERTIES, "Get", GLib.Variant("(ss)", (interface, name)))

    def get_all(self, path, interface):
        return self.call(path, PROPERTIES, "GetAll", GLib.Variant("(s)", (interface,)))

    def send_set(self, path, interface, name, signature, value, **kw):
        return self.send(path, PROPERTIES, "Set", GLib.Variant("(ssv)", (interface, name, GLib.Variant(signature, value))), **kw)

    def set(self, *args, **kw):
        return self.send_set(*args, **kw).wait()

    def state(self, name="State"):
        return self.get(ROOT, MANAGER, name)

    def objects(self):
        return self.call(ROOT, "org.freedesktop.DBus.ObjectManager", "GetManagedObjects")

    def listen(self):
        """Keeps what the manager emits: (time, path, member, arguments)."""
        self.connection.signal_subscribe(NAME, None, None, None, None, Gio.DBusSignalFlags.NONE, self.on_signal)
        self.call("/org/freedesktop/DBus", "org.freedesktop.DBus", "GetId", to="org.freedesktop.DBus")

    def on_signal(self, connection, sender, path, interface, member, arguments):
        self.signals.append((time.monotonic(), path, member, arguments.unpack()))

    def changes(self, path):
        """What PropertiesChanged has said of an object, the last word of each."""
        said = {}
        for _, p, member, arguments in self.signals:
            if p == path and member == "PropertiesChanged":
                said |= arguments[1]
        return said

    def close(self):
        self.connection.close_sync(None)


class Daemon:
    """A dbus-daemon. Users are told apart, everybody may do everything, the limits are those of Debian's system bus."""

    CONFIG = """<busconfig><type>custom</type><listen>unix:path={dir}/bus</listen><auth>EXTERNAL</auth>
      <policy context="default"><allow user="*"/><allow own="*"/><allow send_type="method_call"/><allow send_type="signal"/>
        <allow send_requested_reply="true" send_type="method_return"/><allow send_requested_reply="true" send_type="error"/>
        <allow receive_type="method_call"/><allow receive_type="method_return"/><allow receive_type="error"/>
        <allow receive_type="signal"/></policy>
      <limit name="max_match_rules_per_connection">512</limit><limit name="max_replies_per_connection">{replies}</limit>
    </busconfig>"""

    def __init__(self, replies=128):
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix="rb", dir="/tmp"))
        os.chmod(self.dir, 0o755)
        (self.dir / "conf").write_text(self.CONFIG.format(dir=self.dir, replies=replies))
        self.address = f"unix:path={self.dir}/bus"
        self.process = None
        self.start()

    def start(self):
        self.process = subprocess.Popen(["dbus-daemon", f"--config-file={self.dir}/conf", "--nofork", "--nopidfile", "--nosyslog"])
        wait_for(self.answers, 20, "the bus")

    def answers(self):
        """The socket is there a moment before anybody listens on it."""
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as s:
            s.connect(f"{self.dir}/bus")
            return True

    def kill(self):
        self.process.kill()
        self.process.wait(within(10))
        (self.dir / "bus").unlink(missing_ok=True)

    def remove(self):
        self.kill()
        shutil.rmtree(self.dir, ignore_errors=True)


class Polkit:
    """org.freedesktop.PolicyKit1.Authority, as polkit(8) describes it.

    says: "yes", "no", "challenge" (authentication would help), "prompt" (asks: answered by answer(); "challenge" if the caller
    does not allow it), "error", "silent" (never answers). asked: what came, in order."""

    XML = """<node><interface name="org.freedesktop.PolicyKit1.Authority">
      <method name="CheckAuthorization"><arg type="(sa{sv})" direction="in"/><arg type="s" direction="in"/>
        <arg type="a{ss}" direction="in"/><arg type="u" direction="in"/><arg type="s" direction="in"/>
        <arg type="(bba{ss})" direction="out"/></method>
      <method name="CancelCheckAuthorization"><arg type="s" direction="in"/></method>
    </interface></node>"""

    def __init__(self, address):
        self.says, self.asked, self.prompts, self.cancelled = "yes", [], [], []
        self.client = Client(address)
        c = self.client.connection
        interface = Gio.DBusNodeInfo.new_for_xml(self.XML).interfaces[0]
        c.register_object("/org/freedesktop/PolicyKit1/Authority", interface, self.on_call, None, None)
        self.client.call("/org/freedesktop/DBus", "org.freedesktop.DBus", "RequestName",
                         GLib.Variant("(su)", ("org.freedesktop.PolicyKit1", 4)), to="org.freedesktop.DBus")

    def on_call(self, connection, sender, path, interface, method, arguments, call):
        if method == "CancelCheckAuthorization":
            self.cancelled.append(arguments.unpack()[0])
            for p in [p for p in self.prompts if p[0] == self.cancelled[-1]]:
                self.prompts.remove(p)
                p[1].return_dbus_error("org.freedesktop.PolicyKit1.Error.Cancelled", "it was cancelled")
            call.return_value(None)
            return
        subject, action, details, flags, cancellation = arguments.unpack()
        self.asked.append({"subject": subject, "action": action, "details": details, "interactive": flags == 1, "time": time.monotonic()})
        says = self.says(self.asked[-1]) if callable(self.says) else self.says
        if says == "prompt" and flags != 1:
            says = "challenge"
        if says == "prompt":
            self.prompts.append((cancellation, call))
        elif says == "error":
            call.return_dbus_error("org.freedesktop.PolicyKit1.Error.Failed", "something is broken")
        elif says != "silent":
            self.reply(call, says)

    @staticmethod
    def reply(call, says):
        call.return_value(GLib.Variant("((bba{ss}))", ((says == "yes", says == "challenge", {}),)))

    def answer(self, says="yes"):
        """Answers the oldest prompt, as an agent does."""
        self.reply(self.prompts.pop(0)[1], says)

    def close(self):
        self.client.close()


class Manager:
    def __init__(self, bus, db, conf="", watchdog=None, conninfo=None):
        self.bus, self.db, self.watchdog = bus, db, watchdog
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix="rm", dir="/tmp"))
        os.chmod(self.dir, 0o755)
        (self.dir / "root/etc/reeve").mkdir(parents=True)
        (self.dir / "root/etc/reeve/reeve.conf").write_text(f"[Database]\nDatabase={conninfo or db.conninfo}\nPrepared=yes\n{conf}")
        self.log = self.dir / "log"
        self.notify = api.Notify(self.dir / "n")
        self.process = None
        self.start()

    def start(self, before=()):
        env = {"NOTIFY_SOCKET": str(self.notify.path), "REEVE_LOG_LEVEL": "debug", "PATH": os.environ["PATH"],
               "DBUS_SYSTEM_BUS_ADDRESS": self.bus.address}
        env |= {k: v for k, v in os.environ.items() if k.endswith("SAN_OPTIONS")}
        if self.watchdog:
            env["WATCHDOG_USEC"] = str(int(self.watchdog * 1e6))
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen([*before, str(REEVED), f"--root={self.dir}/root"], env=env, stdout=log, stderr=log)

    def text(self):
        return self.log.read_text(errors="replace")

    def wait_up(self, client, state="running", timeout=20):
        def is_up():
            assert self.process.poll() is None, self.text()[-4000:]
            try:
                return client.state() == state
            except Failed as e:
                assert "ServiceUnknown" in e.name or "NameHasNoOwner" in e.name or "NoReply" in e.name, e
                return False
        spin(is_up, timeout, f"state {state}")

    def busctl(self, *args, user=None, check=True):
        argv = ["busctl", f"--address={self.bus.address}", *args]
        if user:
            argv = ["setpriv", f"--reuid={user}", "--regid=nogroup", "--clear-groups", *argv]
        r = run(argv)
        assert not check or r.returncode == 0, r
        return r

    def history(self, name):
        """Of an object, oldest first: (event, actor, reason, detail)."""
        return self.db.sql("select event, actor, reason, detail from reeve.history where object = %s order by id", name)

    def kill9(self):
        self.process.kill()
        self.process.wait(within(10))

    def stop(self, timeout=20):
        self.process.send_signal(signal.SIGTERM)
        spin(lambda: self.process.poll() is not None, timeout, "reeved ends")
        assert self.process.returncode == 0, self.text()[-4000:]

    def close(self):
        try:
            if self.process.poll() is None:
                self.process.send_signal(signal.SIGCONT)
                self.process.terminate()
                try:
                    self.process.wait(within(20))
                except subprocess.TimeoutExpired:
                    self.process.kill()
                    self.process.wait(within(5))
                    raise AssertionError(f"reeved did not end: {self.text()[-4000:]}") from None
        finally:
            self.notify.sock.close()
            text = self.text()
            shutil.rmtree(self.dir, ignore_errors=True)
        assert "Sanitizer" not in text and "runtime error" not in text, text[-5000:]


@pytest.fixture(scope="session")
def bus():
    d = Daemon()
    yield d
    d.remove()


@pytest.fixture
def connect(bus):
    """connect() makes another Client; all are closed at the end."""
    made = []

    def make(address=None):
        made.append(Client(address or bus.address))
        return made[-1]
    yield make
    for c in made:
        if not c.connection.is_closed():
            c.close()


@pytest.fixture
def client(connect):
    return connect()


@pytest.fixture
def polkit(bus):
    p = Polkit(bus.address)
    yield p
    p.close()


@pytest.fixture
def start(bus, database):
    running = []

    def make(on=None, **kw):
        m = Manager(on or bus, kw.pop("db", database), **kw)
        running.append(m)
        return m
    yield make
    for m in running:
        m.close()


@pytest.fixture
def manager(start, polkit, client, database):
    database.add_kind("echo")
    database.add_kind("pdf", queue="documents", priority=7)
    m = start()
    m.wait_up(client)
    return m


def flag_path(key):
    return f"{ROOT}/flag/" + "".join(c if c.isascii() and c.isalnum() and not (i == 0 and c.isdigit()) else f"_{ord(c):02x}"
                                     for i, c in enumerate(key))


def dumps(value):
    return json.dumps(value, sort_keys=True)
