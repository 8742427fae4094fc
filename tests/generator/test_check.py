import subprocess

from conftest import ETC, GOOD, USR


def test_all_is_well(tree):
    tree.kind("a")
    tree.write("bin/true", "").chmod(0o755)
    p = tree.run("--check")
    assert (p.returncode, p.stdout, p.stderr) == (0, "1 kind can be used, 0 are kept out, 0 warnings.\n", "")


def test_an_error_is_said_and_counted(tree):
    bad = tree.kind("bad", "[Kind]\nPriority=x\n" + GOOD, USR)
    tree.write("bin/true", "").chmod(0o755)
    tree.kind("a")
    p = tree.run("--check")
    assert p.returncode == 1
    assert p.stdout == f"{bad}:2: error: Priority=x: expected a number from 1 to 10\n1 kind can be used, 1 is kept out, 0 warnings.\n"


def test_warnings_alone_are_no_failure(tree):
    a = tree.kind("a", "[Kind]\nColour=1\n" + GOOD)
    tree.write("bin/true", "").chmod(0o755)
    p = tree.run("--check")
    assert p.returncode == 0
    assert p.stdout == f"{a}:2: warning: unknown key Colour= in section [Kind], ignored\n1 kind can be used, 0 are kept out, 1 warning.\n"


def test_an_unknown_section_is_said_once(tree):
    a = tree.kind("a", GOOD + "\n[Foo]\nx=1\ny=2\n")
    tree.write("bin/true", "").chmod(0o755)
    line = a.read_text().splitlines().index("[Foo]") + 1
    assert tree.run("--check").stdout == f"{a}:{line}: warning: unknown section [Foo], ignored\n1 kind can be used, 0 are kept out, 1 warning.\n"


def test_a_missing_program_is_a_warning(tree):
    a = tree.kind("a")
    tree.kind("embed", "[Http]\nUrl=http://localhost/\n")
    p = tree.run("--check")
    assert p.returncode == 0
    assert p.stdout == f"{a}: warning: Start=/bin/true: No such file or directory\n2 kinds can be used, 0 are kept out, 1 warning.\n"


def test_files_before_they_are_installed(tree, tmp_path):
    tree.write("bin/true", "").chmod(0o755)
    good, bad, other = tmp_path / "good.kind", tmp_path / "bad.kind", tmp_path / "notes.txt"
    good.write_text(GOOD)
    bad.write_text("[Exec]\nStart=true\n")
    other.write_text(GOOD)
    p = tree.run("--check", good)
    assert (p.returncode, p.stdout) == (0, "")
    p = tree.run("--check", good, bad, other, tmp_path / "gone.kind")
    assert p.returncode == 1
    assert p.stdout.splitlines() == [
        f"{bad}:2: error: Start=true: expected an absolute path to a program, and its arguments quoted as in a unit file",
        f"{other}: error: not named NAME.kind",
        f"{tmp_path}/gone.kind: error: cannot be read: No such file or directory",
    ]


# Where we are stricter than systemd on purpose: a single instant, a comma with nothing behind it.
STRICTER = {"@1395716396", "Mon,Tue,"}
CALENDAR = """daily|Daily UTC|weekly Europe/Berlin|Mon..Fri 08:30|Mon,Wed *-*-* 12:00:00|*-*-1 00:00:00 Europe/Berlin|*:0/15|*:*/15
Mon|Mon..|Monday-Friday 9:00|2026-01-01|26-01-01|01-01|*-02~03|*-*~1 10:00|*-2-29|13-01|*-*-32|25:00|24:00|10:60|10:00:60
10:00:59.5|10:00:00/0.5|10:00:0..30/5|8..18:00|8..18/2:00|18..8:00|08,12,16:00|10|hello|Mon 10|*-*-* 10:00 UTC|Sun..Tue 10:00
Mon,Tue,|Fri *-*-13|*-*-*|1969-01-01|2200-01-01|*-1/3-1|*-*-1..7 18:00:00|5:40:23.4200004/3.1700005|yearly UTC|10:0/0
@1395716396|2026-01-01T10:00|mon-fri|semi-annually|00:00/0|*:00:00/0|:30|*-*|*|* *|**:00|quarterly|Sat,Thu,Mon..Wed,Sat..Sun"""


def test_calendar_events_are_those_of_systemd(tree):
    events = CALENDAR.replace("\n", "|").split("|")
    for i, event in enumerate(events):
        tree.kind(f"k{i}", f"[Kind]\nOnCalendar={event}\n" + GOOD)
    out = tree.run("--check").stdout
    for i, event in enumerate(events):
        ours = f"/k{i}.kind:2: error" not in out
        theirs = subprocess.run(["systemd-analyze", "calendar", event], capture_output=True).returncode == 0
        assert ours == (theirs and event not in STRICTER), event
    assert str(tree.root / ETC) in out


def test_what_a_script_needs_is_looked_for(tree):
    tree.write("srv/a", "#! /bin/nosh -e\n").chmod(0o755)
    tree.write("srv/b", "#!/bin/sh\r\n").chmod(0o755)
    tree.write("srv/c", "#!/bin/sh\n").chmod(0o755)
    tree.write("srv/d", "#!/bin/sh\n").chmod(0o644)
    tree.write("bin/sh", "").chmod(0o755)
    for name in "abcd":
        tree.kind(name, f"[Exec]\nStart=/srv/{name}\n")
    said = tree.run("--check").stdout.splitlines()
    assert len(said) == 4 and said[3] == "4 kinds can be used, 0 are kept out, 3 warnings."
    assert said[0].endswith('Start=/srv/a: its first line names the interpreter "/bin/nosh", which cannot be executed')
    assert said[1].endswith('"/bin/sh", which cannot be executed with the carriage return of a Windows line end')
    assert said[2].endswith("Start=/srv/d: Permission denied: chmod a+x it")
