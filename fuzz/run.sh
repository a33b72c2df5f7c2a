#!/bin/bash
# fuzz/run.sh SECONDS [TARGET…]: runs targets one after the other (all of them without TARGET), SECONDS each.
# Findings go to fuzz/artifacts/TARGET, logs to fuzz/logs/TARGET.log. Ends with 1 if there is a finding.
set -u
cd "$(dirname "$0")"
seconds=${1:?usage: run.sh SECONDS [TARGET...]}
shift
[ $# -gt 0 ] || set -- $(sed -n 's/^name = "\(.*\)"/\1/p' Cargo.toml | tail -n +2)
[ -n "${FUZZ_NO_BUILD:-}" ] || cargo +nightly fuzz build || exit 2
[ -d corpus/container ] || ./seed.sh || exit 2

# The longest input of a target, in bytes.
max_len() {
    case $1 in
        names) echo 600 ;;
        volume) echo 2048 ;;
        journal) echo 2048 ;;
        signature | trust_file | registry_responses) echo 4096 ;;
        openpgp | oci_document | addenda) echo 8192 ;;
        kubernetes) echo 65536 ;;
        index) echo 16384 ;;
        *) echo 32768 ;;
    esac
}

# The quarantine of freed memory would count towards the limit.
export ASAN_OPTIONS=quarantine_size_mb=32:detect_leaks=0
bad=0
for target; do
    mkdir -p corpus/"$target" artifacts/"$target" logs
    nice -n 10 target/x86_64-unknown-linux-gnu/release/"$target" corpus/"$target" \
        -max_total_time="$seconds" -rss_limit_mb=512 -timeout=5 -report_slow_units=1 -max_len="$(max_len "$target")" \
        -artifact_prefix=artifacts/"$target"/ -print_final_stats=1 >logs/"$target".log 2>&1
    code=$?
    cov=$(grep -o 'cov: [0-9]*' logs/"$target".log | tail -1)
    runs=$(sed -n 's/^stat::number_of_executed_units: //p' logs/"$target".log)
    slow=$(grep -c 'Slowest unit' logs/"$target".log)
    echo "$target: exit $code, ${runs:-?} executions, $cov, $slow slow"
    [ $code = 0 ] && [ "$slow" = 0 ] || bad=1
done
exit $bad
