// A producer or a consumer of scripts/torture.mjs and scripts/takeovers.mjs, which kill it at some
// moment. torture_peer.cc is the same without Node.
//
//   node torture-peer.mjs '{"role": "producer", "name": "p0", "life": 3, "dir": …}'
//
// Each life writes one log, by appending whole lines:
//   producer  A <target> <from> <to>              accepted: numbers from..to-1 of this life
//   consumer  D <sender> <life> <number> <attempt>  delivered, written before the ack
//             K <sender> <life> <number>            acked, written after it
//             X <text>                              something that must not be

import { openSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { Fabric } from 'cfc';

const options = JSON.parse(process.argv[2]);
// Who starts it again with the same words gives no life and no log, but a folder for logs.
const { role, name, dir, logs, targets, mailboxCells, pauseMs, life = Date.now() } = options;
const { log = join(logs, `${name}.${life}.log`) } = options;

// Small and quick, and the same everywhere: mulberry32.
let state = options.seed >>> 0;
function random() {
  state = (state + 0x6d2b79f5) >>> 0;
  let t = Math.imul(state ^ (state >>> 15), state | 1);
  t = (t + Math.imul(t ^ (t >>> 7), t | 61)) ^ t;
  return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
}

const file = openSync(log, 'a', 0o600);
const write = (text) => writeSync(file, text);

let stopping = false;
process.on('SIGTERM', () => {
  stopping = true;
});

const digestBytes = 8;

/** Two FNV-1a hashes with different beginnings, as torture_peer.cc has them. */
function digestOf(body) {
  let first = 0x811c9dc5;
  let second = 0x9747b28c;
  for (let i = digestBytes; i < body.length; i += 1) {
    first = Math.imul(first ^ body[i], 16777619);
    second = Math.imul(second ^ body[i], 16777619);
  }
  const digest = Buffer.alloc(digestBytes);
  digest.writeInt32LE(first | 0, 0);
  digest.writeInt32LE(second | 0, 4);
  return digest;
}

function makeBody(target, number) {
  const head = `${name} ${life} ${target} ${number}\n`;
  const long = random() < 0.05 ? 60_000 : random() < 0.3 ? 3000 : 100;
  const body = Buffer.alloc(digestBytes + head.length + Math.floor(random() * long), number);
  body.write(head, digestBytes);
  digestOf(body).copy(body);
  return body;
}

/** @returns what the body says, undefined where it was harmed */
function readBody(body) {
  const bytes = Buffer.from(body.buffer, body.byteOffset, body.byteLength);
  if (bytes.length < digestBytes || digestOf(bytes).compare(bytes, 0, digestBytes) !== 0)
    return undefined;
  const end = bytes.indexOf('\n', digestBytes);
  const [from, life, target, number] = bytes.toString('latin1', digestBytes, end).split(' ');
  return { from, life, target, number };
}

async function produce(me) {
  const next = new Map(targets.map((target) => [target, 0]));
  while (!stopping) {
    const target = targets[Math.floor(random() * targets.length)];
    const from = next.get(target);
    let to = from;
    try {
      const way = random();
      if (way < 0.4) {
        await me.send(target, makeBody(target, to), { timeoutMs: 50 });
        to += 1;
      } else if (way < 0.6) {
        if (me.trySend(target, makeBody(target, to))) to += 1;
        else await new Promise(setImmediate);
      } else {
        const count = 1 + Math.floor(random() * 12);
        const bodies = Array.from({ length: count }, (_, i) => makeBody(target, from + i));
        await me.sendBatch(target, bodies, { timeoutMs: 50 });
        to += count;
      }
    } catch (error) {
      const expected = [
        'ERR_CFC_MAILBOX_FULL',
        'ERR_CFC_NO_AGENT',
        'ERR_CFC_SLAB_FULL',
        'ERR_CFC_QUOTA',
      ];
      if (!expected.includes(error.code)) write(`X ${error.code ?? error.stack}\n`);
      to = from + (error.details?.accepted ?? 0);
    }
    next.set(target, to);
    if (to > from) write(`A ${target} ${from} ${to}\n`);
    if (pauseMs > 0) await new Promise((resolve) => setTimeout(resolve, pauseMs));
  }
}

async function consume(me) {
  let idle = 0;
  while (!stopping || idle < 5) {
    const batch = await me.receiveBatch({ max: 1 + Math.floor(random() * 16), timeoutMs: 50 });
    idle = batch.length === 0 ? idle + 1 : 0;
    if (batch.length === 0) continue;
    let delivered = '';
    let acked = '';
    for (const message of batch) {
      const told = readBody(message.body);
      if (told === undefined || told.from !== message.from || told.target !== name) {
        delivered += `X corrupt, from ${message.from}, ${message.body.byteLength} bytes\n`;
        continue;
      }
      const key = `${told.from} ${told.life} ${told.number}`;
      delivered += `D ${key} ${message.attempt}\n`;
      acked += `K ${key}\n`;
    }
    write(delivered);
    if (random() < 0.3) await new Promise((resolve) => setTimeout(resolve, random() * 20));
    if (random() < 0.5) batch.ack();
    else for (const message of batch) message.ack();
    write(acked);
  }
}

const fabric = await Fabric.open('torture', { dir });
const me = await fabric.join(name, { mailboxCells });
process.stdout.write('ready\n');
await (role === 'producer' ? produce(me) : consume(me));
await fabric.close();
