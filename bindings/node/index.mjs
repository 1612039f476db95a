import mullama from './index.js';

export const { Chat, Model, MullamaError, Plan, gpu, plan } = mullama;
