# What is around an example of the help when it is run: `#==` and the example, then the script, in which EXAMPLE
# stands for it. An example that is not here is run as it is.

#== eval "$(iii channel create --export)"
EXAMPLE
test -n "$III_READER"
echo hi | iii channel write &
test "$(iii channel read)" = hi

#== iii channel write @backup --receipt -- pg_dump db
iii channel create --save backup
iii channel read @backup -o db.sql &
EXAMPLE
wait $!
pg_dump db | cmp - db.sql

#== iii channel write @x < big.csv
iii channel create --save x
cp links.csv big.csv
iii channel read @x -o out &
EXAMPLE
wait $!
cmp out big.csv

#== iii channel tee @here @there --receipt -- pg_dump db
for name in here there; do
  iii channel create --save $name
  iii channel read @$name -o $name &
done
EXAMPLE
wait
pg_dump db | cmp - here
cmp here there

#== iii channel tee @here @there --from big.csv
cp links.csv big.csv
for name in here there; do
  iii channel create --save $name
  iii channel read @$name -o $name &
done
EXAMPLE
wait
cmp big.csv here
cmp here there

#== tail -f app.log | iii channel tee --lines @one @two
for name in one two; do
  iii channel create --save $name
  iii channel read @$name > $name &
done
EXAMPLE &
for name in one two; do
  until cmp $name app.log; do sleep 0.02; done
done

#== iii channel read @backup -o db.sql
iii channel create --save backup
iii channel write @backup -- pg_dump db &
EXAMPLE
wait $!
pg_dump db | cmp - db.sql

#== iii channel read @x -- tar x
iii channel create --save x
mkdir from
cp big.bin from/packed
iii channel write @x -- tar -C from -c packed &
EXAMPLE
cmp packed big.bin

#== iii trigger text::gzip --in big.bin --out big.gz
iii serve text::gzip -- gzip -1 &
iii functions wait text::gzip
EXAMPLE
gunzip < big.gz | cmp - big.bin

#== iii trigger llm::chat prompt=hi --out stream=- --text
test "$(EXAMPLE)" = "Hello from a worker."

#== iii serve text::gzip -- gzip -9
EXAMPLE &
iii functions wait text::gzip
iii trigger text::gzip --in big.bin --out big.gz
gunzip < big.gz | cmp - big.bin

#== iii serve json::keys --stdin json --stdout result -- jq keys
EXAMPLE &
iii functions wait json::keys
iii trigger json::keys b=1 a=2 | jq -e '.json == ["a", "b"]'

#== iii functions wait text::upper text::gzip && echo ready
iii serve text::gzip -- gzip -1 &
EXAMPLE

#== iii trace show 0af7651916cd43dd8448eb211c80319c
iii trigger text::upper text=a --trace > result
EXAMPLE

#== iii trace show "$TRACEPARENT" --json | jq '.roots | length'
iii trigger text::upper text=a --trace > result
test "$(EXAMPLE)" -gt 0

#== pbpaste | iii ref save backup -
iii channel create --only reader > clipboard
EXAMPLE

#== iii ref save backup file:/run/secrets/ref --url wss://engine.example
iii channel create --only reader > /run/secrets/ref
EXAMPLE

#== iii ref ls --json | jq -r '.[] | select(.state == "unused").name'
iii channel create --save new
test "$(EXAMPLE)" = new

#== iii ref show backup --end reader | ssh host iii channel read - -o db.sql
iii channel create --save backup
iii channel write @backup -- pg_dump db &
EXAMPLE
wait $!
pg_dump db | cmp - db.sql

#== iii ref show backup --json | jq .reader
iii channel create --save backup
EXAMPLE | jq -e .access_key

#== iii ref rm backup
iii channel create --save backup
EXAMPLE

#== iii context use prod
iii context add prod ws://localhost:1
EXAMPLE

#== iii context use --none
iii context add prod ws://localhost:1 --use
EXAMPLE

#== iii context show
iii context add prod ws://localhost:1 --use
EXAMPLE

#== iii context show prod --json | jq -r .url
iii context add prod ws://localhost:1
test "$(EXAMPLE)" = ws://localhost:1

#== iii context rm staging
iii context add staging ws://localhost:1
EXAMPLE

#== iii context rm old older
iii context add old ws://localhost:1
iii context add older ws://localhost:1
EXAMPLE

#== iii engine run
EXAMPLE 2> said &
until grep -q ws:// said; do kill -0 $!; sleep 0.02; done

#== iii engine run --port 0 --print-url --log off
EXAMPLE > said &
until grep -q ws:// said; do kill -0 $!; sleep 0.02; done

#== iii engine run --allow-origin http://localhost:5173
EXAMPLE 2> said &
until grep -q ws:// said; do kill -0 $!; sleep 0.02; done

#== iii engine run --host 0.0.0.0 --allow-host engine --token-file /run/secrets/iii
echo secret > /run/secrets/iii
EXAMPLE 2> said &
until grep -q ws:// said; do kill -0 $!; sleep 0.02; done

#== iii engine run --tls-cert engine.pem --tls-key engine.key
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj /CN=localhost \
  -addext subjectAltName=DNS:localhost -keyout engine.key -out engine.pem 2> made
EXAMPLE 2> said &
until grep -q wss:// said; do kill -0 $!; sleep 0.02; done
iii --url wss://localhost:49134 --cacert engine.pem channel create > refs

#== source <(iii completion bash)
EXAMPLE
complete -p iii iii-cli

#== iii completion fish > ~/.config/fish/completions/iii.fish
EXAMPLE
grep -q complete ~/.config/fish/completions/iii.fish

#== iii pipe text::sort text::gzip < links.csv > links.gz
iii serve text::sort -- sort &
iii serve text::gzip -- gzip -1 &
iii functions wait text::sort text::gzip
EXAMPLE
gunzip < links.gz | cmp - <(sort links.csv)

#== iii pipe text::sort 'bulk-importer::import_csv reader=<' < links.csv
iii serve text::sort -- sort &
iii functions wait text::sort
EXAMPLE

#== iii pipe 'llm::chat prompt=hi stream=>' -o hi.txt --text
EXAMPLE
test "$(cat hi.txt)" = "Hello from a worker."

#== iii pipe text::sort 'text::gzip level=9' --dry-run
iii serve text::sort -- sort &
iii serve text::gzip -- gzip -1 &
iii functions wait text::sort text::gzip
EXAMPLE | grep 'channel 3'
