// Jobs for a program that runs on another host, or outside systemd: it takes them over HTTP and says how they ended. The kind
// has [Pull] in its file (examples/kinds/words-pull.kind); the key has the role worker. Beside this file lies reeve.mjs.
//
//     REEVE_KEY=... node pull.mjs https://jobs.example.org words
import { hostname } from 'node:os';
import { setTimeout as sleep } from 'node:timers/promises';
import { ApiError, Client, Fail, Retry } from './reeve.mjs';

const post = async (client, path, fields) => JSON.parse(await client.call('POST', path, { 'Content-Type': 'application/json' },
  () => Buffer.from(JSON.stringify(fields))));

// What was taken: run.job_id, run.payload, run.attempt, ... of reeve-http(7). run.cancelled (an AbortSignal): somebody wants it to
// end. run.progress(percent, status) says where it is.
function take(client, fields) {
  const stop = new AbortController();
  const say = async (word, more = {}) => {
    const answer = await post(client, `/api/runs/${fields.run_id}/${word}`, { run_key: fields.run_key, ...more });
    if (answer.cancel) stop.abort();
    return answer;
  };
  return { ...fields, say, stop, cancelled: stop.signal, progress: (progress, status) => say('progress', { progress, status }) };
}

// Renews the lease while the handler works. A program that dies loses its runs when their leases end.
async function hold(run, done) {
  for (;;) {
    await sleep(run.lease_usec / 3000, undefined, { signal: done }).catch(() => {});
    if (done.aborted) return;
    try { await run.say('extend'); } catch { run.stop.abort(); return; } // it is somebody else's by now
  }
}

async function work(run, handler) {
  const done = new AbortController();
  const held = hold(run, done.signal);
  let word = 'complete', answer;
  try {
    answer = { result: (await handler(run.payload, run)) ?? null };
  } catch (e) { // what is no Fail is a bug, or may be better next time: the kind's MaxAttempts= decides
    word = 'fail';
    answer = { code: String(e?.code ?? e?.name ?? 'error'), message: String(e?.message ?? e).slice(0, 500),
      retry: !(e instanceof Fail) || e instanceof Retry };
  }
  done.abort();
  await held;
  try {
    await run.say(word, answer);
  } catch (e) {
    if (!(e instanceof ApiError)) throw e;
    console.error(`run ${run.run_id}: ${e.message}`);
  }
}

// Takes one run after the other, for ever. Several calls of this make as many at a time.
export async function pull(client, queue, kinds, handler) {
  for (;;) {
    const { runs } = await post(client, `/api/queues/${queue}/claim`, { kinds, wait: '30s', worker: hostname() });
    for (const fields of runs) await work(take(client, fields), handler);
  }
}

async function words(payload, run) {
  if (!payload?.text) throw new Fail('no-text', 'the payload has no text');
  await run.progress(50, 'counting');
  return { words: payload.text.split(/\s+/).filter(Boolean).length };
}

const [address, kind] = process.argv.slice(2);
if (!kind) {
  console.error('REEVE_KEY=... node pull.mjs https://jobs.example.org KIND');
  process.exit(1);
}
try {
  await pull(new Client(address, { key: process.env.REEVE_KEY, patience: 300 }), 'default', [kind], words);
} catch (e) { // a wrong key or kind, or no answer for as long as its patience lasts
  if (!(e instanceof ApiError)) throw e;
  console.error(`pull.mjs: ${e.message}`);
  process.exit(1);
}
