# Sources the env file of each case in directory $1, and prints the environment of a program that is started afterwards.
#
# Entries end with NUL: `=case`, then the environment of that program. Linux starts no program with a variable above
# 128 KiB (MAX_ARG_STRLEN), so the shell itself prints larger values.

# Prints without starting a program: mksh has no printf builtin.
put() {
    if [ -n "${KSH_VERSION-}" ]; then print -rn -- "$1"; else printf %s "$1"; fi
}

for directory in "$1"/*; do
    printf '=%s\0' "${directory##*/}"
    (
        . "$directory/db.env" || exit
        if [ "${#VALUE}" -le 131065 ]; then
            exec env -0
        fi
        value=$VALUE
        unset VALUE
        put "VALUE=$value"
        printf '\0'
    )
done
