#!/usr/bin/node
import { readFileSync, writeFileSync, writeSync } from 'node:fs';
const payload = JSON.parse(readFileSync(0, 'utf8'));
const end = (status, why) => { console.error(why); process.exit(status); };
if (!payload.text) end(65, 'the payload has no text');                  // final: trying again would not help
if (payload.text === 'busy') end(75, 'the dictionary is being updated'); // try again later
writeSync(3, '{"progress":50,"status":"counting"}\n');
const words = payload.text.split(/\s+/);
writeFileSync(`${process.env.REEVE_OUTPUT_DIR}/words.txt`, words.join('\n') + '\n');
console.log(JSON.stringify({ words: words.length }));
