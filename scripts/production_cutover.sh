#!/bin/sh
# What `abaco cutover` and `abaco rollback` do, under the name that playbooks call:
#   production_cutover.sh plan v2 | approve PLAN ops | start PLAN | status [PLAN] | resume [PLAN] | abort [PLAN]
#   production_cutover.sh rollback [REASON] | drill
# Options of abaco (--workspace DIR, --json, --dry-run, ...) may follow. ABACO names another program than `abaco`.
set -eu

usage() {
    sed -n '3,4s/^#   //p' "$0" >&2
    exit 2
}

# The value that a verb takes stands right after it; what begins with a dash is an option.
[ "$#" -gt 0 ] || usage
verb=$1
shift
value=
case ${1--} in
-*) ;;
*)
    value=$1
    shift
    ;;
esac

run() {
    exec "${ABACO:-abaco}" "$@"
}

case $verb in
plan) [ -n "$value" ] && run cutover plan --to "$value" "$@" ;;
approve)
    case ${1--} in
    -*) ;;
    *)
        role=$1
        shift
        run cutover approve "$value" --as "$role" "$@"
        ;;
    esac
    ;;
start) [ -n "$value" ] && run cutover start "$value" "$@" ;;
status | resume | abort) run cutover "$verb" ${value:+"$value"} "$@" ;;
rollback)
    [ -z "$value" ] || set -- --reason "$value" "$@"
    run rollback "$@"
    ;;
drill) [ -z "$value" ] && run rollback --drill "$@" ;;
esac
usage
