"""That the sanitized package is one, and that what it reports is not overlooked."""
import pytest

pytestmark = pytest.mark.sanitized


def test_every_program_is_sanitized(machine):
    programs = machine.sh("for f in $(dpkg -L reeve); do [ ! -f $f ] || [ \"$(head -c4 $f | tr -d '\\0')\" != $'\\x7fELF' ] || echo $f; done").split()
    assert len(programs) > 8
    assert machine.sh(f"grep -L __asan_init {' '.join(programs)}") == ""
    assert machine.sh("dpkg-query -W -f '${Version}' reeve").endswith("~sanitized")
    for unit in ("reeved", "reeve-worker@default"):
        assert "detect_leaks=1" in machine.sh(f"tr '\\0' '\\n' </proc/{machine.main_pid(unit)}/environ"), unit


def test_a_report_in_the_journal_is_noticed(machine):
    machine.exec("systemctl", "kill", "-s", "SEGV", "reeved.service")
    machine.wait_until("journalctl -q -u reeved -g 'SUMMARY: AddressSanitizer'")
    with pytest.raises(AssertionError, match="ERROR: AddressSanitizer: SEGV"):
        machine.check_reports()
    machine.check_reports()   # once


def test_a_report_of_a_command_is_noticed(machine):
    # It reads its payload, system call 0, when it is ended.
    script = ("mkfifo /tmp/never; sleep 60 >/tmp/never 2>/dev/null & reevectl submit words - </tmp/never & "
              "until grep -q '^0 0x0 ' /proc/$!/syscall && grep -qx reevectl /proc/$!/comm; do sleep 0.1; done; kill -SEGV $!; wait $! || true")
    with pytest.raises(AssertionError, match="ERROR: AddressSanitizer: SEGV"):
        machine.sh(script)
