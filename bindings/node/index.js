'use strict';

const { MullamaError } = require('./lib/errors.js');
const gpu = require('./lib/gpu.js');
const { Model } = require('./lib/model.js');

module.exports = { Model, MullamaError, gpu };
