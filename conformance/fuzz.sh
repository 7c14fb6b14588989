#!/usr/bin/env bash
# Run every fuzz target of the module for the given time each (default 60s).
# Usage: fuzz.sh [TIME [PACKAGE...]]
set -euo pipefail
cd "$(dirname "$0")/.."
time=${1:-60s}
shift || true
[ $# -gt 0 ] || set -- ./...
failed=0
for pkg in $(go list "$@"); do
  targets=$(go test -list '^Fuzz' "$pkg" 2>/dev/null | grep '^Fuzz' || true)
  for target in $targets; do
    echo "== $pkg $target $time"
    # Coverage that background goroutines make vary would send the whole time
    # into minimizing inputs: bound it.
    go test -run '^$' -fuzz "^$target\$" -fuzztime "$time" -fuzzminimizetime 20x "$pkg" || failed=1
  done
done
exit $failed
