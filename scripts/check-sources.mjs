// binding.gyp, native/CMakeLists.txt and the folders must name the same .cc
// files, and package-lock.json must hold no addresses.

import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { filesBelow, root } from './lib.mjs';

const read = (path) => readFileSync(join(root, path), 'utf8');
const gyp = read('binding.gyp');
const cmake = read('native/CMakeLists.txt');

function gypSources(name) {
  const list = new RegExp(`'${name}_sources': \\[([^\\]]*)\\]`).exec(gyp)?.[1] ?? '';
  return Array.from(list.matchAll(/'([^']+)'/g), (match) => match[1]);
}

function cmakeSources(name) {
  const list = new RegExp(`set\\(CFC_${name.toUpperCase()}_SOURCES([^)]*)\\)`).exec(cmake)?.[1];
  return (list ?? '').split(/\s+/).flatMap((path) => (path ? [`native/${path}`] : []));
}

const problems = [];
for (const name of ['core', 'binding', 'cli']) {
  const onDisk = filesBelow(`native/${name}`, ['.cc']);
  const lists = { 'binding.gyp': gypSources(name), 'native/CMakeLists.txt': cmakeSources(name) };
  for (const [where, listed] of Object.entries(lists)) {
    for (const path of onDisk.filter((file) => !listed.includes(file))) {
      problems.push(`${where} does not name ${path}`);
    }
    for (const path of listed.filter((file) => !onDisk.includes(file))) {
      problems.push(`${where} names ${path}, which does not exist`);
    }
  }
}

if (/"resolved": *"https?:/.test(read('package-lock.json'))) {
  problems.push(
    'package-lock.json holds addresses: run npm install with the .npmrc of the project',
  );
}

for (const problem of problems) console.error(problem);
process.exit(problems.length === 0 ? 0 : 1);
