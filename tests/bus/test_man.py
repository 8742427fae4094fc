"""org.reeve1(5) and the program say the same."""
import re
import xml.etree.ElementTree as ET

from conftest import MANAGER, RELEASE, ROOT, Variant, pg

PAGE = (pg.ROOT / "man/org.reeve1.5.scd").read_text()


def introspect(client, path):
    text = client.call(path, "org.freedesktop.DBus.Introspectable", "Introspect")
    return {i.get("name"): i for i in ET.fromstring(text).iter("interface")}


def written(interface):
    """Methods and properties of an interface's section."""
    section = PAGE.split(f"# INTERFACE {interface}\n")[1].split("\n# ")[0]
    methods, properties = {}, {}
    for line in re.findall(r"^\*.*", section, re.M):
        m = re.fullmatch(r"\*(\w+)\*\((.*)\)(?: -> (.*))?", line)
        if m:
            args = [tuple(a.replace("_", "").split()) for a in m[2].split(", ") if a]
            result = [tuple(a.replace("_", "").split()) for a in m[3].split(", ")] if m[3] else []
            methods[m[1]] = (args, result)
        else:
            found = re.findall(r"\*(\w+)\* \(([\w()]+?)(, writable)?\)(?=,|$)", line)
            assert found, line
            properties |= {name: (kind, bool(rw)) for name, kind, rw in found}
    return methods, properties


def test_members(manager, client, database):
    database.sql("insert into reeve.instance (host, name, boot_id, pid, version, schema_version, kinds, queues, slots) values "
                 "('h', 'p', 'b', 42, '1', 1, '{}', '{}', 8)")
    client.manager("CreateFlag", "(sa{sv})", "a", {})
    from conftest import spin
    spin(lambda: client.manager("ListWorkers"), what="a worker")
    client.call(f"{ROOT}/release", RELEASE, "RollbackEmergency", Variant("(a{sv})", ({"flag": Variant("s", "a"), "queues": Variant("as", ["q"])},)))
    paths = [ROOT, f"{ROOT}/release", f"{ROOT}/operation/1", f"{ROOT}/queue/default", f"{ROOT}/worker/h_2fp", f"{ROOT}/flag/a"]
    found = set()
    for path in paths:
        for name, interface in introspect(client, path).items():
            if not name.startswith("org.reeve1."):
                continue
            found.add(name)
            methods = {m.get("name"): tuple([(a.get("type"), a.get("name").replace("_", "")) for a in m.iter("arg") if a.get("direction") == d]
                                            for d in ("in", "out")) for m in interface.iter("method")}
            properties = {p.get("name"): (p.get("type"), p.get("access") == "readwrite") for p in interface.iter("property")}
            assert written(name) == (methods, properties)
            constant = {p.get("name") for p in interface.iter("property")
                        if any(a.get("value") == "const" for a in p.iter("annotation"))}
            assert constant <= set(re.findall(r"\w+", "".join(
                re.findall(r"^(\*.*)\n(?:\t.*\n)*?\t.*Constant\.$", PAGE, re.M)))), constant
    assert found == set(re.findall(r"^# INTERFACE (\S+)$", PAGE, re.M))


def test_errors_and_actions():
    header = (pg.ROOT / "src/bus/bus-error.h").read_text()
    names = r"org\.reeve1\.Error\.\w+"
    assert set(re.findall(names, PAGE)) == set(re.findall(names, header))
    policy = ET.parse(pg.ROOT / "dbus/org.reeve1.policy").getroot()
    actions = {a.get("id") for a in policy.iter("action")}
    assert set(re.findall(r"^\*(org\.reeve1\.[a-z-]+)\*$", PAGE, re.M)) == actions
    for a in policy.iter("action"):
        owner = [n.text for n in a.iter("annotate") if n.get("key") == "org.freedesktop.policykit.owner"]
        assert owner == ["unix-user:reeve"], "polkit answers only this user about others"
    conf = ET.parse(pg.ROOT / "dbus/org.reeve1.conf").getroot()
    allowed = {a.get("send_interface") for a in conf.iter("allow") if a.get("send_interface")}
    assert {i for i in allowed if i.startswith("org.reeve1.")} == set(re.findall(r"^# INTERFACE (\S+)$", PAGE, re.M))


def test_options_of_create_flag(manager, client):
    """Each option of the page is taken, and what is not there is not."""
    text = PAGE.split("*CreateFlag*")[1].split("*SetFlagEnabled*")[0]
    options = re.findall(r"\*(\w+)\* (\w+)", text)
    values = {"b": True, "d": 1.0, "as": ["x"], "s": ""}
    assert len(options) == 11
    client.call(ROOT, MANAGER, "CreateFlag", Variant("(sa{sv})", ("a", {n: Variant(t, values[t]) for n, t in options})))
    source = (pg.ROOT / "src/manager/manager-flag-new.c").read_text()
    assert {n for n, _ in options} == set(re.findall(r'\{ "(\w+)", "\w+", read_', source))


def test_examples_parse(manager, client):
    """Each line of the examples is taken by busctl and by the manager."""
    examples = PAGE.split("# EXAMPLES")[1].split("```")[1].strip().splitlines()
    import shlex
    for line in examples:
        words = shlex.split(line)
        if words[1] != "monitor":
            manager.busctl(*words[1:])
