// Reads one line of JSON [method, key, default, context] each, and answers with what the OpenFeature SDK for servers made of it.
import { createInterface } from 'node:readline';
import { OFREPProvider } from '@openfeature/ofrep-provider';
import { OpenFeature } from '@openfeature/server-sdk';

const [baseUrl, token] = process.argv.slice(2);
await OpenFeature.setProviderAndWait(new OFREPProvider({ baseUrl, headers: [['Authorization', `Bearer ${token}`]] }));
const client = OpenFeature.getClient();
for await (const line of createInterface({ input: process.stdin })) {
  const [method, key, byDefault, context] = JSON.parse(line);
  const { value, variant, reason, errorCode, errorMessage, flagMetadata } = await client[method](key, byDefault, context);
  console.log(JSON.stringify({ value, variant, reason, errorCode, errorMessage, flagMetadata }));
}
