# Logs in through the API and through FireEdge, and has a hook run. The password is in the file PASSWORD_FILE.
umask 077
password=$(cat "$PASSWORD_FILE")
export ONE_AUTH="$HOME/one_auth" ONE_XMLRPC="http://$API/RPC2"
echo "oneadmin:$password" > "$ONE_AUTH"

# A Service leads to a pod some time after that is ready.
tries=0
until oneuser show 0 > "$HOME/user" 2>&1; do
  if [ $((tries += 1)) -eq 30 ]; then
    echo "error: the API at $API does not know oneadmin, or does not answer: $(cat "$HOME/user")" >&2
    exit 1
  fi
  sleep 1
done
echo "the API at $API knows oneadmin"

if [ -n "$FIREEDGE" ]; then
  text=${password//\\/\\\\}
  body="{\"user\": \"oneadmin\", \"token\": \"${text//\"/\\\"}\"}"
  length=$(printf %s "$body" | wc -c)
  exec 3<> "/dev/tcp/${FIREEDGE/://}"
  printf 'POST /fireedge/api/auth HTTP/1.0\r\nHost: %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s' \
    "$FIREEDGE" "$length" "$body" >&3
  # A server may close before it has read everything; what it has said by then counts.
  answer=$(cat <&3) || true
  exec 3>&-
  # What else would answer with 200 has another body.
  case $answer in
    "HTTP/1."[01]" 200 "*'"id":200'*) echo "FireEdge at $FIREEDGE lets oneadmin in" ;;
    *)
      echo "error: FireEdge at $FIREEDGE does not let oneadmin in; it answers: $answer" >&2
      exit 1
      ;;
  esac
fi

if [ -n "$HOOKS" ]; then
  printf 'NAME = "%s"\nTYPE = api\nCALL = "one.hook.unlock"\nCOMMAND = /bin/true\n' "$HOOKS-$RANDOM$RANDOM" > "$HOME/hook"
  created=$(onehook create "$HOME/hook")
  hook=${created##* }
  trap 'onehook delete "$hook"' EXIT
  # The hook manager subscribes to the call some time after the hook is made. OpenNebula has no hooks for calls that only tell about something;
  # unlocking what is not locked changes nothing.
  for _ in {1..30}; do
    onehook unlock "$hook"
    sleep 1
    case $(onehook show "$hook" --xml) in
      *"<CODE>0</CODE>"*)
        echo "the hook manager runs hooks"
        exit 0
        ;;
    esac
  done
  echo "error: hook $hook has not run within 30 calls that it is for; the log of the pod has the lines of hem" >&2
  exit 1
fi
