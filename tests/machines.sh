#!/bin/sh
# The tests under the arithmetic of other processors: each setting one after another, then a table.
#
#   tests/machines.sh                      the whole suite, eight settings
#   tests/machines.sh tests/models ...     a part of it: any arguments of pytest
#
# PYTHON names the interpreter (default .venv/bin/python), WORKERS how many processes share the tests of one setting
# (default: 2 for one thread each, 1 for two), LOGS where the output goes (default out/machines).
set -u
cd "$(dirname "$0")/.." || exit 1
python=${PYTHON:-.venv/bin/python}
logs=${LOGS:-out/machines}
mkdir -p "$logs" || exit 1
if ! "$python" -c 'import pytest, torch' 2>/dev/null; then
    echo "expected an interpreter with pytest and torch, got $python; run 'make check' first or name one with PYTHON" >&2
    exit 1
fi
[ $# -gt 0 ] || set -- tests
table="$logs/table.txt"
printf '%-34s %-7s  %s\n' setting threads result > "$table"
failed=0
for setting in ATEN_CPU_CAPABILITY=default MKL_CBWR=COMPATIBLE OPENBLAS_CORETYPE=Haswell OPENBLAS_CORETYPE=Prescott; do
    for threads in 1 2; do
        workers=${WORKERS:-$((3 - threads))}
        log="$logs/$(echo "$setting" | tr = -)-$threads.txt"
        echo "== $setting, $threads thread(s): $log"
        if [ "$workers" -gt 1 ]; then parallel="-n $workers --dist loadfile"; else parallel=""; fi
        # shellcheck disable=SC2086
        env "$setting" OMP_NUM_THREADS=$threads OPENBLAS_NUM_THREADS=$threads MKL_NUM_THREADS=$threads \
            "$python" -m pytest --color=no $parallel "$@" > "$log" 2>&1 || failed=1
        printf '%-34s %-7s  %s\n' "$setting" "$threads" "$(tail -n 1 "$log")" >> "$table"
        grep -E '^(FAILED|ERROR) ' "$log"
    done
done
echo
cat "$table"
exit $failed
