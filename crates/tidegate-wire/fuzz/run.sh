#!/bin/sh
# Runs every fuzz target for so many seconds: `crates/tidegate-wire/fuzz/run.sh 30`; further words choose targets.
#
# A new target is a file in fuzz_targets/: where the manifest does not list it yet, this writes the entry. What a target
# starts from lies in seeds/<target>/, words worth trying in <target>.dict; both may be missing.
#
# No sanitizer: the crates have no unsafe code of their own, and sanitizers would need a nightly compiler.
set -eu

seconds=${1:?usage: run.sh SECONDS [TARGET…]}
shift
fuzz=$(cd "$(dirname "$0")" && pwd)
tools=$(cd "$fuzz/../../.." && pwd)/.tools
PATH=$tools/bin:$PATH

command -v c++ >/dev/null || { echo "fuzzing needs a C++ compiler: apt-get install g++" >&2; exit 1; }
if ! command -v cargo-fuzz >/dev/null; then
    echo "installing cargo-fuzz into $tools"
    # Not with the project's target directory: what is built here is no part of it.
    (unset CARGO_TARGET_DIR; cargo install --quiet --locked cargo-fuzz --root "$tools")
fi

for file in "$fuzz"/fuzz_targets/*.rs; do
    name=$(basename "$file" .rs)
    grep -q "^path = \"fuzz_targets/$name.rs\"" "$fuzz/Cargo.toml" || printf '\n[[bin]]\nname = "%s"\npath = "fuzz_targets/%s.rs"\ntest = false\ndoc = false\nbench = false\n' \
        "$name" "$name" >>"$fuzz/Cargo.toml"
done

[ $# -gt 0 ] || set -- $(cd "$fuzz/fuzz_targets" && ls ./*.rs | sed 's|^\./||; s|\.rs$||')
for name in "$@"; do
    echo "fuzzing $name for $seconds s"
    mkdir -p "$fuzz/corpus/$name"
    seeds=$fuzz/seeds/$name
    dictionary=$fuzz/$name.dict
    log=$fuzz/corpus/$name.log
    if cargo fuzz run --fuzz-dir "$fuzz" --sanitizer none "$name" "$fuzz/corpus/$name" \
        $([ -d "$seeds" ] && echo "$seeds") -- -max_total_time="$seconds" -print_final_stats=1 -verbosity=0 \
        -timeout=10 -rss_limit_mb=1024 $([ -f "$dictionary" ] && echo "-dict=$dictionary") >"$log" 2>&1; then
        # The rest of the log is a long list of words that the fuzzer found useful.
        grep -E '^stat::(number_of_executed_units|average_exec_per_sec|new_units_added)' "$log"
    else
        tail -n 60 "$log" >&2
        echo "fuzzing $name failed; the whole log is $log" >&2
        exit 1
    fi
done
