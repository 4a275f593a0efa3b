import type { PassReport } from './map-job.js';

const everyMs = 100;
const barWidth = 24;

/** A line on stderr that says how far a job is. Only on a terminal. */
export class Progress {
  readonly #look: () => { report: Readonly<PassReport>; running: number; more: boolean };
  readonly #began = performance.now();
  readonly #timer: NodeJS.Timeout | undefined;

  /** @param look `more`: the input isn't at its end, so the total is not known yet */
  constructor(look: () => { report: Readonly<PassReport>; running: number; more: boolean }) {
    this.#look = look;
    if (!process.stderr.isTTY) return;
    this.#timer = setInterval(() => this.#draw(), everyMs);
    this.#timer.unref();
  }

  /** Takes the line away. */
  stop(): void {
    if (this.#timer === undefined) return;
    clearInterval(this.#timer);
    process.stderr.write('\r\u001b[K');
  }

  #draw(): void {
    const { report, running, more } = this.#look();
    const done = report.answered + report.lost;
    const perSecond = Math.round((done * 1000) / Math.max(1, performance.now() - this.#began));
    const filled = report.tasks === 0 ? 0 : Math.round((barWidth * done) / report.tasks);
    const bar = '█'.repeat(filled) + '░'.repeat(barWidth - filled);
    const total = more ? `${report.tasks}+` : String(report.tasks);
    const lost = report.lost === 0 ? '' : `, ${report.lost} lost`;
    process.stderr.write(
      `\r\u001b[K${bar} ${done}/${total}${lost}, ${running} running, ${perSecond}/s`,
    );
  }
}
