import { takeCoverage } from 'node:v8';
import { afterAll } from 'vitest';

// A worker of vitest may be ended before Node writes its counts.
afterAll(() => takeCoverage());
