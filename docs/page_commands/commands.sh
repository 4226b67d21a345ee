# Runs the shell commands of one page: each line of standard input names a file with one;
# its exit code goes, as a line, to the file descriptor that the first argument numbers.
set -o pipefail
while IFS= read -r file_with_command; do
  source "$file_with_command" </dev/null
  echo "$?" >&"$1"
done
kill $(jobs -p) 2>/dev/null
true
