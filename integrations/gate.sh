#!/usr/bin/env bash
# gate.sh REPORT POLICY FOLDER: `memaudit gate` of this checkout, for any pipeline; ends with its exit code.
#
# Installs the few pinned packages that the gate needs, no torch among them, and writes gate.md, gate.xml (JUnit),
# gate.sarif and gate.codequality.json (GitLab) into FOLDER. None of them says anything about single examples.
#
# MEMAUDIT_PUBLIC_KEY  the key that must have signed the audit: a file, or the PEM text itself
# MEMAUDIT_MODEL       the model that is released: the report must be about it
# MEMAUDIT_LEDGER      the ledger of audits, which must hold this one
# Unset or "none": not checked. Set but empty: an error, as of a pipeline whose variable is missing.
# MEMAUDIT_PYTHON names a Python that has the packages already; nothing is installed then.
set -euo pipefail
report=$1 policy=$2 folder=$3
home=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

# Whatever goes wrong before memaudit runs says nothing about the model: exit code 2, never 1.
nothing() { echo "gate.sh: nothing was judged: $1" >&2; exit 2; }
prepare() {
  mkdir -p "$folder" || return
  [[ -z "${MEMAUDIT_PYTHON:-}" ]] || return 0
  local environment
  environment=$(mktemp -d)/memaudit
  python3 -m venv "$environment" || return
  MEMAUDIT_PYTHON=$environment/bin/python
  "$MEMAUDIT_PYTHON" -m pip install --quiet --disable-pip-version-check --only-binary :all: \
    --constraint "$home/constraints.txt" --requirement "$home/integrations/gate-requirements.txt"
}
prepare || nothing "Python 3.11 or its packages are missing, or $folder cannot be written"

options=(--out "md=$folder/gate.md" --out "junit=$folder/gate.xml" --out "sarif=$folder/gate.sarif"
         --out "gitlab=$folder/gate.codequality.json")
[[ -z "${GITHUB_ACTIONS:-}" ]] || options+=(--out github=-)
check() { # OPTION VALUE
  [[ $2 != none ]] || return 0
  [[ -n $2 ]] || nothing "the value for $1 is empty; is its variable set in this pipeline?"
  options+=("$1" "$2")
}
key=${MEMAUDIT_PUBLIC_KEY-none}
if [[ $key == -----BEGIN* ]]; then
  file=$(mktemp) && printf '%s\n' "$key" > "$file" || nothing "the public key cannot be written"
  key=$file
fi
check --require-signature "$key"
check --model "${MEMAUDIT_MODEL-none}"
check --ledger "${MEMAUDIT_LEDGER-none}"

# PYTHONSAFEPATH: a folder "memaudit" in the audited repository is not the one that is run.
exec env PYTHONSAFEPATH=1 PYTHONPATH="$home" "$MEMAUDIT_PYTHON" -m memaudit gate "$report" --config "$policy" "${options[@]}"
