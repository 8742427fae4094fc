#!/bin/sh
# The same handler as words.py and words.mjs: counts the words of {"text": "..."}.
set -euf
text=$(sed -n 's/.*"text" *: *"\([^"]*\)".*/\1/p')
[ -n "$text" ] || { echo "the payload has no text" >&2; exit 65; }             # final: trying again would not help
[ "$text" != "busy" ] || { echo "the dictionary is being updated" >&2; exit 75; } # try again later
echo '{"progress":50,"status":"counting"}' >&3
printf '%s\n' $text >"$REEVE_OUTPUT_DIR/words.txt"
printf '{"words":%s}\n' "$(wc -l <"$REEVE_OUTPUT_DIR/words.txt")"
