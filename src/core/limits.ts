import { CfcError } from '../errors.js';

/** A token bucket: how fast an agent may send and publish. */
export interface RateLimit {
  /** Messages, 1 to 1,000,000. */
  perSecond: number;
  /** How many at once after a pause. Default: `perSecond`. */
  burst?: number;
}

/** How much may be sent and published under a name, in all of its lives. */
export interface SendQuota {
  messages?: number;
  /** Of their bodies. */
  bytes?: number;
}

export const mostPerSecond = 1_000_000;

/**
 * As the core takes them: 0 where there is no limit.
 *
 * @throws {CfcError} `ERR_CFC_USAGE`
 */
export function limitsOf({ rate, quota }: { rate?: RateLimit; quota?: SendQuota }) {
  if (rate !== undefined && rate.perSecond === undefined) {
    throw new CfcError('ERR_CFC_USAGE', { rate, allowed: 'one with perSecond' });
  }
  return {
    perSecond: limit(rate?.perSecond, 'rate.perSecond', mostPerSecond),
    burst: limit(rate?.burst, 'rate.burst', mostPerSecond),
    quotaMessages: limit(quota?.messages, 'quota.messages'),
    quotaBytes: limit(quota?.bytes, 'quota.bytes'),
  };
}

function limit(value: number | undefined, name: string, most = Number.MAX_SAFE_INTEGER): number {
  if (value === undefined) return 0;
  if (Number.isInteger(value) && value >= 1 && value <= most) return value;
  throw new CfcError('ERR_CFC_USAGE', { [name]: value, allowed: `whole numbers, 1 to ${most}` });
}
