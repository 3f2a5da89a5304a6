# Sources the env file of each case under folder $1, and prints what a program finds that is started after it.
#
# Entries end with NUL: `=case`, then the environment of that program. No program can be started with an entry above
# 128 KiB in its environment (Linux, MAX_ARG_STRLEN): the shell itself prints a value that is larger.

# Without starting a program: mksh has no printf of its own.
put() {
    if [ -n "${KSH_VERSION-}" ]; then print -rn -- "$1"; else printf %s "$1"; fi
}

for folder in "$1"/*; do
    printf '=%s\0' "${folder##*/}"
    (
        . "$folder/db.env" || exit
        if [ "${#VALUE}" -le 131065 ]; then
            exec env -0
        fi
        value=$VALUE
        unset VALUE
        put "VALUE=$value"
        printf '\0'
    )
done
