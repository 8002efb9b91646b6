#!/usr/bin/env bash
# The built-in model from scratch: corpus, bases, three stages, evaluation. Interrupt it at any moment and call it again.
#   runs/tiny.sh DATA OUT      DATA holds tatoeba/ and noise/; about four hours on four cores
set -euo pipefail
data=$1 out=$2

dragoman prepare tatoeba --recipe tiny --root "$data/tatoeba" --noise "$data/noise" --out "$out/data"
dragoman bases tiny --data "$out/data" --out "$out/bases"
dragoman train tiny --data "$out/data" --bases "$out/bases" --out "$out/stages"
dragoman evaluate "$out/data/dev.jsonl" --model "$out/stages/3-srt/model" --to all --out "$out/dev"
dragoman evaluate "$out/data/dev.jsonl" --model "$out/stages/3-srt/model" --to all --out "$out/dev-text" --text
dragoman report "$out/dev" "$out/dev-text" --manifest "$out/data/dev.jsonl" --out "$out/report"
dragoman report "$out/dev" "$out/dev-text" --model "$out/stages/3-srt/model" --card
