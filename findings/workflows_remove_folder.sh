#!/bin/sh
# A folder that a step of a workflow makes, with results and with what the step keeps for its next run: DVC 3.67.1
# (`outs`), Snakemake 9.27.1 (`output: directory(...)`).
#
# Guess: a step that runs again finds the folder as its last run left it; the tool only looks whether it is there
#        afterwards, and what a step has published stays where the step then fails.
# Seen:  both remove the whole folder, hidden folders in it too, before the step runs: a step that resumes, and stores in
#        it what it has bought, begins with nothing, each time. Snakemake removes it also after a step that ends with
#        another status than 0, with the results that were published ("they might be corrupted"); DVC leaves it then,
#        until the next run. Named as a file, the results alone are removed; what lies beside them stays.
# So:    name the results' file as the output, never the folder; keep what is to be resumed elsewhere (batchgen:
#        `output.state`). In DVC `persist: true` leaves an output where it is. In Snakemake let the command turn the
#        status of "some rows failed" into 0.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet 'dvc==3.67.1' 'snakemake==9.27.1'
cat > "$folder/night.sh" <<'SH2'
#!/bin/sh
# Says how many answers it finds, buys three more, publishes; ends with the status that the file `status` holds.
mkdir -p out/.bought
ls out/.bought | wc -l | tr -d ' ' >> found
for n in 1 2 3; do touch "out/.bought/$(date +%s%N)-$n"; done
echo results > out/results.txt
exit "$(cat status)"
SH2
chmod +x "$folder/night.sh"
"$folder/venv/bin/python" - "$folder" <<'PYTHON'
import os
import subprocess
import sys
import time
from importlib.metadata import version
from pathlib import Path

folder = Path(sys.argv[1])
environ = {
    **os.environ,
    "PATH": f"{folder}/venv/bin:{os.environ['PATH']}",
    "HOME": str(folder),
    "DVC_NO_ANALYTICS": "1",
}


def called(where, *command):
    return subprocess.run(command, cwd=where, env=environ, capture_output=True, text=True)


def nights(name, prepare, *command):
    """Runs the step four times, each with another input; the third fails. Returns how many answers each found, and what
    is left of the results after the third."""
    where = folder / name
    where.mkdir()
    (where / "night.sh").symlink_to(folder / "night.sh")
    (where / "rows").write_text("0")
    (where / "status").write_text("0")
    prepare(where)
    after = []
    for number, status in enumerate("0030"):
        time.sleep(1.1)  # file times of a second
        (where / "rows").write_text(str(number))
        (where / "status").write_text(status)
        said = called(where, *command)
        assert (said.returncode == 0) == (status == "0"), said.stdout + said.stderr
        after.append((where / "out/results.txt").exists())
    found = [int(line) for line in (where / "found").read_text().split()]
    left = "still there" if after[2] else "gone"
    print(f"{name}: answers found by each run {found}; the results after the failed one: {left}")
    return found, after[2]


def dvc(out, *options):
    def prepare(where):
        called(where, "dvc", "init", "--no-scm", "--quiet")
        made = called(where, "dvc", "stage", "add", "-n", "night", "-d", "rows", *options, out, "./night.sh")
        assert made.returncode == 0, made.stderr

    return prepare


def snakemake(out):
    text = f"rule night:\n    input: 'rows'\n    output: {out}\n    shell: './night.sh'\n"
    return lambda where: (where / "Snakefile").write_text(text)


print("dvc", version("dvc"), "snakemake", version("snakemake"))
run = ("dvc", "repro"), ("snakemake", "--cores", "1", "night")
resumes, begins_anew = [0, 3, 6, 9], [0, 0, 0, 0]
assert nights("dvc, folder", dvc("out", "-o"), *run[0]) == (begins_anew, True)
assert nights("dvc, file", dvc("out/results.txt", "-o"), *run[0]) == (resumes, True)
assert nights("dvc, folder that persists", dvc("out", "--outs-persist"), *run[0]) == (resumes, True)
assert nights("snakemake, folder", snakemake("directory('out')"), *run[1]) == (begins_anew, False)
assert nights("snakemake, file", snakemake("'out/results.txt'"), *run[1]) == (resumes, False)
PYTHON
