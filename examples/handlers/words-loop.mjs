#!/usr/bin/node
// words.mjs as a program that stays (Mode=persistent); reeve.mjs lies beside it.
import { writeFileSync } from 'node:fs';
import { Fail, Retry, serve } from './reeve.mjs';

await serve((payload, run) => {
  if (!payload.text) throw new Fail('no-text', 'the payload has no text');
  if (payload.text === 'busy') throw new Retry('busy', 'the dictionary is being updated');
  run.progress(50, 'counting');
  const found = payload.text.split(/\s+/);
  writeFileSync(`${run.output_dir}/words.txt`, found.join('\n') + '\n');
  return { words: found.length };
});
