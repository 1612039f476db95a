import './unbundled.mjs';
// Required, not imported: if `index.js` throws, Node.js 20 would exit even if the caller catches the error.
import mullama = require('./index.js');

export type * from './index.js';
export import Chat = mullama.Chat;
export import Model = mullama.Model;
export import MullamaError = mullama.MullamaError;
export import Plan = mullama.Plan;
export import gpu = mullama.gpu;
export import plan = mullama.plan;
