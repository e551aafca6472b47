#!/usr/bin/env bash
# How many user agents does this machine hold? Finds its limits, goes as far as
# they allow, and leaves nothing behind but the results.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

usage() {
    cat <<'END'
usage: loadtest/scale.sh [--at-most COUNT] [--results DIR]

Starts services and load testers in pairs, as many as the machine has file
handles and memory for, and connects user agents until it is full. Takes less
than 10 minutes. The results are one JSON file for each pair, a sum, and a page.

  --at-most COUNT  no more user agents than these [default: what is possible]
  --results DIR    where the results go [default: target/scale]

The programs are those of `cargo build --release --workspace`; BUGLE and
BUGLE_LOAD name others.
END
}

fail() {
    printf 'scale.sh: %s\n' "$*" >&2
    exit 1
}

# --- what was asked for -------------------------------------------------------

at_most=0
results=target/scale
while (($#)); do
    case $1 in
    --help | -h)
        usage
        exit
        ;;
    --at-most | --results)
        (($# > 1)) || fail "$1 needs a value"
        if [[ $1 == --at-most ]]; then at_most=$2; else results=$2; fi
        shift
        ;;
    *) fail "what is '$1'? See loadtest/scale.sh --help" ;;
    esac
    shift
done
[[ $at_most =~ ^[0-9]+$ ]] || fail "--at-most takes a count"

bugle=${BUGLE:-target/release/bugle}
load=${BUGLE_LOAD:-target/release/bugle-load}
for program in "$bugle" "$load"; do
    [[ -x $program ]] || fail "$program is not there: cargo build --release --workspace"
done
command -v jq >/dev/null || fail "jq is needed to add the results up (Debian: jq)"

# --- what the machine has -----------------------------------------------------

# Octets that one user agent takes in service, load tester and kernel, with room
# to spare.
readonly OCTETS_EACH=28000
# Connections a second that two cores open at the least, with both ends on them.
readonly RATE=1000
# Seconds for connecting; starting, holding and leaving come on top.
readonly CONNECTING=300
readonly HOLD=15

handles=$(ulimit -Hn)
[[ $handles == unlimited ]] && handles=1048576
# Beside connections, a process needs handles for files.
each=$((handles - 500))
((each >= 100)) || fail "only $handles file handles for each process: ulimit -Hn 65536, as root"
ulimit -Sn "$handles"

free_kib=$(awk '/^MemAvailable:/ { print $2 }' /proc/meminfo)
by_memory=$((free_kib * 1024 * 7 / 10 / OCTETS_EACH))
by_time=$((RATE * CONNECTING))
total=$((by_memory < by_time ? by_memory : by_time))
by_filter=any
# It follows both ends of a connection as one; a tenth is left to others.
if [[ -r /proc/sys/net/netfilter/nf_conntrack_max ]]; then
    by_filter=$(($(cat /proc/sys/net/netfilter/nf_conntrack_max) * 9 / 10))
    total=$((total < by_filter ? total : by_filter))
fi
((at_most == 0 || total < at_most)) || total=$at_most
pairs=$(((total + each - 1) / each))
per_pair=$((total / pairs))
((per_pair >= 1)) || fail "there is no room for a single user agent"

printf '%s file handles for each process; memory for %s user agents, time for %s, packet filter for %s\n' \
    "$handles" "$by_memory" "$by_time" "$by_filter"
printf '%s user agents on %s services, each with a load tester of its own\n' \
    "$((per_pair * pairs))" "$pairs"

# --- what has to be cleaned up ------------------------------------------------

work=$(mktemp -d)
started=()
clean_up() {
    local pid
    for pid in "${started[@]}"; do kill "$pid" 2>/dev/null || true; done
    for pid in "${started[@]}"; do wait "$pid" 2>/dev/null || true; done
    rm -rf "$work"
}
trap clean_up EXIT
trap 'exit 130' INT TERM

# --- the run ------------------------------------------------------------------

# Ports that nobody listens at, below those that connections are made from.
port=20000
free_port() {
    while (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; do port=$((port + 1)); done
    port=$((port + 1))
}

mkdir -p "$results"
rm -f "$results"/pair-*.json
services=() ports=()
for ((pair = 1; pair <= pairs; pair++)); do
    free_port
    ports+=($((port - 1)))
    BUGLE_LIMITS__CONNECTIONS=$((per_pair + 200)) BUGLE_LIMITS__USER_AGENTS=$((per_pair + 100)) \
        BUGLE_LIMITS__CONNECTIONS_PER_ADDRESS=0 \
        "$bugle" --listen "127.0.0.1:$((port - 1))" --admin-listen '' --data "$work/$pair" \
        --log warn >"$work/$pair.log" 2>&1 &
    services+=($!)
    started+=($!)
done
for ((pair = 0; pair < pairs; pair++)); do
    for ((try = 0; try < 300; try++)); do
        (exec 3<>"/dev/tcp/127.0.0.1/${ports[pair]}") 2>/dev/null && break
        sleep 0.1
    done
    kill -0 "${services[pair]}" 2>/dev/null || fail "a service ended: $(cat "$work/$((pair + 1)).log")"
done

# Each pair waits for the slowest, so that all are connected at one time.
hold=$((HOLD + total / RATE / 4))
testers=()
for ((pair = 0; pair < pairs; pair++)); do
    "$load" connect "ws://127.0.0.1:${ports[pair]}/" --user-agents "$per_pair" --hold "${hold}s" \
        --time-limit 8m --pid "${services[pair]}" --quiet --out "$results/pair-$((pair + 1)).json" \
        >"$work/load-$((pair + 1)).log" 2>&1 &
    testers+=($!)
    started+=($!)
done
failed=0
for ((pair = 0; pair < pairs; pair++)); do
    wait "${testers[pair]}" || { failed=$((failed + 1)) && cat "$work/load-$((pair + 1)).log"; }
done

# --- what came of it ----------------------------------------------------------

jq -s '{
    user_agents: map(.connections.peak) | add,
    services: length,
    passed: all(.passed),
    seconds_to_connect: map(.phases[] | select(.name == "connect") | .to - .from) | max,
    service_octets: map([.service[].samples[].memory] | max) | add,
    service_octets_at_first: map([.service[].samples[0].memory] | add) | add
} | . + {
    octets_for_each: ((.service_octets - .service_octets_at_first) / .user_agents | round)
}' "$results"/pair-*.json >"$results/sum.json"
"$load" report "$results"/pair-*.json --out "$results/report.html"
cat "$results/sum.json"
((failed == 0)) || fail "$failed of $pairs load testers were not content; their words are above"
