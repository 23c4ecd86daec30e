# Sourced by ./standfest and scripts/test, which set STANDFEST_ROOT: brings system packages and .venv in order.
#
#   prepare run   what running needs (requirements/run.txt)
#   prepare dev   what the checks and tests need (requirements/dev.txt, which pins all of run.txt too)
#
# When all is in order this costs milliseconds and uses no network. Nothing is written outside the project's folder,
# apt packages aside. Ends with status 1 and one line that says what to do (the caller has `set -e`).

VENV="$STANDFEST_ROOT/.venv"
LOCK_WAIT_S=1800
PIP_DONE="pip has ended well"

# Debian keeps some programs (haproxy) away from ordinary users' PATH. Exported: the Python program looks there too.
PATH="$PATH:/usr/local/sbin:/usr/sbin:/sbin"
export PATH
# A foreign Python environment must not leak into ours.
unset PYTHONHOME PYTHONPATH

say() {
    printf 'standfest: %s\n' "$*" >&2
}

die() {
    say "$*"
    exit 1
}

prepare() {
    profile=$1
    if [ -z "$(missing_packages)" ] && stamp_is_current "$profile"; then
        return 0
    fi
    # In a subshell: the umask and the lock on the project's folder end with it.
    (
        umask 022 # the program may run parts of itself as another user, who must be able to read what is installed
        one_at_a_time
        install_missing_packages
        stamp_is_current "$profile" || build_venv "$profile"
    ) 9<"$STANDFEST_ROOT"
}

# Two starts at once: the second waits, and then finds everything done.
one_at_a_time() {
    flock --nonblock 9 && return 0
    say "another start is preparing this folder; waiting for it"
    flock --timeout "$LOCK_WAIT_S" 9 || die "the other start has not ended in $LOCK_WAIT_S s: end it, then start again"
}

# --- system packages ---

# The packages of scripts/system-packages whose thing is not on this machine, in one line.
missing_packages() {
    missing=
    while read -r package thing; do
        case $thing in
        command:*) command -v "${thing#command:}" >/dev/null || missing="$missing $package" ;;
        # Only for making .venv: where that is there, it is not looked for.
        module:*) [ -x "$VENV/bin/python" ] || python_with "${thing#module:}" >/dev/null || missing="$missing $package" ;;
        esac
    done <"$STANDFEST_ROOT/scripts/system-packages"
    printf '%s' "${missing# }"
}

install_missing_packages() {
    packages=$(missing_packages)
    [ -n "$packages" ] || return 0
    python_with sys >/dev/null || die "Python 3.11 or later is needed and was not found; install it (Debian 12: python3)"
    command -v apt-get >/dev/null || die "install what these Debian packages hold, then start again: $packages"

    if [ "$(id -u)" -eq 0 ]; then
        as_root=
    elif command -v sudo >/dev/null && [ -t 0 ] && [ -t 2 ]; then
        as_root=sudo
    elif command -v sudo >/dev/null && sudo --non-interactive true 2>/dev/null; then
        as_root="sudo --non-interactive"
    else
        administrator_must_install "$packages"
    fi

    say "installing system packages: $packages"
    # Package lists are fetched only where apt cannot do without: it knows no such package, or its lists are stale.
    # shellcheck disable=SC2086 # a list of words
    apt-get --simulate install $packages >/dev/null 2>&1 || apt_get "$as_root" update
    # shellcheck disable=SC2086
    if ! apt_get "$as_root" install $packages; then
        say "trying again with fresh package lists"
        apt_get "$as_root" update
        apt_get "$as_root" install $packages || administrator_must_install "$packages"
    fi
}

# apt_get "sudo or nothing" install|update [PACKAGE...]; after `install`, says whether nothing is missing any more.
# SYSTEMD_OFFLINE and NEEDRESTART_SUSPEND: the services that the packages bring are not started now (the cluster runs
# its own), and nobody else's are restarted.
apt_get() {
    prefix=$1
    action=$2
    shift 2
    # apt's own words are shown only where they tell how far it is, or what went wrong.
    # shellcheck disable=SC2086 # prefix is a list of words
    $prefix env DEBIAN_FRONTEND=noninteractive LC_ALL=C.UTF-8 SYSTEMD_OFFLINE=1 NEEDRESTART_SUSPEND=1 \
        apt-get --yes --quiet -o DPkg::Lock::Timeout=300 -o Dpkg::Use-Pty=0 --no-install-recommends "$action" "$@" \
        </dev/null 2>&1 9<&- | sed -n -u -E 's/^((Get:|Setting up |[EW]: ).*)/  \1/p' >&2
    # The pipe hides apt's exit status: what counts is what is there.
    [ "$action" = update ] || [ -z "$(missing_packages)" ]
}

# The command is a line of its own, the last one: it is there to be copied.
administrator_must_install() {
    say "system packages are missing and cannot be installed from here; an administrator has to run, as root:"
    printf '%s\n' "apt-get update && SYSTEMD_OFFLINE=1 apt-get install --yes --no-install-recommends $1" >&2
    exit 1
}

# --- Python ---

# The first Python that will do and has the module. The system's own comes first: where the caller is root, parts of
# the program run as another user, who cannot execute an interpreter in root's home.
python_with() {
    for candidate in "${STANDFEST_PYTHON:-/usr/bin/python3}" python3 python3.13 python3.12 python3.11; do
        if "$candidate" -c "import sys, $1; sys.exit(sys.version_info < (3, 11))" 2>/dev/null; then
            command -v "$candidate"
            return 0
        fi
    done
    return 1
}

lock_file() {
    printf '%s/requirements/%s.txt' "$STANDFEST_ROOT" "$1"
}

# What .venv depends on: the lock, the interpreter, and the folder (its path is written into .venv).
stamp_text() {
    sha256sum <"$(lock_file "$1")"
    readlink -f "$VENV/bin/python"
    printf '%s\n' "$STANDFEST_ROOT"
}

stamp_is_current() {
    [ -x "$VENV/bin/python" ] && [ -r "$VENV/prepared-$1" ] && [ "$(cat "$VENV/prepared-$1")" = "$(stamp_text "$1")" ]
}

build_venv() {
    lock=$(lock_file "$1")
    # What runs is part of what the tests need: a start after scripts/test has nothing to do.
    if [ "$1" = dev ]; then stamps="dev run"; else stamps=$1; fi
    if [ ! -w "$STANDFEST_ROOT" ] || { [ -e "$VENV" ] && [ ! -w "$VENV" ]; }; then
        die "$VENV has to be prepared by a user who may write there: run ./standfest --help as that user"
    fi
    venv_is_usable || make_venv
    for name in $stamps; do rm -f "$VENV/prepared-$name"; done

    : >"$VENV/install.log"
    say "installing $(grep -c '^[a-z0-9].*==' "$lock") Python packages into .venv"
    # The builder first and from the lock, so that the few packages without a wheel are built with nothing unlocked.
    awk '/^setuptools==/ {on = 1} on {print} on && !/\\$/ {exit}' "$lock" >"$VENV/builder.txt"
    pip_install --no-deps --require-hashes -r "$VENV/builder.txt"
    pip_install --no-deps --require-hashes --no-build-isolation --use-pep517 -r "$lock"
    pip_install --no-deps --no-build-isolation --editable "$STANDFEST_ROOT"
    for name in $stamps; do stamp_text "$name" >"$VENV/prepared-$name"; done # last: what was interrupted is done again
}

# Whether .venv was made in this folder and has a working interpreter and pip.
venv_is_usable() {
    [ -x "$VENV/bin/python" ] && "$VENV/bin/python" -m pip --version >/dev/null 2>&1 &&
        [ "$("$VENV/bin/python" -c 'import sys; print(sys.prefix)')" = "$VENV" ] &&
        { [ ! -e "$VENV/made-in" ] || [ "$(cat "$VENV/made-in")" = "$STANDFEST_ROOT" ]; }
}

make_venv() {
    python=$(python_with ensurepip) || die "Python 3.11 or later with its venv module is needed (Debian 12: python3-venv)"
    say "making .venv with $python"
    rm -rf "$VENV"
    "$python" -m venv "$VENV" || die "$python could not make $VENV"
    printf '%s\n' "$STANDFEST_ROOT" >"$VENV/made-in"
}

# pip with a line for each thing it works on; all it says is in .venv/install.log. No cache: that would lie outside.
pip_install() {
    {
        PIP_USER=0 "$VENV/bin/python" -m pip install --disable-pip-version-check --no-input --no-cache-dir \
            --progress-bar off "$@" 2>&1 && echo "$PIP_DONE"
    } </dev/null | tee -a "$VENV/install.log" | show_pip_progress >&2
    # The pipe hides pip's exit status.
    [ "$(tail -n 1 "$VENV/install.log")" = "$PIP_DONE" ] || {
        tail -n 15 "$VENV/install.log" >&2
        die "pip could not install the Python packages (all it said: $VENV/install.log)"
    }
}

show_pip_progress() {
    sed -n -u -e 's/^Collecting \([^ ]*\).*/  \1/p' -e 's/^ *Building wheel for \([^ ]*\).*started$/  building \1/p' \
        -e 's/^Installing collected packages:.*/  unpacking/p'
}
