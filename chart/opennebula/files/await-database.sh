# Waits for the database, and refuses one that would hide the data that are there already. The password is in the file DATABASE_PASSWORD_FILE.
MYSQL_PWD=$(cat "$DATABASE_PASSWORD_FILE")
export MYSQL_PWD

query() {
  mariadb --no-defaults --protocol=tcp --connect-timeout=5 --batch --skip-column-names \
    --host="$DATABASE_HOST" --port="$DATABASE_PORT" --user="$DATABASE_USER" --execute="$1" "$DATABASE_NAME" 2>&1
}

deadline=$(($(date +%s) + DATABASE_WAIT))
said=
until answer=$(query "SELECT COUNT(*) FROM information_schema.tables WHERE table_schema = DATABASE() AND table_name = 'user_pool'"); do
  if [ "$(date +%s)" -ge "$deadline" ]; then
    echo "error: database $DATABASE_NAME on $DATABASE_HOST port $DATABASE_PORT does not answer after $DATABASE_WAIT seconds: $answer;" \
      "check that it runs, and the values of mariadb or externalDatabase" >&2
    exit 1
  fi
  if [ "$answer" != "$said" ]; then
    echo "waiting for database $DATABASE_NAME on $DATABASE_HOST port $DATABASE_PORT: $answer"
    said=$answer
  fi
  sleep 2
done

if [ "$answer" != 1 ] && [ -e "$DATA/one.db" ]; then
  echo "error: OpenNebula's data are in SQLite, in one.db on the volume, and database $DATABASE_NAME on $DATABASE_HOST is empty: set" \
    "mariadb.enabled=false and leave externalDatabase.host empty to go on with SQLite; to begin anew instead, remove one.db" >&2
  exit 1
fi
echo "database $DATABASE_NAME on $DATABASE_HOST port $DATABASE_PORT answers"
