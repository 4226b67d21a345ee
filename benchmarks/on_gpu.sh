#!/usr/bin/env bash
# All that only a GPU can show, in one call: the tests marked gpu, then every benchmark
# that has a GPU version. One that fails does not stop the others.
#
#   PYTHON=python3 bash benchmarks/on_gpu.sh [RESULTS]
set -uo pipefail
cd "$(dirname "$0")/.."
python="${PYTHON:-python3}"
results="${1:-benchmarks/results/gpu}"
mkdir -p "$results"
export PYTHONPATH="$PWD${PYTHONPATH:+:$PYTHONPATH}"

"$python" -c 'import sys, torch; sys.exit(None if torch.cuda.is_available() else "no GPU that PyTorch can use")' || exit 2

failed=0
"$python" -m pytest -q -m gpu --timeout 600 2>&1 | tee "$results/tests.txt" || failed=1
for name in losses augmentation engines inference; do
  echo "$name"
  if "$python" "benchmarks/$name.py" --device cuda --json > "$results/$name.jsonl.part"; then
    mv "$results/$name.jsonl.part" "$results/$name.jsonl"
  else
    failed=1
  fi
done
# Training against peers needs the data set and an environment with nnunetv2:
#   DATA=Task04_Hippocampus PEER_PYTHON=ENV/bin/python bash benchmarks/on_gpu.sh
if [ -n "${DATA:-}" ] && [ -n "${PEER_PYTHON:-}" ]; then
  common=(--data "$DATA" --peer-python "$PEER_PYTHON" --device cuda --json)
  threads="$(nproc)"
  for name in training time_to_dice; do
    extra=()
    [ "$name" = time_to_dice ] && extra=(--budgets 1m 2m 5m)
    echo "$name"
    if "$python" "benchmarks/$name.py" "${common[@]}" --out "$results/peers" \
      --threads "$threads" "${extra[@]}" > "$results/$name.jsonl.part"; then
      mv "$results/$name.jsonl.part" "$results/$name.jsonl"
    else
      failed=1
    fi
  done
fi
# FOLDS=1 trains all five folds of the hippocampus for five minutes each as well.
if [ -n "${DATA:-}" ] && [ "${FOLDS:-0}" = 1 ]; then
  echo "five folds"
  "$python" pipelines/hippocampus_mri.py --data "$DATA" --out "$results/folds" \
    --budget 5m --device cuda > "$results/folds.txt" || failed=1
fi
exit "$failed"
