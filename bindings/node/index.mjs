import mullama from './index.js';

export const { Model, MullamaError, gpu } = mullama;
