import mullama from './index.js';

export const { Chat, Model, MullamaError, gpu } = mullama;
