// Writes native/fuzz/corpus: a few inputs for each fuzzer to begin with, the same each time.
//
//   node scripts/fuzz-corpus.mjs
import { mkdirSync, rmSync, writeFileSync } from 'node:fs';
import path from 'node:path';

const corpus = path.join(import.meta.dirname, '..', 'native', 'fuzz', 'corpus');
rmSync(corpus, { recursive: true, force: true });

let state = 12345;
function random(below) {
  state = (Math.imul(state, 1103515245) + 12345) >>> 0;
  return (state >>> 8) % below;
}

function write(target, name, bytes) {
  mkdirSync(path.join(corpus, target), { recursive: true });
  writeFileSync(path.join(corpus, target, name), Uint8Array.from(bytes));
}

// A change of eight bytes: file, how, where (2), value (4). native/test/damage.h reads it.
function change(file, how) {
  const at = random(65536);
  const value = random(2 ** 24);
  return [file, how, at & 255, at >> 8, value & 255, (value >> 8) & 255, (value >> 16) & 255, 0];
}

const files = 5; // control, mail, metrics, slab, topic
for (let file = 0; file < files; file += 1) {
  for (const how of [0, 1, 6, 7]) {
    const changes = Array.from({ length: 3 }, () => change(file, how)).flat();
    write('files', `file-${file}-how-${how}`, [0x1f, 0x66, ...changes]);
    write('live', `file-${file}-how-${how}`, [0x07, 0x44, ...changes]);
  }
}
write('files', 'whole', [0x1f, 0x66]);
write('files', 'truncated', [0x1f, 0x66, ...change(1, 0x7f)]);
write('live', 'truncated', [0x07, 0x44, ...change(1, 0x7f)]);

// Operations of native/fuzz/cells_fuzz.cc, in the low five bits of a byte.
const send = [0, 3];
const receive = [7, 10];
write('cells', 'exchange', [
  0,
  ...send,
  ...send,
  ...receive,
  15,
  ...send,
  ...receive,
  ...receive,
  15,
]);
write('cells', 'wrap', [2, ...Array.from({ length: 12 }, () => [...send, ...receive, 15]).flat()]);
write('cells', 'lost', [1, 0, 18, 15, ...send, 7, 19, 7, 10, 15, 0, 17, 17, 17, 15, 3, 15]);
write('cells', 'closes', [0, ...send, 21, 0, ...receive, 15, 23, 22, ...send, ...receive, 15]);
write('cells', 'room', [0, ...Array.from({ length: 9 }, () => send).flat(), 25, 7, 10, 15, 26, 27]);
write('cells', 'damage', [
  0,
  ...send,
  30,
  0x80,
  3,
  ...send,
  30,
  0x91,
  4,
  7,
  10,
  15,
  30,
  0x87,
  9,
  7,
]);
