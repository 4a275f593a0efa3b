/** Options: one table, read from the environment by the library, and from files by `cfc`. */
export { type ConfigProblem, option } from './environment.js';
export {
  type Config,
  exportConfig,
  type LoadConfigOptions,
  loadConfig,
  type OptionSource,
} from './load.js';
export {
  closestOption,
  type OptionKey,
  type OptionSpec,
  type Options,
  optionKeys,
  specOf,
} from './options.js';
export { configJsonSchema } from './schema.js';
