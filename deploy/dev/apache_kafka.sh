#!/usr/bin/env bash
# Real Apache Kafka on loopback for tests: jars from Maven Central, KRaft, no containers.
#
#   apache_kafka.sh fetch     download the jars (once)
#   apache_kafka.sh single    one node, PLAINTEXT on BASE
#   apache_kafka.sh cluster   three nodes, PLAINTEXT on BASE, BASE+1, BASE+2 (replication 3, min.insync 2)
#   apache_kafka.sh secure    one node: PLAINTEXT on BASE (super user), SASL_SSL on BASE+1 (PLAIN, SCRAM-SHA-256/512;
#                             user svc, password svc-secret), SSL with client certificates on BASE+2, ACLs on
#   apache_kafka.sh again N   start node N of the cluster once more, on the storage it had when it died
#   apache_kafka.sh stop      stop every node that this data directory started
#
# single, cluster and secure format fresh storage, wait until the nodes answer, and print KEY=VALUE lines. The process
# of node N is named in $KAFKA_DATA/nodeN.pid.
# Environment: KAFKA_HOME (.kafka beside this repository's files), KAFKA_DATA ($KAFKA_HOME/data), KAFKA_BASE_PORT (29092),
# KAFKA_VERSION, KAFKA_HEAP (512m). Exit codes: 69 Maven Central does not answer, 127 java, mvn or openssl is missing.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
home=${KAFKA_HOME:-$root/.kafka}
data=${KAFKA_DATA:-$home/data}
version=${KAFKA_VERSION:-4.1.0}
base=${KAFKA_BASE_PORT:-29092}
heap=${KAFKA_HEAP:-512m}
jars=$home/jars-$version

say() { echo "apache_kafka.sh: $*" >&2; }

need() {
  local tool
  for tool in "$@"; do
    command -v "$tool" > /dev/null || { say "$tool is not installed (apt-get install default-jre-headless maven)"; exit 127; }
  done
}

write_pom() {
  cat > "$home/pom.xml" <<XML
<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>dev</groupId><artifactId>broker</artifactId><version>1</version><packaging>pom</packaging>
  <dependencies>
    <dependency><groupId>org.apache.kafka</groupId><artifactId>kafka_2.13</artifactId><version>$version</version></dependency>
    <dependency><groupId>org.apache.logging.log4j</groupId><artifactId>log4j-slf4j-impl</artifactId><version>2.24.3</version></dependency>
    <dependency><groupId>org.apache.logging.log4j</groupId><artifactId>log4j-core</artifactId><version>2.24.3</version></dependency>
  </dependencies>
</project>
XML
}

fetch() {
  need java mvn
  ( # two test runs may want the jars at once; a node must not inherit the lock, or the next one waits for its end
    flock 9
    [ -e "$jars/.complete" ] || download
  ) 9> "$home/lock"
}

download() {
  mkdir -p "$jars"
  write_pom
  if ! mvn -B -q -f "$home/pom.xml" org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies \
      -DincludeScope=runtime -DoutputDirectory="$jars" > "$home/mvn.log" 2>&1; then
    say "Maven could not fetch Kafka $version: $(tail -n 3 "$home/mvn.log" | tr '\n' ' ')"
    exit 69
  fi
  touch "$jars/.complete"
}

storage() { java -cp "$jars/*" kafka.tools.StorageTool "$@" > "$data/format.log" 2>&1 || { cat "$data/format.log" >&2; exit 1; }; }

launch() { # properties file: starts a node in its own session, so that the caller's Ctrl-C does not reach it
  setsid java "-Xms$heap" "-Xmx$heap" -XX:+UseSerialGC -Dorg.apache.logging.log4j.level=INFO -cp "$jars/*" kafka.Kafka "$1" > "${1%.properties}.log" 2>&1 < /dev/null &
  echo $! > "${1%.properties}.pid"
}

answers() { (exec 3<> "/dev/tcp/127.0.0.1/$1") 2> /dev/null; }

started() { # node number: its log says so, and it still lives
  grep -q "Kafka Server started" "$data/node$1.log" 2> /dev/null
}

await_nodes() { # their numbers
  local node tries
  for node in "$@"; do
    for tries in $(seq 240); do
      started "$node" && answers $((base + node - 1)) && break
      if ! kill -0 "$(< "$data/node$node.pid")" 2> /dev/null || [ "$tries" = 240 ]; then
        say "node $node did not start:"
        tail -n 20 "$data/node$node.log" >&2
        stop
        exit 1
      fi
      sleep 0.25
    done
  done
}

common() { # node id, replication factor, min in-sync
  # No retention unless a topic asks for it: tests write records with timestamps of years ago.
  cat <<P
process.roles=broker,controller
node.id=$1
controller.listener.names=CONTROLLER
log.dirs=$data/log$1
auto.create.topics.enable=true
group.initial.rebalance.delay.ms=0
group.min.session.timeout.ms=1000
offsets.topic.num.partitions=4
offsets.topic.replication.factor=$2
transaction.state.log.num.partitions=4
transaction.state.log.replication.factor=$2
transaction.state.log.min.isr=$3
share.coordinator.state.topic.replication.factor=$2
share.coordinator.state.topic.min.isr=$3
default.replication.factor=$2
min.insync.replicas=$3
log.cleaner.backoff.ms=500
log.retention.check.interval.ms=500
log.retention.ms=-1
P
}

plain_listeners() { # broker port, controller port
  cat <<P
listeners=PLAINTEXT://127.0.0.1:$1,CONTROLLER://127.0.0.1:$2
advertised.listeners=PLAINTEXT://127.0.0.1:$1
inter.broker.listener.name=PLAINTEXT
listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT
P
}

cluster_id() { java -cp "$jars/*" kafka.tools.StorageTool random-uuid 2> /dev/null | tail -n 1; }

fresh() {
  need java
  fetch
  stop
  rm -rf "$data"
  mkdir -p "$data"
}

single() {
  fresh
  { common 1 1 1; plain_listeners "$base" $((base + 10)); echo "controller.quorum.bootstrap.servers=127.0.0.1:$((base + 10))"; } > "$data/node1.properties"
  storage format --standalone -t "$(cluster_id)" -c "$data/node1.properties"
  launch "$data/node1.properties"
  await_nodes 1
  echo "BOOTSTRAP=127.0.0.1:$base"
}

cluster() {
  local id node voters
  fresh
  id=$(cluster_id)
  voters="1@127.0.0.1:$((base + 10)),2@127.0.0.1:$((base + 11)),3@127.0.0.1:$((base + 12))"
  for node in 1 2 3; do
    { common "$node" 3 2; plain_listeners $((base + node - 1)) $((base + 9 + node)); echo "controller.quorum.voters=$voters"
      echo "broker.session.timeout.ms=3000"; } > "$data/node$node.properties"
    storage format -t "$id" -c "$data/node$node.properties"
    launch "$data/node$node.properties"
  done
  await_nodes 1 2 3
  echo "BOOTSTRAP=127.0.0.1:$base,127.0.0.1:$((base + 1)),127.0.0.1:$((base + 2))"
}

again() { # node number
  local node=${1:?which node}
  need java
  launch "$data/node$node.properties"
  await_nodes "$node"
}

authority() { # name; a second one is what an untrusted authority looks like
  openssl req -x509 -newkey rsa:2048 -nodes -days 30 -subj "/CN=test authority $1" -keyout "$data/$1-key.pem" \
    -out "$data/$1.pem" 2>> "$data/openssl.log"
}

certificate() { # name, subject alternative names: a key pair signed by the test authority
  openssl req -newkey rsa:2048 -nodes -subj "/CN=$1" -keyout "$data/$1-key.pem" -out "$data/$1.csr" 2>> "$data/openssl.log"
  openssl x509 -req -days 30 -in "$data/$1.csr" -CA "$data/ca.pem" -CAkey "$data/ca-key.pem" -CAcreateserial \
    -extfile <(echo "subjectAltName=$2") -out "$data/$1.pem" 2>> "$data/openssl.log"
}

secure_properties() {
  local module=org.apache.kafka.common.security
  common 1 1 1
  cat <<P
controller.quorum.bootstrap.servers=127.0.0.1:$((base + 10))
listeners=PLAINTEXT://127.0.0.1:$base,SASL_SSL://127.0.0.1:$((base + 1)),SSL://127.0.0.1:$((base + 2)),CONTROLLER://127.0.0.1:$((base + 10))
advertised.listeners=PLAINTEXT://127.0.0.1:$base,SASL_SSL://localhost:$((base + 1)),SSL://localhost:$((base + 2))
inter.broker.listener.name=PLAINTEXT
listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,SASL_SSL:SASL_SSL,SSL:SSL
ssl.keystore.location=$data/broker-store.pem
ssl.keystore.type=PEM
ssl.truststore.location=$data/ca.pem
ssl.truststore.type=PEM
listener.name.ssl.ssl.client.auth=required
sasl.enabled.mechanisms=PLAIN,SCRAM-SHA-256,SCRAM-SHA-512
listener.name.sasl_ssl.plain.sasl.jaas.config=$module.plain.PlainLoginModule required user_svc="svc-secret";
listener.name.sasl_ssl.scram-sha-256.sasl.jaas.config=$module.scram.ScramLoginModule required;
listener.name.sasl_ssl.scram-sha-512.sasl.jaas.config=$module.scram.ScramLoginModule required;
authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer
super.users=User:ANONYMOUS
P
}

secure() {
  need openssl
  fresh
  authority ca
  authority stranger
  # No 127.0.0.1 among the names: connecting by address is how a test sees a host name mismatch.
  certificate broker DNS:localhost
  certificate client DNS:client
  cat "$data/broker-key.pem" "$data/broker.pem" "$data/ca.pem" > "$data/broker-store.pem"
  secure_properties > "$data/node1.properties"
  storage format --standalone -t "$(cluster_id)" -c "$data/node1.properties" \
    --add-scram 'SCRAM-SHA-256=[name=svc,password=svc-secret]' --add-scram 'SCRAM-SHA-512=[name=svc,password=svc-secret]'
  launch "$data/node1.properties"
  await_nodes 1
  printf '%s\n' "BOOTSTRAP=127.0.0.1:$base" "SASL_SSL=localhost:$((base + 1))" "SSL=localhost:$((base + 2))" \
    "CA=$data/ca.pem" "STRANGER=$data/stranger.pem" "CERT=$data/client.pem" "KEY=$data/client-key.pem"
}

stop() {
  local file pid
  for file in "$data"/node*.pid; do
    [ -e "$file" ] || continue
    pid=$(< "$file")
    # A pid may have been handed to another process since: only a Kafka of this data directory is ours.
    if tr '\0' ' ' < "/proc/$pid/cmdline" 2> /dev/null | grep -qF "$data/"; then
      kill -9 "$pid" 2> /dev/null || true
      while kill -0 "$pid" 2> /dev/null; do sleep 0.05; done
    fi
    rm -f "$file"
  done
}

case ${1:-} in
  fetch | single | cluster | secure | again | stop) mkdir -p "$home"; "$@" ;;
  *) sed -n '2,16s/^# \{0,1\}//p' "${BASH_SOURCE[0]}" >&2; exit 2 ;;
esac
