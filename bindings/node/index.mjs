import { createRequire } from 'node:module';

// Not imported: where `index.js` throws, Node.js 20 ends the process though the caller catches it.
const mullama = createRequire(import.meta.url)('./index.js');

export const { Chat, Model, MullamaError, Plan, gpu, plan } = mullama;
