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
# STUDIES=FOLDER, which holds hippocampus/, nuclei/ and glioma_2d/, or some of them, runs
# the real studies at the times that a GPU is given.
study() {
  local name="$1" minutes="$2" folder="${STUDIES:-}/$1"
  shift 2
  [ -n "${STUDIES:-}" ] || return 0
  [ -d "$folder" ] || { echo "$name: no $folder, left out"; return 0; }
  echo "$name"
  "$python" "$@" --data "$folder" --out "$results/$name" --budget "${minutes}m" \
    --device cuda > "$results/$name.txt" || failed=1
}
study hippocampus 5 pipelines/hippocampus_mri.py
study nuclei 10 pipelines/nuclei_microscopy.py
study glioma_2d 5 pipelines/tumour_mri.py --study glioma_2d
exit "$failed"
