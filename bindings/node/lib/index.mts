import './unbundled.mjs';
// Required, not imported: where `index.js` throws, Node.js 20 ends the process though the caller catches it.
import mullama = require('./index.js');

export type * from './index.js';
export import Chat = mullama.Chat;
export import Model = mullama.Model;
export import MullamaError = mullama.MullamaError;
export import Plan = mullama.Plan;
export import gpu = mullama.gpu;
export import plan = mullama.plan;
