#!/usr/bin/node
// The same as totals.py, with the package "pg" in node_modules beside it (npm install pg); see examples/kinds/totals-mjs.kind.
import { readFileSync } from 'node:fs';
import pg from 'pg';

const end = (status, why) => { console.error(why); process.exit(status); };
const payload = JSON.parse(readFileSync(0, 'utf8'));
if (!Number.isInteger(payload.customer)) end(65, 'the payload names no customer');
const password = readFileSync(`${process.env.CREDENTIALS_DIRECTORY}/password`, 'utf8').trim();
// host, user, database: PGHOST, ... of the kind's Environment=
const db = new pg.Client({ password, connectionTimeoutMillis: 5000 });
await db.connect().catch((e) => end(75, e.message)); // not there at the moment: try again later
const { rows } = await db.query(
  'select count(*)::int as orders, coalesce(sum(amount), 0)::float as total from orders where customer = $1', [payload.customer]);
await db.end();
console.log(JSON.stringify(rows[0]));
