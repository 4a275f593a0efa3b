// A supervisor of scripts/takeovers.mjs, which kills it at some moment. Prints what it does as lines
// of JSON; `up` once everybody is ready, `down` once a SIGTERM has taken everything down.
//
//   node takeovers-supervisor.mjs DIR FABRIC TOPOLOGY-FILE

import { readFileSync, writeSync } from 'node:fs';
import { Fabric, Supervisor, Topology } from 'cfc';

const [dir, name, file] = process.argv.slice(2);
const say = (word) => writeSync(1, `${JSON.stringify(word)}\n`);

const fabric = await Fabric.open(name, { dir });
const topology = Topology.parse(readFileSync(file, 'utf8'));
const supervisor = await Supervisor.start(fabric, topology, { onEvent: say });
process.once('SIGTERM', async () => {
  const report = await supervisor.down({ timeoutMs: 30_000 });
  say({ event: 'down', report });
  await fabric.close();
});
const { notReady } = await supervisor.whenReady();
if (!supervisor.closed) say({ event: 'up', notReady });
