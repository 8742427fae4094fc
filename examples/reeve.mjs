// Reeve from Node.js: hand over jobs, wait for them, and write handlers that stay (Mode=persistent).
// One file, nothing but what Node.js (18 or later) brings along: copy it beside your program.
//
//   import { Client, serve, Fail, Retry } from './reeve.mjs';
//   const client = new Client();                            // /run/reeve/api.sock; who you are is asked of the kernel
//   const client = new Client('https://jobs.example.org', { key: '...' });   // by TCP, with a key (reevectl key create)
//   const { id } = await client.submit('resize', { width: 200 },
//     { files: { 'a.png': '/srv/a.png' }, idempotencyKey: 'order-17', priority: 8 });
//   const job = await client.wait(id, { timeout: 60 });     // job.state, job.result, job.error
//   writeFileSync('small.png', await client.file(id, 'small.png'));
//
//   await serve(async (payload, run) => {                   // a handler: see serve()
//     run.progress(50, 'half of it');
//     throw new Fail('bad-image', 'it has no pixels');      // for good; Retry: try again later
//   });
import { randomUUID } from 'node:crypto';
import { createReadStream, writeSync } from 'node:fs';
import http from 'node:http';
import https from 'node:https';
import { createInterface } from 'node:readline';
import { Readable } from 'node:stream';
import { setTimeout as sleep } from 'node:timers/promises';

const AWAY = ['ECONNREFUSED', 'ECONNRESET', 'EPIPE', 'ETIMEDOUT'];

// The API's answer is no: status, and problem as in RFC 9457 (type, title, detail).
export class ApiError extends Error {
  constructor(status, problem) {
    super(`${status}: ${problem.detail ?? problem.title}`);
    Object.assign(this, { status, problem });
  }
}

export class Client {
  // patience: for how many seconds a call is tried again while the API is away, restarted or busy.
  constructor(address = '/run/reeve/api.sock', { key, patience = 30 } = {}) {
    Object.assign(this, { patience, headers: key ? { Authorization: `Bearer ${key}` } : {} });
    if (/^https?:/.test(address)) {
      const { protocol, hostname, port } = new URL(address);
      Object.assign(this, { request: protocol === 'https:' ? https.request : http.request,
        where: { hostname: hostname.replace(/^\[|\]$/g, ''), port } });
    } else Object.assign(this, { request: http.request, where: { socketPath: address } });
  }

  // Hands over a job; when this returns it is durable. files: { name: path or Buffer }, the job's inputs. fields: queue,
  // priority, tenant, delay, ... of reeve-http(7). The same idempotencyKey leads to the same job for 24 hours; without
  // one, each call makes a job, once, however often it had to be tried. Returns { id, state }.
  async submit(kind, payload = null, { files, idempotencyKey = randomUUID(), ...fields } = {}) {
    const job = Buffer.from(JSON.stringify({ kind, payload, ...fields }));
    const mark = randomUUID();
    const type = files ? `multipart/form-data; boundary=${mark}` : 'application/json';
    return JSON.parse(await this.call('POST', '/api/jobs', { 'Idempotency-Key': idempotencyKey, 'Content-Type': type },
      () => (files ? form(mark, job, files) : job)));
  }

  // The job when it has ended. After so many seconds as it is then (0: at once): look at its state.
  async wait(id, { timeout = Infinity } = {}) {
    for (const deadline = Date.now() + timeout * 1000; ;) {
      const left = Math.max(0, Math.min(60000, deadline - Date.now()));
      const job = JSON.parse(await this.call('GET', `/api/jobs/${id}?wait=${Math.trunc(left)}ms`));
      if (['succeeded', 'failed', 'cancelled'].includes(job.state) || Date.now() >= deadline) return job;
    }
  }

  async cancel(id, reason) {
    return JSON.parse(await this.call('POST', `/api/jobs/${id}/cancel`, { 'Content-Type': 'application/json' },
      () => Buffer.from(JSON.stringify({ reason }))));
  }

  file(id, name) {
    return this.call('GET', `/api/jobs/${id}/files/${name.split('/').map(encodeURIComponent).join('/')}`);
  }

  async call(method, path, headers = {}, body = undefined) {
    for (const deadline = Date.now() + this.patience * 1000; ;) {
      let error, pause = 0.5;
      try {
        const { status, data, headers: got } = await this.#once(method, path, headers, body?.());
        if (status < 400) return data;
        error = new ApiError(status, /json/.test(got['content-type']) ? JSON.parse(data) : { title: http.STATUS_CODES[status] });
        if (status !== 429 && status !== 503 && !got['retry-after']) throw error; // 409: the same request is in flight
        pause = Number(got['retry-after']) || pause;
      } catch (e) {
        if (!AWAY.includes(e.code)) throw e;
        error = e;
      }
      if (Date.now() + pause * 1000 > deadline) throw error;
      await sleep(pause * 1000);
    }
  }

  #once(method, path, headers, body) {
    return new Promise((resolve, reject) => {
      const length = Buffer.isBuffer(body) ? { 'Content-Length': body.length } : {};
      const request = this.request({ ...this.where, method, path, agent: false, timeout: 90000,
        headers: { ...this.headers, ...headers, ...length } }, async (reply) => {
        const data = [];
        try {
          for await (const piece of reply) data.push(piece);
          resolve({ status: reply.statusCode, headers: reply.headers, data: Buffer.concat(data) });
        } catch (e) { reject(e); }
      });
      request.on('timeout', () => request.destroy(Object.assign(new Error('no answer for 90 s'), { code: 'ETIMEDOUT' })));
      request.on('error', reject);
      request.on('close', () => body?.destroy?.());
      if (body instanceof Readable) body.on('error', (e) => request.destroy(e)).pipe(request);
      else request.end(body);
    });
  }
}

// multipart/form-data in pieces: files are never whole in memory.
function form(mark, job, files) {
  return Readable.from((async function* pieces() {
    yield Buffer.concat([Buffer.from(`--${mark}\r\nContent-Disposition: form-data; name="job"\r\n\r\n`), job]);
    for (const [name, source] of Object.entries(files)) {
      const quoted = name.replace(/["\r\n]/g, encodeURIComponent);
      yield Buffer.from(`\r\n--${mark}\r\nContent-Disposition: form-data; name="file"; filename="${quoted}"\r\n\r\n`);
      if (Buffer.isBuffer(source)) yield source;
      else yield* createReadStream(source);
    }
    yield Buffer.from(`\r\n--${mark}--\r\n`);
  })());
}

export class Fail extends Error { // failed for good: new Fail('bad-page', 'page 3 is empty')
  constructor(code, message = '') { super(message); this.code = code; }
}
export class Retry extends Fail {} // to be tried again later: new Retry('busy', 'the dictionary is being updated')

// Runs handler(payload, run) for each run; what it returns is the result. run.job_id, run.attempt, run.output_dir, ...: see
// reeve-handler(7), PERSISTENT HANDLERS. run.progress(percent, status) is a sign of life too (WatchdogSec=).
export async function serve(handler) {
  const answer = process.stdout.write.bind(process.stdout);
  process.stdout.write = process.stderr.write.bind(process.stderr); // what a library prints does not spoil the answers
  for await (const line of createInterface({ input: process.stdin })) {
    const run = JSON.parse(line);
    run.progress = (progress, status) => writeSync(3, JSON.stringify(progress === undefined && status === undefined
      ? { run_id: run.run_id, alive: true } : { run_id: run.run_id, progress, status }) + '\n');
    try {
      answer(JSON.stringify({ result: (await handler(run.payload, run)) ?? null }) + '\n');
    } catch (e) { // what is no Fail is a bug, or may be better next time: the kind's MaxAttempts= decides
      if (!(e instanceof Fail)) console.error(e);
      answer(JSON.stringify({ error: { code: String(e?.code ?? e?.name ?? 'error'), message: String(e?.message ?? e),
        retry: !(e instanceof Fail) || e instanceof Retry } }) + '\n');
    }
  }
}
