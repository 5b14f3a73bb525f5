#!/usr/bin/env bash
# Drop-in for the original's bin/zkCleanup.sh: deletes old snapshots and the logs that only those need, so
# that cron lines written for it go on working. Installed by zkctl.

# Links are followed, so that it may be called from anywhere.
ZOOBIN="${BASH_SOURCE-$0}"
while [ -L "$ZOOBIN" ]; do
  link="$(readlink "$ZOOBIN")"
  case "$link" in
    /*) ZOOBIN="$link" ;;
    *) ZOOBIN="$(dirname "$ZOOBIN")/$link" ;;
  esac
done
ZOOBINDIR="$(cd "$(dirname "$ZOOBIN")" && pwd)"
ZKCTL="$ZOOBINDIR/zkctl"

if [ -z "$ZOOCFGDIR" ]; then
  # The node's directory is where `bin` was reached from, not where its link leads to.
  here="$(cd "$(dirname "${BASH_SOURCE-$0}")" && pwd -L)"
  for dir in "${here%/*}/conf" "$ZOOBINDIR/../conf" "$ZOOBINDIR/../../conf" /etc/zookeeper; do
    if [ -e "$dir" ]; then
      ZOOCFGDIR="$dir"
      break
    fi
  done
  ZOOCFGDIR="${ZOOCFGDIR:-${here%/*}/conf}"
fi
if [ -f "$ZOOCFGDIR/zookeeper-env.sh" ]; then
  . "$ZOOCFGDIR/zookeeper-env.sh"
fi
ZOOCFG="$ZOOCFGDIR/${ZOOCFG:-zoo.cfg}"

usage() {
  {
    echo "Usage:"
    echo "$0 [dataLogDir [snapDir]] -n count"
    printf '\tdataLogDir, snapDir -- those of %s unless given\n' "$ZOOCFG"
    printf '\tcount -- the number of old snaps/logs you want to keep, value should be greater than or equal to 3\n'
  } >&2
  exit 1
}

count=
dirs=()
while [ $# -gt 0 ]; do
  case "$1" in
    -n)
      count="${2-}"
      shift
      ;;
    -*) usage ;;
    *) dirs+=("$1") ;;
  esac
  shift
done
[[ "$count" =~ ^[0-9]+$ ]] && [ "$count" -ge 3 ] && [ ${#dirs[@]} -le 2 ] || usage
if [ ${#dirs[@]} -eq 0 ]; then
  exec "$ZKCTL" purge -c "$ZOOCFG" -n "$count"
fi
exec "$ZKCTL" purge -n "$count" -- "${dirs[@]}"
