import { closest } from '../errors/closest.js';
import type { Finding } from '../errors/source-file.js';
import { namePattern, reservedNames } from './names.js';
import {
  type AgentOptions,
  cellsFor,
  messagesOfEach,
  mostAgents,
  mostCells,
  type TopologyShape,
} from './plan.js';

/** True where those below `parent` are linked with each other. */
export function isMeshedBelow(shape: TopologyShape, parent: string): boolean {
  return (shape === 'mesh' && parent === '') || (shape === 'hybrid' && parent === 'master');
}

/** Names by the one above them, in their order; under the empty name who has nobody above. */
export function childrenOf(agents: readonly AgentOptions[]): Map<string, string[]> {
  const children = new Map<string, string[]>();
  for (const { name, parent = '' } of agents) {
    const siblings = children.get(parent);
    if (siblings === undefined) children.set(parent, [name]);
    else siblings.push(name);
  }
  return children;
}

/** With how many others each agent has a link: above, below, beside. */
export function neighboursOf(shape: TopologyShape, agents: readonly AgentOptions[]): number[] {
  const children = childrenOf(agents);
  return agents.map(({ name, parent = '' }) => {
    const above = parent === '' ? 0 : 1;
    const beside = isMeshedBelow(shape, parent) ? (children.get(parent)?.length ?? 1) - 1 : 0;
    return (children.get(name)?.length ?? 0) + above + beside;
  });
}

/**
 * Everything that is wrong with these agents together, and with each.
 *
 * @param neighbours of each, as neighboursOf counts them
 * @param generated so many of them, the first ones, come from a shape and stand in no list
 */
export function check(
  agents: readonly AgentOptions[],
  neighbours: readonly number[],
  generated: number,
): Finding[] {
  if (agents.length === 0) return [{ path: '', message: 'there are no agents' }];
  if (agents.length > mostAgents) {
    const message = `${agents.length} agents are more than a fabric holds, ${mostAgents}`;
    return [{ path: '', message }];
  }
  const findings = new Map<string, string>(); // one for each place
  const children = childrenOf(agents);
  const first = new Map<string, number>();
  agents.forEach((agent, i) => {
    const place = placeOf(agent, i, generated);
    const find = (field: string, message: string) => {
      if (!findings.has(`${place}${field}`)) findings.set(`${place}${field}`, message);
    };
    const before = first.get(agent.name);
    if (before === undefined) first.set(agent.name, i);
    else {
      const where = before < generated ? 'by the topology' : `by agents.${before - generated}`;
      find('name', `the name ${agent.name} is taken ${where}`);
    }
    checkNames(agent, find);
    checkCommand(agent, find);
    if (agent.limits?.burst !== undefined && agent.limits.messagesPerSecond === undefined) {
      find('limits.burst', 'a burst is of a rate: messagesPerSecond is missing');
    }
    const below = children.get(agent.name)?.length ?? 0;
    checkCells(agent, neighbours[i] as number, below, find);
  });
  checkParents(agents, first, (i, message) => {
    const place = placeOf(agents[i] as AgentOptions, i, generated);
    if (!findings.has(`${place}parent`)) findings.set(`${place}parent`, message);
  });
  return [...findings].map(([path, message]) => ({ path, message }));
}

type Find = (field: string, message: string) => void;

// What is wrong with a generated agent was said of its kind.
function placeOf({ role }: AgentOptions, index: number, generated: number): string {
  return index < generated ? `${role}.` : `agents.${index - generated}.`;
}

function checkNames({ name, role, team, parent }: AgentOptions, find: Find): void {
  for (const [field, value] of Object.entries({ name, role, team, parent })) {
    if (value === undefined || value === '') continue;
    if (!namePattern.test(value)) {
      find(field, `${value} is no name: up to 64 of A-Z a-z 0-9 _ -, the first a letter or digit`);
    }
  }
  if (name === '') find('name', 'a name is missing');
  if (reservedNames.includes(name)) find('name', `${name} is an address, and no name`);
}

function checkCommand({ command, env }: AgentOptions, find: Find): void {
  if (command !== undefined && (command.length === 0 || command[0] === '')) {
    find('command', 'a command begins with the name of a program');
  }
  if (command?.some((word) => word.includes('\0'))) {
    find('command', 'a command holds no NUL character');
  }
  for (const name of env ?? []) {
    if (!/^[A-Za-z_][A-Za-z0-9_]*$/.test(name)) {
      find('env', `${name} is no name of an environment variable; values are not set here`);
    }
  }
}

function checkCells(
  { name, mailboxCells: cells }: AgentOptions,
  neighbours: number,
  children: number,
  find: Find,
): void {
  const least = messagesOfEach * children;
  if (cells === undefined) {
    if (cellsFor(neighbours) > mostCells) {
      const message = `${name} has ${neighbours} neighbours: more than a mailbox has room for`;
      find('mailboxCells', `${message}; put coordinators between them`);
    }
  } else if (!Number.isInteger(cells) || cells < 1 || cells > mostCells) {
    find('mailboxCells', `a mailbox holds 1 to ${mostCells} messages, not ${cells}`);
  } else if (cells < least) {
    const message = `${cells} cells are too few for ${name}`;
    find('mailboxCells', `${message}: two messages of each of its ${children} are ${least}`);
  }
}

function checkParents(
  agents: readonly AgentOptions[],
  index: ReadonlyMap<string, number>,
  find: (index: number, message: string) => void,
): void {
  const settled = new Set<string>();
  agents.forEach(({ name, parent = '' }, i) => {
    if (parent === '') return;
    if (parent === name) {
      find(i, `${name} is its own parent`);
      settled.add(name);
    } else if (!index.has(parent)) {
      const others = [...index.keys()].filter((other) => other !== name);
      const near = closest(parent, others);
      const hint = near === undefined ? '' : `; did you mean ${near}?`;
      find(i, `the parent ${parent} is no agent here${hint}`);
      settled.add(name);
    }
  });
  agents.forEach((agent, i) => {
    const chain = new Set<string>();
    let name = agent.name;
    while (name !== '' && !settled.has(name) && !chain.has(name)) {
      chain.add(name);
      name = agents[index.get(name) as number]?.parent ?? '';
    }
    if (chain.has(name)) {
      const circle = [...chain].slice([...chain].indexOf(name));
      find(i, `a circle of parents: ${[...circle, name].join(' → ')}`);
    }
    for (const one of chain) settled.add(one);
  });
}
