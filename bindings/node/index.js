'use strict';

const { Chat } = require('./lib/chat.js');
const { MullamaError } = require('./lib/errors.js');
const gpu = require('./lib/gpu.js');
const { Model } = require('./lib/model.js');
const { Plan, plan } = require('./lib/plan.js');

module.exports = { Chat, Model, MullamaError, Plan, gpu, plan };
