#!/usr/bin/env bash
# Run what stands on driver vmnet in every way in which Go code that is called by
# C can go wrong: without and with cgo, with the race detector, with checks of
# pointers, with a garbage collector that runs at every opportunity, with the
# address sanitizer in the library, and the long versions of the life tests.
# Names of legs may be given: matrix.sh race checkptr. Needs root, clang, nft, and
# QEMU for the real guest.
set -uo pipefail
cd "$(dirname "$0")/.."
export VMNET_REQUIRE=${VMNET_REQUIRE:-root,netns,clang,nft,qemu}
legs=${*:-nocgo cgo race checkptr gogc asan long}
worlds='^(TestWays|TestRestartOfGuest|TestPull|TestKill|TestDrain|TestRun|TestLinux)$/^vmnet'
own='^(TestTwoShims|TestTwoShimsLogical|TestFaults|TestHang|TestOtherLibrary|TestHarsh)$'
failed=0

# leg NAME VARIABLE=VALUE... -- ARGUMENTS of go test
leg() {
  local name=$1 start=$SECONDS vars=()
  shift
  while [ "$1" != -- ]; do vars+=("$1"); shift; done
  shift
  if env "${vars[@]}" go test -count=1 -timeout 20m "$@"; then
    printf '%-8s ok    %4d s\n' "$name" $((SECONDS - start))
  else
    printf '%-8s FAIL  %4d s\n' "$name" $((SECONDS - start))
    failed=1
  fi
}

both() { # NAME VARIABLE=VALUE... -- ARGUMENTS
  leg "$@" ./pkg/vmnet/framework
  leg "$@" -run "$worlds" ./conformance/e2e
  leg "$@" -run "$own" ./conformance/e2e
}

for l in $legs; do
  case $l in
  nocgo) both nocgo CGO_ENABLED=0 -- ;;
  cgo) both cgo CGO_ENABLED=1 -- ;;
  race) both race CGO_ENABLED=1 -- -race ;;
  # GOFLAGS, so that the programs which the tests build are checked too.
  checkptr) both checkptr CGO_ENABLED=0 GOFLAGS=-gcflags=all=-d=checkptr -- ;;
  gogc) both gogc CGO_ENABLED=0 GOGC=1 -- ;;
  asan) # of package framework TestAddressSanitizer does it by itself
    leg asan CGO_ENABLED=0 -- -run TestAddressSanitizer ./pkg/vmnet/framework
    leg asan CGO_ENABLED=0 VMNET_E2E_SANITIZE=1 -- -run "$worlds" ./conformance/e2e
    ;;
  long) leg long CGO_ENABLED=0 VMNET_LONG=1 -- -v -run 'TestCycles|TestEventsUnderGC' ./pkg/vmnet/framework ;;
  *) echo "matrix.sh: no leg $l" >&2; exit 2 ;;
  esac
done
exit $failed
