import { readFileSync } from 'node:fs';

/** What the kernel has counted of a process so far. */
export function usageOf(pid: number): { cpuMs: number; voluntarySwitches: number } {
  // The name may hold spaces and brackets: the fields begin behind its last bracket.
  const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  const ticks = Number(fields[11]) + Number(fields[12]);
  const status = readFileSync(`/proc/${pid}/task/${pid}/status`, 'utf8');
  const switches = /^voluntary_ctxt_switches:\s+(\d+)$/m.exec(status)?.[1];
  return { cpuMs: ticks * 10, voluntarySwitches: Number(switches) };
}

/** How many calls of each kind `strace -c` saw. */
export function callsIn(report: string): Map<string, number> {
  const calls = new Map<string, number>();
  for (const line of report.split('\n')) {
    const fields = line.trim().split(/\s+/);
    const name = fields.at(-1) as string;
    if (fields.length >= 5 && /^\d+$/.test(fields[3] as string)) calls.set(name, Number(fields[3]));
  }
  return calls;
}
