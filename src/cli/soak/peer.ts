// A process of `cfc soak`: plays one role in the fabric until it is told to stop, and says on request
// how it is. Some are started by the master, some by the supervisor of the fabric.
// Arguments: role, name, socket of the master, directory, fabric, its options as JSON.
import { Fabric } from '../../index.js';
import { alerts, exporter, supervisor } from './caretakers.js';
import type { PeerOptions } from './crew.js';
import { Stage } from './stage.js';
import { canary, churn, coordinator, receiver, sender } from './workers.js';

const [role = '', name = '', socket = '', dir = '', fabricName = '', json = '{}'] =
  process.argv.slice(2);
const roles: Record<string, (stage: Stage) => Promise<void>> = {
  ...{ sender, receiver, canary, churn, coordinator },
  ...{ supervisor, exporter, alerts },
};
const play = roles[role];
if (play === undefined) throw new Error(`no role ${role}`);
const fabric = await Fabric.open(fabricName, { dir });
const stage = new Stage(socket, name, fabric, JSON.parse(json) as PeerOptions);
await play(stage);
await fabric.close();
stage.leave();
