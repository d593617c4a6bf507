#!/bin/sh
# Fail if the README's tour names a file that is not there or is off by more than a tenth.
#   check_tour.sh          checks
#   check_tour.sh --fix    writes today's line counts
cd "$(dirname "$0")/.." || exit 1
bad=0
grep -oE '^\| `[a-zA-Z0-9_/.]+` \| [0-9]+ \|' README.md | tr -d '|`' | while read -r file said; do
    [ -f "$file" ] || { echo "README.md: there is no $file"; exit 1; }
    lines=$(wc -l < "$file")
    if [ "${1:-}" = --fix ]; then
        sed -i "s#^| \`$file\` | [0-9]* |#| \`$file\` | $lines |#" README.md
    elif [ $((lines * 10)) -gt $((said * 11)) ] || [ $((lines * 11)) -lt $((said * 10)) ]; then
        echo "README.md: $file has $lines lines, not $said; run tools/check_tour.sh --fix"
        exit 1
    fi
done || bad=1
[ $bad = 0 ] && echo "tour ok"
exit $bad
