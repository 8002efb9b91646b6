#!/usr/bin/env bash
# The built-in model `small` from its parts: Whisper-base, Gemma-3-270m, sentences, voices, people. Each step goes on
# where it stopped. On two CPU cores it takes about seven hours; docs/small.md says what came of it.
#
# TATOEBA, NOISE and HUMAN are folders: Tatoeba's sentences, backgrounds and rooms, and corpora of human speech, each
# with its manifest.jsonl. SPEECH, if it is set, is one of people who are held out: the tables of docs/small.md.
set -euo pipefail
out=${OUT:-out/small}
data=$out/data
dragoman="python -m dragoman"

$dragoman fetch small
llm=$($dragoman fetch gemma-3-270m)

# What the LLM reads: English, German, French and Dutch under a free licence; which of its pieces are kept is decided
# by texts in all seven languages.
$dragoman prepare sentences --root "$TATOEBA" --languages eng,deu,fra,spa,ita,por,nld --out "$data"
$dragoman prepare sentences --root "$TATOEBA" --languages eng,deu,fra,spa,ita,por,nld --out "$out/all" --all_licences
cp "$out/all/text.jsonl" "$data/all-text.jsonl"
# No Spanish text there has one: the LLM writes its own, and is taught what people wrote by it.
python runs/self_translate.py "$llm" "$data/text.jsonl" "$data/to-spa-by-llm.jsonl" \
    --languages eng --to spa --count 3000 --turned "$data/spa-by-llm.jsonl"

# What Whisper hears.
$dragoman prepare voices --engine pico --root "$TATOEBA" --noise "$NOISE" --languages eng,deu,fra --clips 2400 --out "$data"
$dragoman prepare voices --engine pico --root "$TATOEBA" --noise "$NOISE" --languages eng,deu,fra --clips 6000 --seed 7 \
    --out "$data/more"
cp "$data/more/pico.jsonl" "$data/more/pico-more.jsonl"  # frames are stored by a manifest's name
python runs/speak_text.py "$data/spa-by-llm.jsonl" "$data" --noise "$NOISE"
$dragoman prepare joined "$HUMAN"/*/manifest.jsonl --name human --rounds 2 --languages eng,deu,fra,spa,ita,por,nld --out "$data"
python runs/vary_speed.py "$data/human.jsonl" "$data" --noise "$NOISE" --workers 2
# Nobody translated what people said: the LLM does.
python runs/self_translate.py "$llm" "$data/human.jsonl" "$data/human-by-llm.jsonl" \
    --languages spa,ita,por,deu,nld,fra --to eng
python runs/self_translate.py "$llm" "$data/human.jsonl" "$data/human-by-llm.jsonl" --languages eng --to deu,spa

$dragoman encode small --data "$data" --out "$out/frames"
$dragoman train small --data "$data" --features "$out/frames" --micro_batch 32 --micro_tokens 4096 --out "$out/run"
python runs/ship.py "$out/run/11-text-again/model" "$out/model" --credits "$data/CREDITS.txt"

if [ -n "${SPEECH:-}" ]; then
    python runs/report_small.py "$out/model" --speech "$SPEECH" --noise "$NOISE" --out "$out/report"
fi
