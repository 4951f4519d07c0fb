# Runs a server for as long as somebody uses it. Who does holds a shared lock on the file `users`, which the kernel takes
# away when that process ends, however it ends; then the server is ended and its directory removed. Started by
# servers/process.rs with bash, in a process group of its own.
#
# Arguments: the server's directory, the signal that ends it at once, the command.
directory=$1 ending=$2
shift 2
cd "$directory" || exit 1
# Held as long as this watcher lives.
exec 8>watched
flock --exclusive --nonblock 8 || exit 1

launch() {
  "$@" >>log 2>&1 8>&- 9>&- &
  server=$!
  echo "$server" >pid.new && mv pid.new pid
}

children() {
  for stat in /proc/[0-9]*/stat; do
    { read -r line <"$stat"; } 2>/dev/null || continue
    # After the name, which may hold spaces: the state, then the parent.
    set -- ${line##*) }
    [ "$2" = "$server" ] && echo "${line%% *}"
  done
}

launch "$@"
while sleep 0.2; do
  # Whoever has a server to itself removes its directory at the end, perhaps before this looks.
  { exec 9>>users; } 2>/dev/null || break
  flock --exclusive --nonblock 9 && break
  exec 9>&-
  kill -0 "$server" 2>/dev/null || server=
  if [ -e again ] && [ -z "$server" ]; then
    rm again
    launch "$@"
  fi
done
if [ -n "$server" ]; then
  # A test may have stopped it; then it cannot end by itself.
  all=$(children)
  kill -CONT $all "$server" 2>/dev/null
  kill -"$ending" "$server" 2>/dev/null
  for _ in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do
    kill -0 "$server" 2>/dev/null || break
    sleep 0.1
  done
  kill -KILL $all "$server" 2>/dev/null
  wait "$server" 2>/dev/null
fi
# Away in one step: who comes now finds either all of it, and waits for its lock, or nothing. Removing it file by file would
# leave a directory that looks watched, or take away what the next server is just making there.
gone=$directory.gone.$$
cd / && mv "$directory" "$gone" 2>/dev/null && rm -rf "$gone"
