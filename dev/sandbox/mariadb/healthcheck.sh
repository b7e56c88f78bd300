#!/bin/bash
# The checks of MariaDB's official image that a chart asks for: --connect, --innodb_initialized and --no-connect.
set -eo pipefail

config=/var/lib/mysql/.my-healthcheck.cnf
options=()
if [ -f "$config" ]; then
  options=(--defaults-extra-file="$config")
fi

ask() { mariadb "${options[@]}" --protocol=socket --batch --skip-column-names --execute="$1"; }

# Whether the server takes connections from outside: during a first start it does not.
connect() {
  local answer
  case $(ask "SELECT @@skip_networking" || true) in
    0) return 0 ;;
    1) return 1 ;;
  esac
  # A server that refuses the account is one that is connected to.
  answer=$(mariadb "${options[@]}" --host=localhost --protocol=tcp --execute="SELECT 1" 2>&1) && return 0
  case $answer in
    *"(28000)"* | *"(42000)"* | "ERROR 1820 "* | "ERROR 4151 "*) return 0 ;;
  esac
  echo "$answer" >&2
  return 1
}

innodb_initialized() {
  [ "$(ask "SELECT 1 FROM information_schema.engines WHERE engine = 'innodb' AND support IN ('YES', 'DEFAULT', 'ENABLED')")" = 1 ]
}

if [ $# -eq 0 ]; then
  echo "healthcheck.sh: name at least one check" >&2
  exit 1
fi
connected=
for check in "$@"; do
  case $check in
    --connect)
      connect || { echo "healthcheck connect failed" >&2; exit 1; }
      connected=1
      ;;
    --innodb_initialized) innodb_initialized || { echo "healthcheck innodb_initialized failed" >&2; exit 1; } ;;
    --no-connect) connected=1 ;;
    *)
      echo "healthcheck.sh: the stand-in has no check $check" >&2
      exit 1
      ;;
  esac
done
if [ -z "$connected" ]; then
  connect
fi
