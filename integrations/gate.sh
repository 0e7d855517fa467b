#!/usr/bin/env bash
# gate.sh REPORT POLICY FOLDER: `memaudit gate` of this checkout, for any pipeline; ends with its exit code.
#
# Installs the few pinned packages that the gate needs, no torch among them, and writes gate.md, gate.xml (JUnit),
# gate.sarif and gate.codequality.json (GitLab) into FOLDER. None of them says anything about single examples.
# MEMAUDIT_PYTHON names a Python that has the packages already; nothing is installed then.
set -euo pipefail
report=$1 policy=$2 folder=$3
home=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

# Whatever goes wrong before memaudit runs says nothing about the model: exit code 2, never 1.
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
prepare || { echo "gate.sh: nothing was judged: Python 3.11 or its packages are missing, or $folder cannot be written" >&2; exit 2; }

# PYTHONSAFEPATH: a folder "memaudit" in the audited repository is not the one that is run.
outputs=(--out "md=$folder/gate.md" --out "junit=$folder/gate.xml" --out "sarif=$folder/gate.sarif"
         --out "gitlab=$folder/gate.codequality.json")
[[ -z "${GITHUB_ACTIONS:-}" ]] || outputs+=(--out github=-)
exec env PYTHONSAFEPATH=1 PYTHONPATH="$home" "$MEMAUDIT_PYTHON" -m memaudit gate "$report" --config "$policy" "${outputs[@]}"
