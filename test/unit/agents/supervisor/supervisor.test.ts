import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { describe, expect, onTestFinished, test } from 'vitest';
import { killHolder } from '../../../../src/agents/supervisor/supervisor.js';
import { startTicksOf } from '../../../../src/core/process.js';

describe('killHolder', () => {
  test('kills the process that it means, and none that has its number by chance', async () => {
    const child = spawn('sleep', ['1000'], { stdio: 'ignore' });
    const pid = child.pid as number;
    const ended = once(child, 'exit');
    onTestFinished(() => void child.kill('SIGKILL'));
    const startTicks = startTicksOf(pid) as number;

    expect(startTicks).toBeGreaterThan(0);
    expect(killHolder({ pid, startTicks: startTicks - 1 })).toBe(false);
    expect(killHolder({ pid, startTicks: 0 })).toBe(false);
    expect(child.exitCode).toBe(null);
    expect(killHolder({ pid, startTicks })).toBe(true);
    expect(await ended).toEqual([null, 'SIGKILL']);
    expect(killHolder({ pid, startTicks })).toBe(false);
  });
});
