import type { Region } from '../core/region.js';

type Tags = Record<string, string>;

/** The tags of agents, by their place in the directory, asked for once a name. */
export class Names {
  readonly #region: Region;
  readonly #known = new Map<number, { naming: number; tags: Tags }>();

  constructor(region: Region) {
    this.#region = region;
  }

  /** @param naming changes with the name; -1: the name is gone */
  tags(entry: number, naming: number): Tags {
    const known = this.#known.get(entry);
    if (naming === -1) return known?.tags ?? {};
    if (known?.naming === naming) return known.tags;
    const names = this.#region.describe(entry);
    if (names === undefined) return known?.tags ?? {};
    const tags: Tags = { agent: names.name };
    if (names.role !== '') tags.role = names.role;
    if (names.team !== '') tags.team = names.team;
    this.#known.set(entry, { naming, tags });
    return tags;
  }
}
