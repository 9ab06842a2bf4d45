# What is around a block of the README when it is run: `#==` and its first line, then the script, in which EXAMPLE
# stands for the block. A block that is not here is run as it is.

#== iii channel create --save x
EXAMPLE
wait $!
seq 1000000 | cmp - numbers.txt

#== iii channel create --save y
EXAMPLE
test ! -e half.txt

#== iii serve text::gzip -- gzip -9 &
seq 100000 > numbers.txt
EXAMPLE

#== iii serve json::keys --stdin json --stdout result -- jq keys &
EXAMPLE | tr -d ' \n' | grep -F '["a","b"]'

#== iii serve text::loud -- tr a-z A-Z &
EXAMPLE
tr a-z A-Z < links.csv | sort | cmp - sorted.csv

#== iii trigger jobs::run --each -P 8 < jobs.jsonl > results.jsonl
EXAMPLE
test "$(grep -c done results.jsonl)" = 20

#== iii channel create --save z
EXAMPLE | grep '"exit":0.*"verified":true'
wait $!
cmp copy.bin big.bin

#== for try in 1 2 3; do
seq 100000 > numbers.txt
iii serve text::gzip -- gzip -1 &
iii functions wait text::gzip
(EXAMPLE
)
gunzip < numbers.gz | cmp - numbers.txt

#== for name in a b; do iii channel create --save $name; done
EXAMPLE
wait
tr a-z A-Z < big.bin | cmp - louder.bin

#== A$ iii channel create --save backup --only reader      # prints the reader's token, to hand over
EXAMPLE
pg_dump db | cmp - B/db.sql

#== B$ mkdir got; iii serve pieces::put --stdout result -- tar x -C got     # stays
head -c 2000000 /dev/urandom > A/big.bin
EXAMPLE
cmp A/big.bin B/big.bin

#== iii functions ls                             # --json, --ids, --search, --prefix
iii serve text::gzip -- gzip -1 &
iii functions wait text::gzip
EXAMPLE
