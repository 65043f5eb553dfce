#!/usr/bin/env bash
# run.sh [nextest arguments]: builds, runs all tests, ends with a plain summary. Tests and the
# programs that the end-to-end tests start share one profile (dev), so nothing is built twice.
set -uo pipefail
cd "$(dirname "$0")/.." || exit 1
cargo=${CARGO:-cargo}
began=$SECONDS
log=$(mktemp)
skips=$(mktemp)
trap 'rm -f "$log" "$skips"' EXIT

"$cargo" build --workspace --bins || exit 1
# Without it the tests that need it are left out, and the summary says so.
tests/need.sh strace || true
target=${CARGO_TARGET_DIR:-target}
ONHAND_BIN_DIR=$(cd "$target/debug" && pwd)
export ONHAND_BIN_DIR ONHAND_SKIPS=$skips

if ! "$cargo" nextest --version >/dev/null 2>&1; then
  echo "installing cargo-nextest (once) …"
  "$cargo" install cargo-nextest --locked --quiet || echo "cargo-nextest can't be installed: using cargo test"
fi
if "$cargo" nextest --version >/dev/null 2>&1; then
  "$cargo" nextest run --workspace --no-fail-fast "$@" 2>&1 | tee "$log"
  tests_status=${PIPESTATUS[0]}
  # Summary [  12.3s] 345 tests run: 344 passed (2 slow), 1 failed, 3 skipped
  tests=$(sed 's/\x1b\[[0-9;]*m//g' "$log" | grep -oE '[0-9]+ tests? run: .*' | tail -1)
else
  "$cargo" test --workspace --lib --bins --tests --no-fail-fast 2>&1 | tee "$log"
  tests_status=$?
  tests=$(awk '/^test result:/ { passed += $4; failed += $6 } END { print passed + failed " tests run: " passed " passed, " failed " failed" }' "$log")
fi
# Bugs on purpose, in a build of their own.
"$cargo" test -p simulation --features planted-bugs --test mutants -- --nocapture 2>&1 | tee "$log"
mutants_status=${PIPESTATUS[0]}
mutants=$(grep -c ': seed [0-9]* sees' "$log")
# The log's and the ledger's threads under a scheduler, in a build of their own; the bugs planted
# there panic in many words, which only matter if one isn't seen.
RUST_BACKTRACE=0 "$cargo" test --workspace --features concurrency/shuttle --test shuttle -- --nocapture >"$log" 2>&1
orders_status=$?
if [ "$orders_status" = 0 ]; then
  grep -E '^test [a-z:_]+ \.\.\. |: schedule [0-9]+ sees' "$log"
else
  cat "$log"
fi
orders=$(awk '/^test result:/ { passed += $4; failed += $6 } END { print passed + 0 " passed, " failed + 0 " failed" }' "$log")
orders_bugs=$(grep -c ': schedule [0-9]* sees' "$log")
"$cargo" test --workspace --doc --quiet 2>&1 | tee "$log"
doc_status=$?
docs=$(awk '/^test result:/ { passed += $4; failed += $6 } END { print passed + 0 " passed, " failed + 0 " failed" }' "$log")

echo
echo "────────── summary ──────────"
echo "tests      ${tests:-none ran}"
echo "planted    $mutants bugs on purpose, each seen"
echo "threads    $orders (scenarios in many orders; $orders_bugs bugs on purpose seen)"
echo "examples   $docs (in the documentation)"
if [ -s "$skips" ]; then
  sort -u "$skips" | sed 's/^/left out   /'
fi
echo "time       $((SECONDS - began)) s"
if [ "$tests_status" = 0 ] && [ "$mutants_status" = 0 ] && [ "$orders_status" = 0 ] && [ "$doc_status" = 0 ]; then
  echo "make test: PASSED"
else
  echo "make test: FAILED"
  exit 1
fi
