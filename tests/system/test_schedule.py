"""OnCalendar= under a real systemd: the generator's timer, one job for each instant."""


def test_a_kind_with_a_calendar_gets_its_jobs(machine):
    machine.sh("""mkdir -p /etc/reeve/kinds
printf '[Kind]\\nOnCalendar=*:*:0/2\\n[Exec]\\nStart=/bin/cat\\n' >/etc/reeve/kinds/tick.kind
systemctl daemon-reload
systemctl restart reeve-worker@default""")
    assert machine.is_active("reeve-schedule@tick.timer")
    assert "reeve-schedule@tick.timer" in machine.sh("systemctl list-timers --no-pager 'reeve-schedule@*'")
    machine.wait_until(lambda: machine.psql("select count(*) >= 3 from reeve.done where state = 'succeeded'") == "t", 30)
    # By hand as well, and by another host's timer: no instant twice.
    machine.sh("for i in 1 2 3; do systemctl start reeve-schedule@tick; done")
    seen = machine.psql("select payload ->> 'scheduled_for' from reeve.job where kind = 'tick' order by id").split()
    assert len(seen) == len(set(seen)) >= 3 and all(int(s[17:19]) % 2 == 0 for s in seen), seen
    assert machine.psql("select distinct result ->> 'scheduled_for' = payload ->> 'scheduled_for' from reeve.done d "
                        "join reeve.job j on j.id = d.job") == "t"
    # With the file the timer goes.
    machine.sh("rm /etc/reeve/kinds/tick.kind; systemctl daemon-reload; systemctl stop reeve-schedule@tick.timer")
    assert not machine.is_active("reeve-schedule@tick.timer")
    assert machine.property("reeve-schedule@tick.service", "Result") == "success"
