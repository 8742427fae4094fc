#!/usr/bin/python3
# Adds up what a customer has ordered, in an application's database on another host: {"customer": 7}. Where that is and what
# it needs to be reached is in examples/kinds/totals-py.kind; it runs in a virtual environment that has psycopg2.
import json, os, sys
import psycopg2

payload = json.load(sys.stdin)
if not isinstance(payload.get("customer"), int):
    sys.exit(print("the payload names no customer", file=sys.stderr) or 65)
with open(os.environ["CREDENTIALS_DIRECTORY"] + "/password") as f:
    password = f.read().strip()
try:
    db = psycopg2.connect(password=password, connect_timeout=5)  # host, user, database: PGHOST, ... of the kind's Environment=
except psycopg2.OperationalError as e:
    sys.exit(print(str(e).splitlines()[0], file=sys.stderr) or 75)  # not there at the moment: try again later
with db, db.cursor() as c:
    c.execute("select count(*), coalesce(sum(amount), 0)::float from orders where customer = %s", (payload["customer"],))
    orders, total = c.fetchone()
json.dump({"orders": orders, "total": total}, sys.stdout)
