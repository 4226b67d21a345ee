#!/usr/bin/env bash
# What only a GPU can show, on a bare machine and within ten minutes: each part has a
# time limit of its own, and its rows go to RESULTS/on_gpu.jsonl as they come, so that a
# call that is cut short still tells something.
#
#   PYTHON=python3 bash benchmarks/on_gpu.sh [RESULTS]
#
#   WHEELS=FOLDER  packages that the machine lacks, as wheels (nothing is downloaded)
#   DATA=FOLDER    the Decathlon's Task04_Hippocampus, for Dice against time and peers
#   LIMIT=600      seconds for all parts together; what no time is left for is said
#   DEVICE=cuda    cpu rehearses the script itself
set -uo pipefail
cd "$(dirname "$0")/.." || exit
python="${PYTHON:-python3}" device="${DEVICE:-cuda}" limit="${LIMIT:-600}"
results="${1:-benchmarks/results/gpu}"
rows="$results/on_gpu.jsonl"
mkdir -p "$results"
export PYTHONPATH="$PWD${PYTHONPATH:+:$PYTHONPATH}"
failed=0

say() { # part, then why it was not measured
  printf '{"part": "%s", "not measured": "%s"}\n' "$1" "$2" | tee -a "$rows"
}

if [ -n "${WHEELS:-}" ]; then
  packages="$(mktemp -d)"
  trap 'rm -rf "$packages"' EXIT
  timeout --kill-after 5 90 "$python" -m pip install -q --no-index --no-deps --target "$packages" \
    "$WHEELS"/*.whl || { say packages "the wheels could not be installed"; failed=1; }
  export PYTHONPATH="$PYTHONPATH:$packages"
fi

part() { # name, its limit in seconds, command
  local name="$1" most="$2" left=$((limit - SECONDS)) code
  shift 2
  [ "$left" -gt 10 ] || { say "$name" "no time was left"; failed=1; return; }
  [ "$most" -lt "$left" ] || most="$left"
  echo "== $name, at most $most s" >&2
  timeout --kill-after 5 "$most" "$@" 2> "$results/$name.log" | tee -a "$rows"
  code="${PIPESTATUS[0]}"
  [ "$code" -eq 0 ] && return
  failed=1
  case "$code" in
    124 | 137) say "$name" "cut after $most s" ;;
    *) say "$name" "ended with exit code $code, see $name.log" ;;
  esac
}

tests=(
  tests/training/test_training_on_gpu.py
  tests/losses/test_loss_streaming.py
  tests/augmentation/test_augment_batch.py
  tests/inference/engines/test_engines.py
)
call=("$python" benchmarks/on_gpu.py)
part smoke 60 "${call[@]}" smoke --device "$device"
part tests 120 "${call[@]}" tests "${tests[@]}"
part throughput 80 "${call[@]}" throughput --device "$device"
part inference 50 "${call[@]}" inference --device "$device"
if [ -n "${DATA:-}" ]; then
  part dice 330 "${call[@]}" dice --data "$DATA" --device "$device" --out "$results/dice"
  part peers 300 "${call[@]}" peers --data "$DATA" --device "$device" --out "$results/peers"
else
  say dice "DATA names no folder"
  say peers "DATA names no folder"
fi
exit "$failed"
