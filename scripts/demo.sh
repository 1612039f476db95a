#!/usr/bin/env bash
# Asks the demo model one question from a shell, from Python and from Node.js. Builds into target/demo, only for this
# machine's CPU and without the parts for tests and packages.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
question="What is the capital of France?"

export MULLAMA_PROFILE=demo CMAKE_PROJECT_ggml_INCLUDE=$PWD/scripts/one-cpu-module.cmake
cargo build --profile demo --features dynamic-backends \
    --package mullama-cli --package mullama-python --package mullama-node
scripts/stage-engine.sh bindings/python/python/mullama/lib _native ../_native.abi3.so
node bindings/node/build.mjs

ask_python='
import sys
from mullama import Model

print(Model("demo").chat([{"role": "user", "content": sys.argv[1]}], temperature=0))
'
ask_node='
const { Model } = require("./bindings/node");

Model.load("demo")
  .then((model) => model.chat([{ role: "user", content: process.argv[1] }], { temperature: 0 }))
  .then((answer) => console.log(String(answer)));
'

echo "question: $question"
echo "shell:    $(target/demo/mullama run demo --temperature 0 "$question")"
echo "python:   $(PYTHONPATH=bindings/python/python python3 -c "$ask_python" "$question")"
echo "node:     $(node -e "$ask_node" "$question")"
