import {
  closeSync,
  constants,
  fsyncSync,
  mkdirSync,
  openSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { dirname } from 'node:path';

/** Makes a directory that only its owner may enter, with what is missing above it. */
export function makePrivateDirectory(path: string): void {
  mkdirSync(path, { recursive: true, mode: 0o700 });
}

/**
 * Replaces a file whole: whoever reads it sees the old text or the new one, and so does who comes
 * after a crash. Mode 0600.
 *
 * @param content - the text, or what writes it
 */
export function replaceFile(path: string, content: string | ((fd: number) => void)): void {
  const temporary = `${path}.${process.pid}.new`;
  try {
    const flags = constants.O_WRONLY | constants.O_CREAT | constants.O_TRUNC | constants.O_NOFOLLOW;
    const fd = openSync(temporary, flags, 0o600);
    try {
      // All of it, where `writeSync` may write less and say nothing.
      if (typeof content === 'string') writeFileSync(fd, content);
      else content(fd);
      fsyncSync(fd);
    } finally {
      closeSync(fd);
    }
    renameSync(temporary, path);
  } catch (error) {
    rmSync(temporary, { force: true });
    throw error;
  }
}

/**
 * The JSON of a file of version 1.
 *
 * @returns undefined where there is none. One that is damaged, or of another version, is put aside
 *   under another name, and `tell` hears of it.
 */
export function readVersioned<T>(path: string, tell: (line: string) => void): T | undefined {
  let text: string;
  try {
    text = readFileSync(path, 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  }
  try {
    const value = JSON.parse(text) as { v?: unknown };
    if (value.v === 1) return value as T;
  } catch {
    // Told below.
  }
  const aside = `${path}.bad-${Date.now()}`;
  renameSync(path, aside);
  tell(`${path} is damaged or of another version; it lies in ${aside} now`);
  return undefined;
}

/** Makes the directory of a file where it is missing. */
export function makeRoomFor(path: string): void {
  makePrivateDirectory(dirname(path));
}
