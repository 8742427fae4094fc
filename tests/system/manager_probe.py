"""Run inside a machine by test_manager.py: what needs a program of its own there.

agent     as a user: registers as the authentication agent of this process, makes two calls that ask it, and never answers. A line
          on stdin closes the first caller's connection. Says "prompts N", "cancelled N", "answers N".
time N    N changes of the flag: the slowest of the faster half, in ms
push N    N changes: from the call to the API's answer that shows it, the same
"""
import http.client
import json
import os
import socket
import sys
import time

import gi

gi.require_version("Gio", "2.0")
from gi.repository import Gio, GLib  # noqa: E402

V = GLib.Variant
AGENT = """<node><interface name="org.freedesktop.PolicyKit1.AuthenticationAgent">
  <method name="BeginAuthentication"><arg type="s" direction="in"/><arg type="s" direction="in"/><arg type="s" direction="in"/>
    <arg type="a{ss}" direction="in"/><arg type="s" direction="in"/><arg type="a(sa{sv})" direction="in"/></method>
  <method name="CancelAuthentication"><arg type="s" direction="in"/></method></interface></node>"""


def connect():
    address = Gio.dbus_address_get_for_bus_sync(Gio.BusType.SYSTEM)
    flags = Gio.DBusConnectionFlags.AUTHENTICATION_CLIENT | Gio.DBusConnectionFlags.MESSAGE_BUS_CONNECTION
    return Gio.DBusConnection.new_for_address_sync(address, flags)


def arguments(percent):
    return ("org.reeve1", "/org/reeve1", "org.reeve1.Manager", "SetFlagPercent", V("(sds)", ("async-processing", percent, "")), None)


def agent():
    counts = {"prompts": 0, "cancelled": 0, "answers": 0}

    def count(what):
        counts[what] += 1
        print(what, counts[what], flush=True)

    def on_call(connection, sender, path, interface, method, parameters, call):
        if method == "CancelAuthentication":
            call.return_value(None)
        count("prompts" if method == "BeginAuthentication" else "cancelled")

    bus = connect()
    bus.register_object("/agent", Gio.DBusNodeInfo.new_for_xml(AGENT).interfaces[0], on_call, None, None)
    start = int(open("/proc/self/stat").read().rsplit(")", 1)[1].split()[19])
    subject = ("unix-process", {"pid": V("u", os.getpid()), "start-time": V("t", start), "uid": V("i", os.getuid())})
    bus.call_sync("org.freedesktop.PolicyKit1", "/org/freedesktop/PolicyKit1/Authority", "org.freedesktop.PolicyKit1.Authority",
                  "RegisterAuthenticationAgent", V("((sa{sv})ss)", (subject, "C", "/agent")), None, 0, -1)
    callers = [connect(), connect()]
    for c in callers:
        c.set_exit_on_close(False)
        c.call(*arguments(99), Gio.DBusCallFlags.ALLOW_INTERACTIVE_AUTHORIZATION, 120000, None,
               lambda connection, _: connection.is_closed() or count("answers"))

    def on_line(*_):
        if not sys.stdin.readline():
            sys.exit(0)
        callers.pop(0).close_sync(None)
        return True
    GLib.io_add_watch(sys.stdin.fileno(), GLib.IO_IN | GLib.IO_HUP, on_line)
    GLib.MainLoop().run()


def middle(seconds):
    print(f"{sorted(seconds)[len(seconds) // 2] * 1000:.1f}")


def measure(n):
    bus, seconds = connect(), []
    for i in range(n):
        begin = time.monotonic()
        bus.call_sync(*arguments(i % 100), 0, -1)
        seconds.append(time.monotonic() - begin)
    middle(seconds)


class Local(http.client.HTTPConnection):
    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect("/run/reeve/api.sock")


def push(n):
    bus, seconds, web = connect(), [], Local("localhost")

    def value():
        web.request("POST", "/ofrep/v1/evaluate/flags/async-processing", json.dumps({"context": {"targetingKey": "user-1"}}),
                    {"Content-Type": "application/json"})
        return json.loads(web.getresponse().read())["value"]
    bus.call_sync("org.reeve1", "/org/reeve1", "org.reeve1.Manager", "SetFlagEnabled", V("(sbs)", ("async-processing", True, "")), None, 0, -1)
    for i in range(n):
        on = i % 2 == 0
        begin = time.monotonic()
        bus.call_sync(*arguments(100 if on else 0), 0, -1)
        while value() is not on:
            assert time.monotonic() - begin < 10
        seconds.append(time.monotonic() - begin)
    middle(seconds)


if sys.argv[1] == "agent":
    agent()
else:
    {"time": measure, "push": push}[sys.argv[1]](int(sys.argv[2]))
