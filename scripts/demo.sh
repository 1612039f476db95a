#!/usr/bin/env bash
# Asks the demo model one question from a shell, from Python and from Node.js.
set -euo pipefail
question="What is the capital of France?"

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
echo "shell:    $(target/release/mullama run demo --temperature 0 "$question")"
echo "python:   $(.venv/bin/python -c "$ask_python" "$question")"
echo "node:     $(node -e "$ask_node" "$question")"
