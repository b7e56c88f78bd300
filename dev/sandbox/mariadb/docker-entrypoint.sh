#!/bin/bash
# Makes the databases and accounts that the environment names when the data directory is empty, brings system tables up to date, and becomes the
# server. It does what the entrypoint of MariaDB's official image does for these variables, as any user but root.
set -euo pipefail

data=/var/lib/mysql
socket=/run/mysqld/mysqld.sock
server=

note() { printf '%s [Note] [Entrypoint]: %s\n' "$(date --rfc-3339=seconds)" "$*"; }

fail() {
  printf '%s [ERROR] [Entrypoint]: %s\n' "$(date --rfc-3339=seconds)" "$*" >&2
  exit 1
}

# Gives a variable the content of the file that another one, with _FILE behind its name, has the path of.
from_file() {
  local file=$1_FILE
  [ -z "${!1:-}" ] || [ -z "${!file:-}" ] || fail "$1 and $file are both set: leave out one of them"
  if [ -n "${!file:-}" ]; then
    printf -v "$1" %s "$(< "${!file}")"
  else
    printf -v "$1" %s "${!1:-}"
  fi
  unset "$file"
}

# The content of a text of SQL.
text() {
  local escaped=${1//\\/\\\\}
  printf %s "${escaped//\'/\\\'}"
}

random() { od -An -N 24 -tx1 /dev/urandom | tr -d ' \n'; }

sql() { mariadb --no-defaults --protocol=socket --socket="$socket" --user=root --database=mysql --binary-mode "$@"; }

# A server that nobody reaches from outside of the container, to which the health check says no.
start() {
  "$@" --skip-networking --socket="$socket" &
  server=$!
  until sql <<< "SELECT 1" > /dev/null 2>&1; do
    kill -0 "$server" 2> /dev/null || fail "the server ended before it answered"
    sleep 0.1
  done
}

stop() {
  kill "$server"
  wait "$server"
}

healthcheck_accounts() {
  local password host
  password=$(random)
  for host in 127.0.0.1 ::1 localhost; do
    echo "CREATE USER IF NOT EXISTS healthcheck@'$host' IDENTIFIED BY '$password';"
    echo "SET PASSWORD FOR healthcheck@'$host' = PASSWORD('$password');"
    echo "GRANT ${MARIADB_HEALTHCHECK_GRANTS:-USAGE} ON *.* TO healthcheck@'$host';"
  done
  (umask 077 && printf '[mariadb-client]\nport=3306\nsocket=%s\nuser=healthcheck\npassword=%s\n' "$socket" "$password" > "$data/.my-healthcheck.cnf")
}

accounts() {
  local root
  root=$(text "$MARIADB_ROOT_PASSWORD")
  echo "DROP USER IF EXISTS root@'127.0.0.1', root@'::1';"
  echo "EXECUTE IMMEDIATE CONCAT('DROP USER IF EXISTS root@\'', @@hostname, '\'');"
  echo "SET PASSWORD FOR root@localhost = PASSWORD('$root');"
  if [ "$MARIADB_ROOT_HOST" != localhost ]; then
    echo "CREATE USER root@'$MARIADB_ROOT_HOST' IDENTIFIED BY '$root';"
    echo "GRANT ALL ON *.* TO root@'$MARIADB_ROOT_HOST' WITH GRANT OPTION;"
  fi
  healthcheck_accounts
  if [ -n "$MARIADB_DATABASE" ]; then
    echo "CREATE DATABASE IF NOT EXISTS \`$MARIADB_DATABASE\`;"
  fi
  if [ -n "$MARIADB_USER" ] && [ -n "$MARIADB_PASSWORD" ]; then
    echo "CREATE USER '$MARIADB_USER'@'%' IDENTIFIED BY '$(text "$MARIADB_PASSWORD")';"
    if [ -n "$MARIADB_DATABASE" ]; then
      echo "GRANT ALL ON \`${MARIADB_DATABASE//_/\\_}\`.* TO '$MARIADB_USER'@'%';"
    fi
  fi
}

# The first start. As in the official image, one that is cut off leaves a directory that is taken for a whole one.
initialize() {
  [ -n "$MARIADB_ROOT_PASSWORD${MARIADB_RANDOM_ROOT_PASSWORD:-}${MARIADB_ALLOW_EMPTY_ROOT_PASSWORD:-}" ] ||
    fail "there is no database yet, and none of MARIADB_ROOT_PASSWORD, MARIADB_RANDOM_ROOT_PASSWORD and MARIADB_ALLOW_EMPTY_ROOT_PASSWORD is set"
  note "Initializing database files"
  mariadb-install-db --datadir="$data" --auth-root-authentication-method=normal --skip-test-db --cross-bootstrap "${@:2}" > /dev/null
  start "$@"
  if [ -n "${MARIADB_RANDOM_ROOT_PASSWORD:-}" ]; then
    MARIADB_ROOT_PASSWORD=$(random)
    note "GENERATED ROOT PASSWORD: $MARIADB_ROOT_PASSWORD"
  fi
  accounts | sql
  stop
  note "MariaDB init process done. Ready for start up."
}

# Whether the data are those of an earlier line of MariaDB, or of a start without health checks.
upgrade_needed() {
  local old new
  [ -f "$data/mysql_upgrade_info" ] && [ -f "$data/.my-healthcheck.cnf" ] || return 0
  IFS=.- read -ra old < "$data/mysql_upgrade_info" || true
  IFS=.- read -ra new < <(mariadbd --no-defaults --version | sed 's/.* Ver \([^ ]*\) .*/\1/')
  [ "${#old[@]}" -ge 2 ] || return 0
  [ "${old[0]}" -lt "${new[0]}" ] || { [ "${old[0]}" -eq "${new[0]}" ] && [ "${old[1]}" -lt "${new[1]}" ]; }
}

upgrade() {
  case ${MARIADB_AUTO_UPGRADE:-0} in
    0)
      note "MariaDB upgrade required, but MARIADB_AUTO_UPGRADE is not set"
      return
      ;;
  esac
  note "Starting mariadb-upgrade"
  start "$@" --skip-grant-tables
  if [ ! -f "$data/.my-healthcheck.cnf" ]; then
    # From there on the server asks for passwords, until it is started again.
    { echo "FLUSH PRIVILEGES;" && healthcheck_accounts; } | sql
    stop
    start "$@" --skip-grant-tables
  fi
  mariadb-upgrade --no-defaults --socket="$socket" --upgrade-system-tables
  stop
  note "Finished mariadb-upgrade"
}

case ${1:-} in
  -*) set -- mariadbd "$@" ;;
esac
if [ "${1:-}" = mariadbd ]; then
  for name in MARIADB_ROOT_HOST MARIADB_ROOT_PASSWORD MARIADB_DATABASE MARIADB_USER MARIADB_PASSWORD; do
    from_file "$name"
  done
  MARIADB_ROOT_HOST=${MARIADB_ROOT_HOST:-%}
  if [ ! -d "$data/mysql" ]; then
    initialize "$@"
  elif upgrade_needed; then
    upgrade "$@"
  fi
  unset MARIADB_ROOT_PASSWORD MARIADB_PASSWORD MARIADB_ROOT_HOST
fi
exec "$@"
