#!/usr/bin/env bash
# fuzz.sh SECONDS [target …]: cargo-fuzz over every decoder, so many seconds each, where nightly and
# cargo-fuzz can be had; else the mutations of stable Rust for the same time. What is found is kept
# under target/fuzz and told; the script ends with 1.
set -uo pipefail
cd "$(dirname "$0")/.." || exit 1
cargo=${CARGO:-cargo}
seconds=${1:?usage: fuzz.sh SECONDS [target …]}
shift
top=${CARGO_TARGET_DIR:-target}
mkdir -p "$top/fuzz" || exit 1
top=$(cd "$top" && pwd)

targets=("$@")
why=""
if ! command -v rustup >/dev/null; then
  why="rustup isn't there, so nightly Rust can't be asked for"
elif ! rustup run nightly rustc --version >/dev/null 2>&1 &&
  ! rustup toolchain install nightly --profile minimal >/dev/null 2>&1; then
  why="nightly Rust can't be installed"
elif ! "$cargo" fuzz --version >/dev/null 2>&1 &&
  ! "$cargo" install cargo-fuzz --locked --quiet >/dev/null 2>&1; then
  why="cargo-fuzz can't be installed"
elif ! rustup run nightly cargo fuzz build --target-dir "$top/fuzz/build" ${targets[0]:+"${targets[0]}"}; then
  why="the targets can't be built with a sanitizer here"
fi
if [ -n "$why" ]; then
  echo "cargo-fuzz skipped: $why"
  echo "mutating the corpora on stable Rust instead, ${seconds} s each"
  exec "$cargo" run --release --quiet -p properties --bin mutate -- "$seconds" ${targets[@]+"${targets[@]}"}
fi
if [ ${#targets[@]} = 0 ]; then
  for folder in fixtures/fuzz/*/; do targets+=("$(basename "$folder")"); done
fi
status=0
for target in "${targets[@]}"; do
  mkdir -p "$top/fuzz/corpus/$target" "$top/fuzz/found"
  log="$top/fuzz/$target.log"
  # Inputs to 128 KiB; a decoder that takes 10 s for one, or 2 GiB, has broken a promise too.
  if rustup run nightly cargo fuzz run --target-dir "$top/fuzz/build" "$target" \
    "$top/fuzz/corpus/$target" "fixtures/fuzz/$target" -- -max_total_time="$seconds" \
    -max_len=131072 -timeout=10 -rss_limit_mb=2048 -print_final_stats=1 \
    -artifact_prefix="$top/fuzz/found/$target-" >"$log" 2>&1; then
    runs=$(sed -n 's/^stat::number_of_executed_units: //p' "$log")
    printf '%-10s %9s inputs, nothing found\n' "$target" "${runs:-?}"
  else
    status=1
    echo "$target: a promise is broken; the whole story is in $log"
    grep -E "panicked at|Test unit written|ERROR:" -A1 "$log" | head -12
    echo "keep the input as fixtures/fuzz/$target/regression-<what it was>, fix, run again"
  fi
done
exit $status
