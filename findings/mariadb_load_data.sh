#!/bin/sh
# A CSV file of answers as RFC 4180 has it, by Python or polars, that MariaDB 10.11.19 (Debian 12) loads by
# LOAD DATA LOCAL INFILE ... FIELDS TERMINATED BY ',' OPTIONALLY ENCLOSED BY '"'.
#
# Guess: that line tells it all that there is to CSV. What is in quotes is text as it stands, and a quotation mark in it
#        is doubled. The strict mode, in which a server is by default, refuses a text that is too long for its column.
# Seen:  a backslash is a sign of its own, in quotes, too: "\n" within an answer in JSON becomes a line break, and no
#        answer with one is JSON any more; $\beta \times \nu$ loses its letters. A quoted text that ends with a
#        backslash ("... or to D:\") goes on behind its closing mark, up to the next text in quotes: the answers of the
#        rows between stand in it, and these rows are not there. Each of their fields has a value, so there is no
#        warning. \N is null. By LOCAL the strict mode counts for nothing: a text of more than 65,535 bytes in a column
#        TEXT is cut, and the client ends with 0, without a word; it is a warning, for who asks. Without LOCAL it is an
#        error.
# So:    add ESCAPED BY '', load into columns LONGTEXT, say SHOW WARNINGS behind it, and count the rows. A text that is
#        NULL, without quotes, is null even so; an empty field is an empty text: SET error = NULLIF(@error, '').
set -eu
folder=$(mktemp -d)
trap 'kill $(cat "$folder/pid" 2>/dev/null) 2>/dev/null || true; rm -rf "$folder"' EXIT
cd "$folder"
apt-get download -qq mariadb-server-core=1:10.11.19-0+deb12u1 mariadb-client-core=1:10.11.19-0+deb12u1 \
    libmariadb3 libaio1 liburing2 2>/dev/null
for package in ./*.deb; do dpkg-deb -x "$package" root; done
python3 - "$folder" <<'PYTHON'
import csv
import getpass
import json
import os
import subprocess
import sys
import time
from pathlib import Path

folder = Path(sys.argv[1])
environment = os.environ | {"LD_LIBRARY_PATH": str(next((folder / "root/usr/lib").glob("*-linux-gnu")))}
shared = folder / "root/usr/share/mysql"
(folder / "data").mkdir()
server = [folder / "root/usr/sbin/mariadbd", "--no-defaults", f"--datadir={folder}/data", f"--socket={folder}/socket",
          f"--lc-messages-dir={shared}", f"--character-sets-dir={shared}/charsets", "--skip-networking",
          "--skip-grant-tables", "--innodb-buffer-pool-size=16M", f"--user={getpass.getuser()}"]
with (folder / "log").open("w") as log:
    process = subprocess.Popen(server, stdout=log, stderr=log, env=environment)
(folder / "pid").write_text(str(process.pid))
JSON = json.dumps({"text": "two\nlines"})
TEX = r"$\beta \times \nu$"
LONG = "x" * 70_000
CSV = """FIELDS TERMINATED BY ',' OPTIONALLY ENCLOSED BY '"'"""
LAST = "the last one"


def sql(statements, database="night"):
    client = [folder / "root/usr/bin/mariadb", "--no-defaults", f"--socket={folder}/socket", "--local-infile=1",
              "--batch", "--skip-column-names", "--raw", "--default-character-set=utf8mb4", database, "-e", statements]
    return subprocess.run(client, capture_output=True, text=True, env=environment)


def loaded(texts, how=CSV, local="LOCAL", kind="TEXT"):
    """The texts that are in the table, by their rows, and what the client and SHOW WARNINGS say."""
    with (folder / "answers.csv").open("w", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows(enumerate(texts))
    sql(f"CREATE OR REPLACE TABLE answers (row_ INT, text {kind})")
    load = f"LOAD DATA {local} INFILE '{folder}/answers.csv' INTO TABLE answers CHARACTER SET utf8mb4 {how}"
    ended = sql(load)
    said = sql(load + "; SHOW WARNINGS") if not ended.returncode else ended  # Loaded twice: row by row the same.
    rows = sql("SELECT JSON_ARRAY(row_, text) FROM (SELECT DISTINCT * FROM answers) AS once ORDER BY row_").stdout
    return dict(map(json.loads, rows.splitlines())), ended.returncode, ended.stdout + ended.stderr, said.stdout


for _ in range(300):
    if not sql("CREATE DATABASE night CHARACTER SET utf8mb4", "").returncode:
        break
    time.sleep(0.2)
version, mode = sql("SELECT VERSION(), @@sql_mode").stdout.strip().split("\t")
print(version, mode)
assert "STRICT_TRANS_TABLES" in mode

rows, status, words, warnings = loaded([JSON, TEX, r"\N", LAST])
print("loaded:", rows, status, repr(words), repr(warnings))
assert rows == {0: '{"text": "two\nlines"}', 1: "$\beta \times \nu$", 2: None, 3: LAST}
assert (status, words, warnings) == (0, "", "")

texts = ["Copy it to C:, or to D:\\", "an answer", "another", "well, a third", LAST]
rows, status, words, warnings = loaded(texts)
print("behind a backslash at the end:", rows, status, repr(words), repr(warnings))
assert rows == {0: 'Copy it to C:, or to D:"\n1,an answer\n2,another\n3,"well, a third', 4: LAST}
assert (status, words, warnings) == (0, "", "")

rows, status, words, warnings = loaded([LONG, LAST])
print("a long text:", len(rows[0]), status, repr(words), repr(warnings))
assert len(rows[0]) == 65_535 and (status, words) == (0, "") and "1265" in warnings
_, status, words, _ = loaded([LONG, LAST], local="")
print("without LOCAL:", status, words.strip())
assert status == 1 and "1406" in words

texts = [JSON, TEX, r"\N", *texts, LONG]
rows, status, words, warnings = loaded(texts, CSV + " ESCAPED BY ''", kind="LONGTEXT")
print("with ESCAPED BY '', into LONGTEXT:", "as they were" if rows == dict(enumerate(texts)) else rows)
assert rows == dict(enumerate(texts)) and (status, words, warnings) == (0, "", "")
assert loaded(["NULL"], CSV + " ESCAPED BY ''")[0] == {0: None}
PYTHON
