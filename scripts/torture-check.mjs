// Reads the logs of scripts/torture-peer.mjs and says what went wrong. The logs lie outside the
// fabric: what they say does not depend on it.

import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

/** Lines of a log; the last may be torn where its writer was killed. */
function linesOf(path) {
  const text = readFileSync(path, 'utf8');
  return text
    .slice(0, text.lastIndexOf('\n') + 1)
    .split('\n')
    .slice(0, -1);
}

/**
 * @param folder of logs named `<name>.<life>.log`
 * @returns counts, and every violation in words
 */
export function checkLogs(folder) {
  const violations = [];
  const accepted = new Map(); // sender, life, target → how many, as the sender knows
  const deliveries = new Map(); // reader → its deliveries, life after life
  const logs = readdirSync(folder)
    .map((file) => /^(.+)\.(\d+)\.log$/.exec(file))
    .filter((match) => match !== null)
    .map(([file, name, life]) => ({ file, name, life: Number(life) }))
    .sort((a, b) => a.life - b.life);

  for (const { file, name, life } of logs) {
    for (const line of linesOf(join(folder, file))) {
      const [kind, ...fields] = line.split(' ');
      if (kind === 'X') violations.push(`${file}: ${fields.join(' ')}`);
      if (kind === 'A') {
        const key = `${name} ${life} ${fields[0]}`;
        if ((accepted.get(key) ?? 0) !== Number(fields[1]))
          violations.push(`${file}: gap in ${line}`);
        accepted.set(key, Number(fields[2]));
      }
      if (kind === 'D' || kind === 'K') {
        if (!deliveries.has(name)) deliveries.set(name, []);
        deliveries.get(name).push({ kind, fields, file });
      }
    }
  }

  let distinct = 0;
  let redelivered = 0;
  const reached = new Map(); // sender, life, target → how many came, without a gap
  for (const [reader, events] of deliveries) {
    const acked = new Set();
    for (const { kind, fields, file } of events) {
      const [sender, life, numberText, attempt] = fields;
      const stream = `${sender} ${life} ${reader}`;
      const key = `${stream} ${numberText}`;
      if (kind === 'K') {
        acked.add(key);
        continue;
      }
      const number = Number(numberText);
      const came = reached.get(stream) ?? 0;
      if (number === came) {
        reached.set(stream, came + 1);
        distinct += 1;
      } else if (number > came) {
        violations.push(`${file}: out of order or lost: ${key} came after ${came - 1}`);
        reached.set(stream, number + 1);
        distinct += 1;
      } else {
        redelivered += 1;
        if (attempt === '0') violations.push(`${file}: came twice, unflagged: ${key}`);
        if (acked.has(key)) violations.push(`${file}: came again after its ack: ${key}`);
      }
    }
  }

  let known = 0;
  for (const [stream, count] of accepted) {
    known += count;
    const came = reached.get(stream) ?? 0;
    if (came < count) violations.push(`lost: of ${stream} ${count} were accepted, ${came} came`);
  }
  return { accepted: known, delivered: distinct, redelivered, violations };
}
