"""A rollout of reading PDFs without waiting, from its first subject to its end: 500 pages at 10 %, while what a host has to bear
comes upon it one after the other. Everything ends right."""
import json
import threading

import pdf_file
import pytest
from pdf_host import SOCKET, Host

ROUTE = "http://localhost/api/v1/process-pdf-async"
BUS = ("busctl", "call", "org.reeve1", "/org/reeve1", "org.reeve1.Manager")


@pytest.fixture(scope="module")
def host(machine, tmp_path_factory):
    where = tmp_path_factory.mktemp("pdf")
    book = pdf_file.make(where / "book.pdf", 500)
    leaflet = pdf_file.make(where / "leaflet.pdf", 2)
    machine.put(leaflet, "/srv")
    machine.sh("chmod a+r /srv/*.pdf")
    return Host(machine, (book, pdf_file.pages(book)), where)


def ask(host, path, subject):
    """Status and answer of an upload by a subject."""
    said = host.m.out(*SOCKET, "-w", "\n%{http_code}", "-F", f"pdf_file=@{path}", "-F", f"user_id={subject}", ROUTE, timeout=120)
    body, _, status = said.rpartition("\n")
    return int(status), json.loads(body)


def replace_worker(host):
    """The new instance is up before the old one drains, and no run ends for it."""
    host.m.sh("systemctl start reeve-worker@default:2")
    host.m.wait_until(lambda: "default:2" in host.m.out("reevectl", "workers"))
    draining = threading.Thread(target=lambda: host.m.sh("systemctl stop reeve-worker@default", timeout=120))
    draining.start()
    host.m.wait_until(lambda: host.m.property("reeve-worker@default", "ActiveState") == "deactivating")
    return draining


def test_500_pages_at_ten_percent(host):
    host.m.out(*BUS, "CreateFlag", "sa{sv}", "async-processing", "3", "enabled", "b", "true", "percent", "d", "10", "bucketing", "s", "modulo")
    host.m.wait_until(lambda: ask(host, "/srv/leaflet.pdf", 5)[0] == 202)
    status, answer = ask(host, "/srv/leaflet.pdf", 50)
    assert (status, answer["result"]["pages"]) == (200, 2), "not among the 10 %: the answer has waited"
    job = host.in_the_middle(lambda: ask(host, "/srv/book.pdf", 5)[1]["job_id"])

    assert host.restart_api_under_load(3) > 20
    draining = replace_worker(host)
    host.m.out(*BUS, "SetFlagEnabled", "sbs", "async-processing", "false", "errors rise")
    host.m.wait_until(lambda: ask(host, "/srv/leaflet.pdf", 5)[0] == 503)
    assert ask(host, "/srv/leaflet.pdf", 50)[0] == 503

    host.go_on()
    draining.join()
    assert host.interruptions(job) == 0, "a drain kills no run that ends in time"
    ended = f"select count(*) from reeve.job j join reeve.done d on d.job = j.id where j.parent = '{job}'"
    host.m.wait_until(lambda: int(host.psql(ended)) >= 12, timeout=60)
    host.m.kill9("reeve-postgres.service")
    host.ended_right(job, timeout=180)

    shown = json.loads(host.m.out("reevectl", "show", "--json", job))
    assert shown["subject"] == "5" and shown["state"] == "succeeded"
    history = host.m.out("reevectl", "flag", "history", "async-processing")
    assert "errors rise" in history and "uid:0" in history
    assert host.psql("select count(*) from reeve.lease") == "0"
    assert host.psql("select count(*) from reeve.scheduled") == host.psql("select count(*) from reeve.job where kind = 'pdf-chunk' and parent is null")
