#!/usr/bin/env bash
# Drop-in for the original's bin/zkServer.sh: same verbs, same words, same exit codes,
# so that scripts written for it go on working. Installed by zkctl.

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

if [ $# -gt 1 ] && [ "--config" = "$1" ]; then
  shift
  ZOOCFGDIR="$1"
  shift
fi
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
if [ -n "$2" ]; then
  case "$2" in
    */*) ZOOCFG="$2" ;;
    *) ZOOCFG="$ZOOCFGDIR/$2" ;;
  esac
fi
if [ -z "$JMXDISABLE" ] || [ "$JMXDISABLE" = 'false' ]; then
  # There is no JVM; the line stays because scripts look for it.
  echo "ZooKeeper JMX enabled by default" >&2
else
  echo "JMX disabled by user request" >&2
fi
echo "Using config: $ZOOCFG" >&2

host() {
  # Where the deployed server logs is known to zkctl; the environment may say otherwise.
  "$ZKCTL" host drop-in "$1" --config "$ZOOCFG" ${ZOO_LOG_DIR:+--log-dir "$ZOO_LOG_DIR"}
}

case "$1" in
  start) host start ;;
  stop) host stop ;;
  status) host status ;;
  restart)
    host stop
    host start
    ;;
  start-foreground) exec "$ZKCTL" serve -c "$ZOOCFG" ;;
  version) "$ZKCTL" --version ;;
  print-cmd) host print-cmd ;;
  *)
    echo "Usage: $0 [--config <conf-dir>] {start|start-foreground|stop|version|restart|status|print-cmd}" >&2
    ;;
esac
