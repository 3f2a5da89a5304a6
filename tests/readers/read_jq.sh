# Reads the JSON file of each case in directory $2 with jq, and prints a line of JSON for each: `reader`, `case`, and either `fields`, with
# values in base64, or `error`. $1 is the format, and JQ the program.

for directory in "$2"/*; do
    "$JQ" -c --arg case "${directory##*/}" '{reader: "jq", case: $case, fields: map_values(@base64)}' "$directory/db.$1" ||
        "$JQ" -cn --arg case "${directory##*/}" '{reader: "jq", case: $case, error: "not JSON"}'
done
