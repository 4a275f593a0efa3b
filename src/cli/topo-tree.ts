import type { Topology } from '../index.js';
import { stripLine } from './text.js';

/** Of more siblings than this the first and the last are drawn. */
const mostSiblings = 8;
const drawnOfMany = 3;

/** A tree with a line an agent; who is linked with its siblings has their number. */
export function drawTree(topology: Topology, full: boolean): string {
  const lines: string[] = [];
  const draw = (names: readonly string[], indent: string, top: boolean) => {
    const shown = full || names.length <= mostSiblings ? names : names.slice(0, drawnOfMany);
    const left = names.length - shown.length;
    shown.forEach((name, i) => {
      const last = left === 0 && i === shown.length - 1;
      const branch = top ? '' : last ? '└─ ' : '├─ ';
      lines.push(`${indent}${branch}${lineOf(topology, name)}`);
      draw(topology.childrenOf(name), top ? '' : `${indent}${last ? '   ' : '│  '}`, false);
    });
    if (left > 0) {
      const branch = top ? '' : '└─ ';
      lines.push(`${indent}${branch}… ${left} more, to ${stripLine(names.at(-1) as string)}`);
    }
  };
  draw(topology.childrenOf(''), '', true);
  return `${lines.join('\n')}\n`;
}

function lineOf(topology: Topology, name: string): string {
  const agent = topology.agent(name);
  const peers = topology.peersOf(name).length;
  const words = [
    stripLine(name),
    name.startsWith(agent?.role ?? '') ? '' : stripLine(agent?.role ?? ''),
    peers > 0 ? `⇄ ${peers}` : '',
    agent !== undefined && agent.command.length > 0 ? stripLine(agent.command.join(' ')) : '',
  ];
  return words.filter((word) => word !== '').join('  ');
}
