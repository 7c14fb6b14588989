#!/usr/bin/env bash
# Judge the plugin over every driver in every domain, and the reference plugins, by
# the letter of the CNI specification: a line for each judgement as it comes, and
# every failure. It takes some minutes.
set -euo pipefail
cd "$(dirname "$0")/.."
echo "judging by the CNI specification; a line for each judgement as it ends, which takes some minutes"
VMNET_CONFORMANCE_ALL=1 go test -count=1 -timeout 15m -v -run '^(TestVMNet|TestVMNetTap|TestGolden)$' ./conformance/cni |
  awk '!/^=== / { print; fflush() }' # without what starts, waits and goes on
