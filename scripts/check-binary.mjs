// What a shipped binary must be: hardened, and able to load where we say it does.

import { spawnSync } from 'node:child_process';
import { basename } from 'node:path';

// glibc 2.28 and the libstdc++ of GCC 8, which the same distributions carry.
const newest = { GLIBC: [2, 28], GLIBCXX: [3, 4, 25], CXXABI: [1, 3, 11] };

/** @returns {string[]} what is wrong with the ELF file; empty when nothing is */
export function checkBinary(path) {
  const problems = [];
  const name = basename(path);
  const headers = readelf('--file-header', '--program-headers', '--dynamic', path);
  const symbols = readelf('--dyn-syms', path);

  const wanted = {
    'is position-independent': /Type:\s+DYN/,
    'has RELRO': /GNU_RELRO/,
    'binds at load': /BIND_NOW|FLAGS_1.*\bNOW\b/,
    'has no executable stack': /GNU_STACK\s+(0x[0-9a-f]+\s+){5}RW\s/,
  };
  for (const [property, pattern] of Object.entries(wanted)) {
    if (!pattern.test(headers)) problems.push(`${name}: should be one that ${property}`);
  }
  if (/RPATH|RUNPATH|TEXTREL/.test(headers))
    problems.push(`${name}: has a run path or text relocations`);
  if (!name.endsWith('.node') && /\(NEEDED\)|INTERP/.test(headers)) {
    problems.push(`${name}: should be static`);
  }

  for (const [line, , library, version] of symbols.matchAll(
    /UND (\S+)@(GLIBC|GLIBCXX|CXXABI)_([\d.]+)/g,
  )) {
    if (isNewer(version.split('.').map(Number), newest[library])) {
      problems.push(`${name}: ${line.slice(4)} is newer than ${newest[library].join('.')}`);
    }
  }
  return problems;
}

function isNewer(version, limit) {
  for (let i = 0; i < Math.max(version.length, limit.length); i += 1) {
    const difference = (version[i] ?? 0) - (limit[i] ?? 0);
    if (difference !== 0) return difference > 0;
  }
  return false;
}

function readelf(...args) {
  const { status, stdout, stderr } = spawnSync('readelf', ['--wide', ...args], {
    encoding: 'utf8',
    maxBuffer: 1 << 26,
  });
  if (status !== 0) throw new Error(`readelf ${args.join(' ')}: ${stderr}`);
  return stdout;
}
