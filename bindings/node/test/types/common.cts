import mullama = require('mullama');

const model = new mullama.Model('demo', { contextSize: 512 });
const size: number = model.contextSize;
console.log(size, mullama.gpu.cudaAvailable());
