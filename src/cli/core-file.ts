import {
  closeSync,
  createReadStream,
  createWriteStream,
  ftruncateSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readSync,
  rmSync,
  writeSync,
} from 'node:fs';
import { rename, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { constants, createGunzip, createGzip } from 'node:zlib';
import { type AgentSnapshot, type Census, Fabric } from '../index.js';
import { exitCodes, Outcome } from './outcome.js';

// A saved core: the files of a fabric as they were, and what could be seen of its agents then, which
// the files alone do not say: who lived.
//
//   cfccore1\n   length of the head in 8 hexadecimal digits \n   head: JSON   gzip of the files, one
//   after the other in the order of the head

const magic = 'cfccore1\n';
const version = 1;
const lengthBytes = 9;
const mostHeadBytes = 256 << 20;
/** Of a file that somebody gave us nothing is believed: neither names nor sizes. */
const fileName = /^(?:control|metrics|(?:mail|slab|topic)\.\d{3}|lease\.\d{2}|lines\.\d{1,6})$/;
const mostBytes = 64 * 2 ** 30;

/** An agent as the head keeps it: times are texts. */
type SavedAgent = Omit<AgentSnapshot, 'lastProgressAt' | 'joinedAt'> & {
  lastProgressAt: string;
  joinedAt: string;
};

interface CoreHead {
  v: 1;
  savedAt: string;
  fabric: string;
  path: string;
  sharedBytes: number;
  agents: SavedAgent[];
  census: Census;
  files: { name: string; bytes: number }[];
}

/** A fabric to look at: one that is there, or a saved one. */
export interface Sight {
  fabric: Fabric;
  name: string;
  agents: AgentSnapshot[];
  /** When it was saved; undefined for one that is there. */
  savedAt: Date | undefined;
}

/**
 * Saves what is in shared memory. The agents go on meanwhile, so what changes in this moment may be
 * there by halves; readers of a fabric know such cells, and pass over them.
 *
 * @throws {Outcome} where FILE is there already
 */
export async function saveCore(fabric: Fabric, file: string) {
  const { path, sharedBytes } = fabric.info();
  const files: CoreHead['files'] = [];
  for (const name of readdirSync(path)
    .filter((one) => fileName.test(one))
    .sort()) {
    const facts = await stat(join(path, name));
    if (facts.isFile()) files.push({ name, bytes: facts.size });
  }
  const savedAt = new Date().toISOString();
  const agents = fabric.snapshot().map((agent) => ({
    ...agent,
    lastProgressAt: agent.lastProgressAt.toISOString(),
    joinedAt: agent.joinedAt.toISOString(),
  }));
  const census = fabric.census();
  const head: CoreHead = {
    ...{ v: version, savedAt, fabric: fabric.name, path, sharedBytes, agents, census, files },
  };
  const json = Buffer.from(JSON.stringify(head));
  const front = `${magic}${json.length.toString(16).padStart(lengthBytes - 1, '0')}\n`;
  const fresh = `${file}.${process.pid}`;
  const output = createWriteStream(fresh, { flags: 'wx', mode: 0o600 });
  try {
    await new Promise<void>((resolve, reject) => {
      output.once('error', reject);
      output.write(Buffer.concat([Buffer.from(front), json]), () => resolve());
    });
    const level = constants.Z_BEST_SPEED;
    await pipeline(Readable.from(contentsOf(path, files)), createGzip({ level }), output);
    await rename(fresh, file);
  } catch (error) {
    await rm(fresh, { force: true });
    throw error;
  }
  const { size } = await stat(file);
  return { savedAt, file, bytes: size, sharedBytes, agents: agents.length };
}

// Exactly as many bytes as the head says, whatever becomes of a file meanwhile.
async function* contentsOf(path: string, files: CoreHead['files']): AsyncGenerator<Buffer> {
  for (const { name, bytes } of files) {
    if (bytes === 0) continue;
    let left = bytes;
    for await (const chunk of createReadStream(join(path, name), { end: bytes - 1 })) {
      left -= (chunk as Buffer).length;
      yield chunk as Buffer;
    }
    if (left > 0) throw new Outcome(exitCodes.failed, `${name} has become shorter`);
  }
}

/** Looks at a fabric by its name, or at the one that was saved to `file`; lets go of it afterwards. */
export async function look<T>(
  where: { fabric: string; from?: string | undefined },
  use: (sight: Sight) => Promise<T>,
): Promise<T> {
  if (where.from !== undefined) return lookIntoCore(where.from, use);
  const fabric = await Fabric.open(where.fabric);
  try {
    const agents = fabric.snapshot();
    return await use({ fabric, name: fabric.name, agents, savedAt: undefined });
  } finally {
    await fabric.close();
  }
}

// The files are unpacked to where nobody else looks, and opened there; FILE itself is only read.
async function lookIntoCore<T>(file: string, use: (sight: Sight) => Promise<T>): Promise<T> {
  const head = readHead(file);
  const dir = mkdtempSync(join(tmpdir(), 'cfc-core-'));
  try {
    await unpack(file, head, join(dir, head.fabric));
    const fabric = await Fabric.open(head.fabric, { dir });
    try {
      const agents = head.agents.map((agent) => ({
        ...agent,
        lastProgressAt: new Date(agent.lastProgressAt),
        joinedAt: new Date(agent.joinedAt),
      }));
      return await use({ fabric, name: head.fabric, agents, savedAt: new Date(head.savedAt) });
    } finally {
      await fabric.close();
    }
  } finally {
    rmSync(dir, { recursive: true, force: true });
  }
}

interface Opened extends CoreHead {
  /** Where the files begin. */
  offset: number;
}

/** @throws {Outcome} failed, where the file is none of ours or is damaged */
function readHead(file: string): Opened {
  const handle = openSync(file, 'r');
  try {
    const front = Buffer.alloc(magic.length + lengthBytes);
    readSync(handle, front, 0, front.length, 0);
    const bytes = Number.parseInt(front.toString('latin1', magic.length), 16);
    if (front.toString('latin1', 0, magic.length) !== magic || !(bytes <= mostHeadBytes)) {
      throw damaged(file, 'it does not begin as one');
    }
    const json = Buffer.alloc(bytes);
    if (readSync(handle, json, 0, bytes, front.length) < bytes)
      throw damaged(file, 'it is cut off');
    const head = parseHead(file, json);
    return { ...head, offset: front.length + bytes };
  } finally {
    closeSync(handle);
  }
}

function parseHead(file: string, json: Buffer): CoreHead {
  let head: CoreHead;
  try {
    head = JSON.parse(json.toString('utf8')) as CoreHead;
  } catch {
    throw damaged(file, 'its head is no JSON');
  }
  if (head.v !== version) throw damaged(file, `its version is ${String(head.v)}`);
  const named = /^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$/.test(head.fabric);
  const sound = head.files.every(({ name, bytes }) => fileName.test(name) && bytes >= 0);
  const total = head.files.reduce((sum, { bytes }) => sum + bytes, 0);
  if (!named || !sound || !(total <= mostBytes)) throw damaged(file, 'its head makes no sense');
  return head;
}

async function unpack(file: string, head: Opened, folder: string): Promise<void> {
  mkdirSync(folder, { mode: 0o700 });
  const bytes = createReadStream(file, { start: head.offset }).pipe(createGunzip());
  const pieces = bytes[Symbol.asyncIterator]() as AsyncIterator<Buffer>;
  let rest: Buffer = Buffer.alloc(0);
  try {
    for (const { name, bytes: length } of head.files) {
      const handle = openSync(join(folder, name), 'wx', 0o600);
      try {
        // What is all zeros stays a hole.
        ftruncateSync(handle, length);
        for (let at = 0; at < length; ) {
          if (rest.length === 0) {
            const { value, done } = await pieces.next();
            if (done === true) throw damaged(file, 'it is cut off');
            rest = value;
          }
          const piece = rest.subarray(0, length - at);
          if (piece.some((byte) => byte !== 0)) writeSync(handle, piece, 0, piece.length, at);
          at += piece.length;
          rest = rest.subarray(piece.length);
        }
      } finally {
        closeSync(handle);
      }
    }
  } catch (error) {
    if (error instanceof Outcome) throw error;
    throw damaged(file, error instanceof Error ? error.message : String(error));
  } finally {
    bytes.destroy();
  }
}

function damaged(file: string, why: string): Outcome {
  return new Outcome(
    exitCodes.failed,
    `${file} is no saved core: ${why}`,
    'cfc core save makes one',
  );
}
