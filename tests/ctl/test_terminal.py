"""On a terminal: the bar, and no colour where none is wanted. Completion in a real bash and zsh."""
import fcntl
import os
import pathlib
import pty
import select
import shutil
import struct
import subprocess
import termios
import time

from conftest import CTL, JOB, response
from test_verbs import RUNNING, SUCCEEDED, fleet
from patience import within

BASH = pathlib.Path(__file__).resolve().parents[2] / "completion/reevectl.bash"


def on_terminal(args, env=None, keys=(), columns=0):
    """Runs a program with all three streams on a terminal; what it printed and its exit status."""
    main, end = pty.openpty()
    fcntl.ioctl(end, termios.TIOCSWINSZ, struct.pack("HHHH", 24 if columns else 0, columns, 0, 0))
    environment = {"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8", "TERM": "xterm", "HOME": "/nonexistent", **(env or {})}
    process = subprocess.Popen(args, stdin=end, stdout=end, stderr=end, env=environment, start_new_session=True)
    os.close(end)
    out, deadline, keys = b"", time.monotonic() + 40, list(keys)
    try:
        while time.monotonic() < deadline:
            if keys and keys[0][0] in out:
                os.write(main, keys.pop(0)[1])
            if not select.select([main], [], [], 0.2)[0]:
                continue
            try:
                more = os.read(main, 65536)
            except OSError:
                break
            if not more:
                break
            out += more
    finally:
        if process.poll() is None and time.monotonic() >= deadline:
            process.kill()
        status = process.wait(within(10))
        os.close(main)
    return out.decode(), status


def test_the_bar(service, ctl):
    service.answers[f"GET /api/jobs/{JOB}"] = [response(RUNNING), response({**RUNNING, "progress": 75.5, "status": "\x1b[31mred"}),
                                              response(SUCCEEDED)]
    out, status = on_terminal([CTL, f"--socket={ctl.path}", "wait", JOB])
    assert status == 0
    assert "[#########---------------]  40% page 2" in out and "[##################------]  76% ?[31mred" in out
    assert out.endswith(f"\r\x1b[K{JOB}: succeeded\r\n"), "the bar is gone in the end"
    service.answers[f"GET /api/jobs/{JOB}"] = [response(RUNNING), response(SUCCEEDED)]
    out, status = on_terminal([CTL, f"--socket={ctl.path}", "wait", JOB], {"TERM": "dumb"})
    assert out == f"{JOB}: running 40% page 2\r\n{JOB}: succeeded\r\n"


def test_the_bar_is_no_longer_than_a_line(service, ctl):
    service.answers[f"GET /api/jobs/{JOB}"] = [response({**RUNNING, "status": "ü" * 190}), response(SUCCEEDED)]
    out, _ = on_terminal([CTL, f"--socket={ctl.path}", "wait", JOB], columns=50)
    assert [len(x) for x in out.split("\r") if "%" in x] == [49]


def test_no_colour_where_none_is_wanted(service, ctl):
    fleet(service)
    out, _ = on_terminal([CTL, f"--socket={ctl.path}", "queues"])
    assert out.startswith("\x1b[1mQUEUE")
    for env in ({"NO_COLOR": "1"}, {"TERM": "dumb"}):
        assert "\x1b" not in on_terminal([CTL, f"--socket={ctl.path}", "queues"], env)[0]
    assert "\x1b" not in ctl("queues", status=0).stdout


def complete(ctl, line):
    """The words that bash's own programmable completion would offer."""
    script = f"""source {BASH}; COMP_LINE={line!r}; COMP_POINT=${{#COMP_LINE}}
        COMP_WORDS=({line}); COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1)); _reevectl; printf '%s\\n' "${{COMPREPLY[@]}}" """
    return subprocess.run(["bash", "--norc", "-c", script], capture_output=True, text=True, timeout=within(30)).stdout.split()


def test_completion_offers_what_may_stand_there(service, ctl):
    fleet(service)
    service.answers["GET /api/jobs"] = response({"jobs": [RUNNING]})
    at = f"--socket={ctl.path}"
    call = lambda *words: subprocess.run([CTL, "complete", "--", at, *words], capture_output=True, text=True, timeout=within(30)).stdout.split()
    assert call("s") == ["status", "submit", "show", "selftest"] and call("comp") == []
    assert call("list", "--st") == ["--state="] and call("status", "--st") == []
    assert call("list", "--state=s") == ["--state=scheduled", "--state=succeeded"]
    assert call("list", "--queue=") == ["--queue=default"] and call("list", "--kind=h") == ["--kind=hello"]
    assert call("submit", "h") == ["hello"] and call("submit", "hello", "") == []
    assert call("show", "") == [JOB] and call("cancel", JOB[:8]) == [JOB]
    assert call("kinds", "") == ["check", "retire"] and call("kinds", "retire", "") == ["hello"] and call("migrate", "st") == ["status"] and call("help", "wor") == ["workers"]
    assert call("list", "--socket=/nonexistent", "--queue=") == []


def test_completion_in_bash(tmp_path):
    assert complete(None, f"{CTL} st") == ["status"]
    assert complete(None, f"{CTL} list --st") == ["--state="]
    assert complete(None, f"{CTL} list --state = f") == ["failed"]
    # In an interactive one, by the tabulator.
    (tmp_path / "rc").write_text(f"PATH={CTL.parent}:$PATH\nPS1='ready> '\nsource {BASH}\nbind 'set bell-style none'\n")
    out, status = on_terminal(["bash", "--noprofile", "--rcfile", tmp_path / "rc", "-i"],
                              keys=[(b"ready> ", b"reevectl canc\t"), (b"cancel ", b"--rea\t"), (b"--reason=", b"x --help; exit 7\n")])
    assert "reevectl cancel --reason=x --help" in out and "Cancel jobs." in out and status == 7
    out, status = on_terminal(["bash", "--noprofile", "--rcfile", tmp_path / "rc", "-i"],
                              keys=[(b"ready> ", b"echo; reevectl list --state=succ\t"), (b"--state=succeeded ", b"--help; exit 8\n")])
    assert "--state=succeeded --help" in out and status == 8


def test_completion_in_zsh(tmp_path):
    """By the tabulator, in an interactive one with the completion where a package puts it."""
    (tmp_path / "functions").mkdir()
    shutil.copy(BASH.parent / "_reevectl", tmp_path / "functions")
    (tmp_path / ".zshrc").write_text(f"PATH={CTL.parent}:$PATH\nPS1='ready> '\nunsetopt zle_bracketed_paste prompt_cr prompt_sp beep\n"
                                     f"fpath=({tmp_path}/functions $fpath)\nautoload -Uz compinit && compinit -u -d {tmp_path}/dump\n")
    zsh = {"ZDOTDIR": str(tmp_path), "HOME": str(tmp_path)}
    out, status = on_terminal(["zsh", "-i"], zsh, columns=120,
                              keys=[(b"ready> ", b"reevectl canc\t"), (b"cancel ", b"--rea\t"), (b"--reason=", b"x --help; exit 7\n")])
    assert "Cancel jobs." in out and status == 7, out
    out, status = on_terminal(["zsh", "-i"], zsh, columns=120,
                              keys=[(b"ready> ", b"echo; reevectl list --state=succ\t"), (b"--state=succeeded ", b"--help; exit 8\n")])
    assert "--state=" in out and status == 8, out
