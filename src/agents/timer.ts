/** Node's timers fire at once where they are told to wait longer. */
const longestMs = 2 ** 31 - 1;

/** @param timeoutMs less than 0 is taken as 0, more than 24 days as 24 days; Infinity: no timer */
export function startTimer(timeoutMs: number, onTime: () => void): NodeJS.Timeout | undefined {
  if (timeoutMs === Infinity) return undefined;
  return setTimeout(onTime, Math.min(longestMs, Math.max(0, timeoutMs)));
}
