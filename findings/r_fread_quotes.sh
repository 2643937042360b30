#!/bin/sh
# A CSV file of answers as RFC 4180 has it, by Python, that `fread` of data.table 1.14.8 reads in R 4.2.2 (both of
# Debian 12), beside R's own `read.csv`.
#
# Guess: a quotation mark in quotes is doubled in the file, and one for who reads it. data.table writes it so itself
#        (`fwrite`), and is what large files are read by in R.
# Seen:  fread leaves both marks: `He said "no"` is `He said ""no""`, and no answer in JSON is JSON any more. So it is
#        with the file that fwrite has written: each time a file is written and read again there are twice as many. No
#        error, no warning; a text without a quotation mark is right, with line breaks and commas, too. read.csv undoes
#        the marks, as readr 2.1.4 does (tried); but the answer "NA", in quotes, is a missing one for it, which fread
#        keeps.
# So:    `gsub('""', '"', text, fixed = TRUE)` behind fread; or `read.csv(file, colClasses = "character",
#        na.strings = NULL)`. It is known: issue 1109 of data.table, open since April 2015.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
apt-get download -qq r-base-core=4.2.2.20221110-2 r-cran-data.table=1.14.8+dfsg-1 libblas3 liblapack3 libgfortran5 \
    libpaper1 2>/dev/null
for package in ./*.deb; do dpkg-deb -x "$package" root; done
python3 - <<'PYTHON'
import csv

ROWS = [
    ("0042", 'He said "no".'),
    ("0043", '{"price": 12, "name": "x"}'),
    ("0044", "One line,\nand another."),
    ("0045", "NA"),
]
with open("rows.csv", "w", newline="") as file:
    csv.writer(file, quoting=csv.QUOTE_ALL).writerows([("id", "text"), *ROWS])
PYTHON
cat > read.R <<'R'
cat(R.version.string, "\n")
cat("data.table", as.character(packageVersion("data.table")), "\n")
texts <- c('He said "no".', '{"price": 12, "name": "x"}', "One line,\nand another.", "NA")
show <- function(name, text) cat(name, encodeString(text, quote = "'"), sep = "\n  ")

own <- read.csv("rows.csv")
show("read.csv:", own$text)
stopifnot(own$text[1:3] == texts[1:3], "NA is a text now" = is.na(own$text[4]))

rows <- data.table::fread("rows.csv")
show("fread:", rows$text)
doubled <- gsub('"', '""', texts, fixed = TRUE)
stopifnot("fread undoes the marks now" = rows$text[1:3] == doubled[1:3])
stopifnot(rows$text[4] == "NA")

data.table::fwrite(rows, "again.csv")
again <- data.table::fread("again.csv")
show("written by fwrite and read again:", again$text[1])
stopifnot(again$text[1] == gsub('"', '""', doubled[1], fixed = TRUE))

stopifnot(gsub('""', '"', rows$text, fixed = TRUE) == texts)
plain <- read.csv("rows.csv", colClasses = "character", na.strings = NULL)
stopifnot(plain$text == texts)
R
home=$folder/root/usr/lib/R
libraries=$folder/root/usr/lib/$(uname -m)-linux-gnu
# What R's own script sets, with the paths of a system.
export EDITOR=vi PAGER=cat R_PLATFORM="$(uname -m)-pc-linux-gnu" R_HOME="$home" R_LIBS="$home/site-library"
export R_SHARE_DIR="$folder/root/usr/share/R/share"
export LD_LIBRARY_PATH="$home/lib:$libraries:$libraries/blas:$libraries/lapack"
"$home/bin/exec/R" --vanilla --no-echo < read.R
