// Compiled without the types of Node.js.

import { Model } from 'mullama';

await using model = await Model.load('demo');
const state: Uint8Array = await model.saveState('x');
await model.loadState(state);
