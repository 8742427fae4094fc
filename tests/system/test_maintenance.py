"""reeve-maintenance.timer under a real systemd."""


def test_the_timer_comes_with_the_target_and_its_service_may_do_its_work(machine):
    assert machine.is_active("reeve-maintenance.timer")
    machine.sh("mkdir -p /etc/reeve/reeve.conf.d; printf '[Maintenance]\\nOrphanSec=1s\\n' >/etc/reeve/reeve.conf.d/m.conf")
    # An upload whose job is refused leaves a file behind, of user reeve-api.
    refused = machine.sh("printf 0123456789 >/tmp/f; curl -sS -o /dev/null -w '%{http_code}' --unix-socket /run/reeve/api.sock "
                         "-F 'job={\"kind\": \"no-such-kind\"};type=application/json' -F file=@/tmp/f http://localhost/api/jobs")
    assert refused.startswith("4"), refused
    count = "find /var/lib/reeve/blobs -type f -path '*/??/*' | wc -l"
    assert machine.sh(count) == "1"
    machine.sh("sleep 1.1; systemctl start reeve-maintenance")
    machine.sh("sleep 1.1; systemctl start reeve-maintenance")
    assert machine.sh(count) == "0"
    assert machine.property("reeve-maintenance.service", "Result") == "success"
    assert "files removed: 1" in machine.journal("-u", "reeve-maintenance")
