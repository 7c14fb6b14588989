#!/usr/bin/env bash
# Compare the Go benchmarks of two commits: benchstat.sh OLD NEW PACKAGE BENCH COUNT.
# Both are checked out beside the repository's work and take turns, so that a
# machine that becomes busy makes both slow.
set -euo pipefail
[ -n "$1" ] || { echo "make benchstat: OLD=commit is missing" >&2; exit 2; }
dir=$(mktemp -d)
trap 'git worktree remove -f "$dir/old" 2>/dev/null || true; git worktree remove -f "$dir/new" 2>/dev/null || true; rm -rf "$dir"' EXIT
git worktree add -q --detach "$dir/old" "$1"
git worktree add -q --detach "$dir/new" "$2"
for side in old new; do (cd "$dir/$side" && go test -c -o "$dir/$side.test" "$3"); done
for _ in $(seq "$5"); do
  for side in old new; do
    (cd "$dir/$side/$3" && "$dir/$side.test" -test.run '^$' -test.bench "$4" -test.benchmem -test.benchtime 200ms) >>"$dir/$side.txt"
  done
done
(cd "$dir" && go run golang.org/x/perf/cmd/benchstat@v0.0.0-20260908200009-22c9c6c9d4da old.txt new.txt)
