import os
import re
import stat
import subprocess
import time

import pytest
from conftest import ETC, GENERATOR, GOOD, RELEASE, RUN, USR, files_of
from patience import within

FULL = """[Kind]
Description=100% of a PDF
Queue=pdf
TimeoutSec=1min
StopSec=7s
WatchdogSec=30s
[Exec]
Start=/bin/echo "a b" 'c"d' 100% $HOME ; %n \\x09
Join="/opt/join it%h"
MaxRuns=20
Mode=exec
Output=text
[Service]
MemoryMax=512M
PrivateNetwork=no
BindPaths=/srv
BindPaths=-/opt:/opt:rbind
"""


def verify(*paths):
    """systemd's own opinion. Its exit status is 0 for unknown keys too: only silence is good."""
    # In place of the package's; systemd looks for units beside those that it is given.
    (paths[0].parent / "reeve-view.service").write_text("[Service]\nType=oneshot\nExecStart=/bin/true\n")
    p = subprocess.run(["systemd-analyze", "verify", "--man=no", *paths], text=True, capture_output=True, timeout=within(120))
    return p.stderr


def test_an_exec_kind_gets_socket_template_and_link(tree):
    tree.kind("pdf", FULL)
    p = tree.generate()
    assert (p.returncode, p.stdout, p.stderr) == (0, "", "")
    assert tree.made() == files_of("pdf")
    assert os.readlink(tree.out / "reeve.target.wants/reeve-run-pdf.socket") == "../reeve-run-pdf.socket"
    socket = tree.socket("pdf").splitlines()
    for line in ("ListenSequentialPacket=/run/reeve/run/pdf.sock", "Accept=yes", "SocketUser=root", "SocketGroup=reeve-worker",
                 "SocketMode=0660", "MaxConnections=512", "SourcePath=/etc/reeve/kinds/pdf.kind"):
        assert line in socket
    worker = (tree.out / "reeve-worker@.service.d/50-kinds.conf").read_text().splitlines()
    assert "After=reeve-run-pdf.socket" in worker and "Wants=reeve-run-pdf.socket" in worker


def test_the_launcher_gets_every_setting_and_the_words_of_start(tree):
    tree.kind("pdf", FULL)
    tree.generate()
    assert tree.exec_start("pdf") == (
        "ExecStart=:-/usr/lib/reeve/reeve-exec --unit=%n --stop-usec=7000000 --timeout-usec=60000000"
        " --watchdog-usec=30000000 --max-runs=20 --mode=exec --output=text"
        ' --join="/opt/join it%%h"'
        ' -- /bin/echo "a b" "c\\"d" 100%% "$HOME" ";" %%n "\\t"')
    assert "TimeoutStopSec=7000000us" in tree.service("pdf").splitlines()


def test_no_limit_means_no_option(tree):
    tree.kind("a", "[Kind]\nTimeoutSec=infinity\nStopSec=0\n" + GOOD)
    tree.generate()
    assert tree.exec_start("a") == "ExecStart=:-/usr/lib/reeve/reeve-exec --unit=%n --stop-usec=0 --max-runs=1 --mode=exec -- /bin/true"
    # 0 would be no limit to systemd
    assert "TimeoutStopSec=1us" in tree.service("a").splitlines()


def test_lines_of_service_come_last_in_their_order(tree):
    tree.kind("pdf", FULL)
    tree.generate()
    assert tree.service("pdf").splitlines()[-4:] == ["MemoryMax=512M", "PrivateNetwork=no", "BindPaths=/srv", "BindPaths=-/opt:/opt:rbind"]


def test_systemd_has_nothing_to_say_about_the_units(tree):
    tree.kind("pdf", FULL)
    tree.kind("a-b.c_d", GOOD, USR)
    tree.generate()
    units = [tree.out / f"reeve-run-{n}{end}" for n in ("pdf", "a-b.c_d") for end in ("@.service", ".socket")]
    assert verify(*units) == ""


def test_systemd_is_heard_when_a_kind_has_an_unknown_directive(tree):
    tree.kind("a", GOOD + "[Service]\nMemoryMaximum=1G\n")
    tree.generate()
    assert "MemoryMaximum" in verify(tree.out / "reeve-run-a@.service")


# More than 1.5 for what takes the view, which does what its unit does not say: reeve-view(8) has what was measured.
@pytest.mark.parametrize("service, exposure", [("", 20), ("[Service]\nPrivateNetwork=no\nMemoryMax=4G\n", 15)])
def test_exposure_is_bounded(tree, service, exposure):
    tree.kind("a", GOOD + service)
    tree.generate()
    p = subprocess.run(["systemd-analyze", "security", "--offline=true", f"--threshold={exposure}", "--no-pager",
                        tree.out / "reeve-run-a@.service"], text=True, capture_output=True, timeout=60)
    assert p.returncode == 0, p.stdout[-2000:] + p.stderr


@pytest.mark.parametrize("service, view", [
    ("", True), ("MemoryMax=4G\nTasksMax=9\nCPUQuota=50%\nLimitNOFILE=9\nEnvironment=A=b\nNice=5\n", True),
    ("ReadWritePaths=/srv\n", False), ("BindPaths=/run/x\n", False), ("User=root\n", False), ("PrivateNetwork=no\n", False),
    ("LoadCredential=a:/b\n", False), ("MemoryMax=4G\nRootDirectory=/srv\n", False), ("NoSuchThing=1\n", False)])
def test_who_changes_what_is_seen_does_not_take_the_view(tree, service, view):
    tree.kind("a", GOOD + "[Service]\n" + service)
    tree.generate()
    lines = tree.service("a").splitlines()
    assert ("RootDirectory=/run/reeve-view/root" in lines) == view
    assert any(line.startswith("InaccessiblePaths=") for line in lines) != view
    assert ("ProtectHome=yes" in lines) != view
    for line in service.splitlines():
        assert line in lines


@pytest.mark.parametrize("where", ["etc", "run", "usr/lib"])
def test_a_kind_whose_unit_has_dropins_does_not_take_the_view(tree, where):
    tree.kind("a")
    tree.kind("b")
    tree.write(f"{where}/systemd/system/reeve-run-a@.service.d/x.conf", "[Service]\nReadWritePaths=/srv\n")
    tree.generate()
    assert "RootDirectory" not in tree.service("a") and "RootDirectory" in tree.service("b")


def test_no_socket_without_the_view(tree):
    tree.kind("a")
    tree.generate()
    assert {"Requires=reeve-view.service", "After=reeve-view.service"} <= set(tree.socket("a").splitlines())


def test_the_view_can_be_masked(tree):
    tree.kind("a")
    tree.link("etc/systemd/system/reeve-view.service", "/dev/null")
    tree.generate()
    assert "RootDirectory" not in tree.service("a") and "ProtectHome=yes" in tree.service("a").splitlines()
    assert "reeve-view" not in tree.socket("a")
    assert verify(tree.out / "reeve-run-a@.service", tree.out / "reeve-run-a.socket") == ""


def test_root_gets_the_kernels_settings_read_only(tree):
    """As reeve-run nobody can write them; the mounts are left out, for they are slow."""
    tree.kind("a")
    tree.kind("root", GOOD + "[Service]\nUser=root\n")
    tree.generate()
    assert "ProtectKernelTunables=yes" not in tree.service("a").splitlines()
    assert "ProtectKernelTunables=yes" in tree.service("root").splitlines()


def test_a_kind_that_opens_all_is_seen_to_be_exposed(tree):
    tree.kind("a", GOOD + "[Service]\n" + "".join(f"{k}=no\n" for k in (
        "PrivateNetwork", "PrivateUsers", "PrivateDevices", "NoNewPrivileges", "RestrictNamespaces", "ProtectKernelTunables")))
    tree.generate()
    p = subprocess.run(["systemd-analyze", "security", "--offline=true", "--threshold=15", "--no-pager",
                        tree.out / "reeve-run-a@.service"], text=True, capture_output=True, timeout=60)
    assert p.returncode != 0


def test_no_kinds_no_files(tree):
    p = tree.generate()
    assert (p.returncode, p.stderr, tree.made()) == (0, "", set())


def test_an_http_kind_has_no_units(tree):
    tree.kind("embed", "[Http]\nUrl=http://127.0.0.1:11434/api/embed\n")
    p = tree.generate()
    assert (p.returncode, p.stderr, tree.made()) == (0, "", set())


def test_a_kind_with_a_calendar_gets_a_timer(tree):
    tree.kind("nightly", "[Kind]\nOnCalendar=03:00\n" + GOOD)
    tree.kind("weekly", "[Kind]\nOnCalendar=Mon 08:30 Europe/Berlin\nMissed=one\n[Http]\nUrl=http://localhost/\n")
    tree.generate()
    assert tree.made() == files_of("nightly") | {f"{d}reeve-schedule@{k}.timer" for k in ("nightly", "weekly")
                                                 for d in ("", "reeve.target.wants/")}
    nightly, weekly = ((tree.out / f"reeve-schedule@{k}.timer").read_text() for k in ("nightly", "weekly"))
    assert "\nOnCalendar=03:00 UTC\n" in nightly and "\nPersistent=no\n" in nightly and "PartOf=reeve.target" in nightly
    assert "\nOnCalendar=Mon 08:30 Europe/Berlin\n" in weekly and "\nPersistent=yes\n" in weekly
    worker = (tree.out / "reeve-worker@.service.d/50-kinds.conf").read_text()
    assert "Wants=reeve-schedule@nightly.timer" in worker and "Wants=reeve-schedule@weekly.timer" in worker
    assert "reeve-run-weekly" not in worker


def test_directories_in_order_of_precedence(tree):
    order = [USR, RELEASE, RUN, ETC]
    for i, where in enumerate(order):
        tree.kind("a", f"[Exec]\nStart=/bin/from-{i}\n", where)
        tree.generate()
        assert tree.exec_start("a").endswith(f" -- /bin/from-{i}")
        assert f"SourcePath=/{where}/a.kind" in tree.service("a").splitlines()


def test_each_directory_adds_kinds(tree):
    for i, where in enumerate([ETC, RUN, RELEASE, USR]):
        tree.kind(f"k{i}", GOOD, where)
    tree.generate()
    assert tree.made() == files_of("k0", "k1", "k2", "k3")


@pytest.mark.parametrize("how", ["empty", "null"])
def test_a_mask_hides_a_kind_without_a_word(tree, how):
    tree.kind("gone", GOOD, USR)
    tree.kind("here", GOOD, USR)
    tree.write(f"{USR}/gone.kind.d/x.conf", "[Kind]\nPriority=1\n")
    if how == "empty":
        tree.kind("gone", "", ETC)
    else:
        tree.link(f"{ETC}/gone.kind", "/dev/null")
    p = tree.generate()
    assert (p.returncode, p.stderr) == (0, "")
    assert tree.made() == files_of("here")


def test_dropins_of_all_directories_by_file_name(tree):
    tree.kind("a", GOOD + "[Kind]\nStopSec=1s\n[Service]\nMemoryMax=1M\n", USR)
    tree.write(f"{ETC}/a.kind.d/10-x.conf", "[Kind]\nStopSec=10s\n[Service]\nMemoryMax=10M\n")
    tree.write(f"{USR}/a.kind.d/20-y.conf", "[Kind]\nStopSec=20s\n[Service]\nMemoryMax=20M\n")
    tree.write(f"{USR}/a.kind.d/30-z.conf", "[Kind]\nStopSec=30s\n")
    tree.link(f"{ETC}/a.kind.d/30-z.conf", "/dev/null")                 # masked
    tree.write(f"{USR}/a.kind.d/10-x.conf", "[Service]\nMemoryMax=99M\n")   # hidden by /etc's
    tree.write(f"{ETC}/a.kind.d/README", "not read")
    p = tree.generate()
    assert (p.returncode, p.stderr) == (0, "")
    assert "--stop-usec=20000000" in tree.exec_start("a")
    assert tree.service("a").splitlines()[-3:] == ["MemoryMax=1M", "MemoryMax=10M", "MemoryMax=20M"]


def test_a_broken_kind_is_named_and_the_others_stay(tree):
    bad = tree.kind("bad", "[Kind]\nPriority=11\nColour=blue\n[Exec]\nStart=/bin/true\n")
    tree.kind("good")
    syntax = tree.kind("syntax", "[Exec\nStart=/bin/true\n")
    dropin = tree.write(f"{ETC}/drop.kind.d/x.conf", "\n\n[Kind]\nRetrySec=soon\n")
    tree.kind("drop")
    p = tree.generate()
    assert p.returncode == 0
    assert tree.made() == files_of("good")
    assert f"reeve-generator: {bad}:2: error: Priority=11: expected a number from 1 to 10\n" in p.stderr
    assert f"reeve-generator: {bad}:3: warning: unknown key Colour= in section [Kind], ignored\n" in p.stderr
    assert f"reeve-generator: {syntax}:1: error: a section must be written [Name]\n" in p.stderr
    assert f"reeve-generator: {dropin}:4: error: RetrySec=soon: expected a time span such as 2s\n" in p.stderr


@pytest.mark.parametrize("make,says", [
    (lambda p: p.mkdir(), "not a regular file"),
    (lambda p: os.mkfifo(p), "not a regular file"),
    (lambda p: p.symlink_to("nowhere"), "No such file"),
    (lambda p: p.symlink_to(p.name), "symbolic links"),
    (lambda p: p.write_bytes(b"[Exec]\nStart=/bin/\xff\n"), "UTF-8"),
    (lambda p: p.write_bytes(b"[Exec]\nStart=/bin/t\0rue\n"), "UTF-8"),
    (lambda p: p.write_bytes(b"#" * (1 << 20) + b"\n"), "too"),
    (lambda p: p.write_text("[Exec]\nStart=/bin/true " + "x" * 70000 + "\n"), "line too long"),
    (lambda p: p.write_text("# nothing but a comment\n"), "neither [Exec]"),
], ids=["directory", "fifo", "dangling", "loop", "latin1", "nul", "large", "long-line", "comment"])
def test_a_file_that_is_no_text_is_named_and_nothing_hangs(tree, make, says):
    tree.kind("good")
    bad = tree.root / ETC / "bad.kind"
    make(bad)
    start = time.monotonic()
    p = tree.generate()
    assert time.monotonic() - start < within(20)
    assert p.returncode == 0
    assert tree.made() == files_of("good")
    assert str(bad) in p.stderr and "error" in p.stderr and says in p.stderr


def test_names_and_units_stand_for_each_other(tree):
    names = ["a-b", "a.b", "a_b", "a", "A", "9", "a--b", "a.socket", "a-b.c", "x" * 64]
    for n in names:
        tree.kind(n)
    p = tree.generate()
    assert (p.returncode, p.stderr) == (0, "")
    assert tree.made() == files_of(*names)
    listens = [re.search(r"^ListenSequentialPacket=(.*)$", tree.socket(n), re.M)[1] for n in names]
    assert listens == [f"/run/reeve/run/{n}.sock" for n in names]
    assert verify(*(tree.out / f"reeve-run-{n}.socket" for n in names)) == ""


@pytest.mark.parametrize("name", ["a@b", "a b", "-a", "ä", "a%b", "a:b", "x" * 65, "a\\x2db"])
def test_a_name_that_is_none_is_refused(tree, name):
    tree.kind("good")
    tree.kind(name)
    p = tree.generate()
    assert p.returncode == 0
    assert "is not a kind's name" in p.stderr
    assert tree.made() == files_of("good")


def test_twice_is_the_same(tree):
    tree.kind("pdf", FULL)
    tree.generate()
    first = tree.service("pdf"), tree.socket("pdf")
    p = tree.generate()
    assert (p.returncode, p.stderr) == (0, "")
    assert (tree.service("pdf"), tree.socket("pdf")) == first


def test_files_are_readable_by_all(tree):
    tree.kind("a")
    old = os.umask(0)
    try:
        tree.generate()
    finally:
        os.umask(old)
    assert stat.S_IMODE((tree.out / "reeve-run-a.socket").stat().st_mode) == 0o644


def test_a_user_manager_gets_nothing(tree):
    tree.kind("a")
    p = tree.generate(env={"SYSTEMD_SCOPE": "user"})
    assert (p.returncode, p.stderr, tree.made()) == (0, "", set())


def test_a_directory_that_is_not_there_is_said(tree):
    tree.kind("a")
    p = tree.run(tree.out / "no", tree.out, tree.out)
    assert p.returncode != 0
    assert "cannot write the units of kind a" in p.stderr


def test_wrong_arguments_explain_themselves(tree):
    p = tree.run()
    assert p.returncode != 0 and "--check" in p.stderr
    p = tree.run("--colour")
    assert p.returncode != 0 and "--check" in p.stderr
    p = tree.run("--help")
    assert p.returncode == 0 and "--check" in p.stdout


@pytest.mark.skipif(os.geteuid() != 0, reason="needs a small file system")
def test_a_full_disk_leaves_no_half_a_unit(tree):
    """Half a unit is one without the end of its sandbox. Wherever the room ends, what is there is whole, and what is not is told."""
    for n in ("one", "two"):
        tree.kind(n, GOOD.replace("[Exec]", "[Kind]\nOnCalendar=daily\n[Exec]"))
    assert tree.generate().returncode == 0
    whole = {name: (tree.out / name).read_bytes() for name in tree.made()}
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4k", "tmpfs", tree.out], check=True)
    n_partly = 0
    try:
        for pages in range(1, 40):
            subprocess.run(["mount", "-o", f"remount,size={4 * pages}k", tree.out], check=True)
            p = tree.generate()
            made = {name: (tree.out / name).read_bytes() for name in tree.made()}
            assert all(whole[name] == text for name, text in made.items()), pages
            if made == whole:
                break
            assert "No space left on device" in p.stderr, pages
            n_partly += 1
            subprocess.run(["find", tree.out, "-mindepth", "1", "-delete"], check=True)
        assert made == whole and n_partly > 3
    finally:
        subprocess.run(["umount", "-l", tree.out], check=True)


def test_two_at_once_write_the_same(tree):
    """systemd runs one at a time; daemon-reload by hand beside it may be a second."""
    for i in range(30):
        tree.kind(f"k{i}")
    assert tree.generate().returncode == 0
    whole = {name: (tree.out / name).read_bytes() for name in tree.made()}
    argv = [GENERATOR, f"--root={tree.root}", tree.out, tree.out.with_name("early"), tree.out.with_name("late")]
    both = [subprocess.Popen(argv, stderr=subprocess.PIPE, text=True) for _ in range(4)]
    for p in both:
        assert p.communicate(timeout=60)[1] == "" and p.returncode == 0
    assert {name: (tree.out / name).read_bytes() for name in tree.made()} == whole
