# Starts etcd and kube-apiserver in DIR; stops both and removes DIR when standard input ends, as it does when the
# process that started this ends in any way.
#   DIR ETCD KUBE-APISERVER PORT CLIENT-PORT PEER-PORT
trap '' INT HUP TERM
cd "$1" || exit 1
# The data is thrown away, so no fsync.
"$2" --data-dir "$1/etcd" --unsafe-no-fsync --log-level warn \
  --listen-client-urls "http://127.0.0.1:$5" --advertise-client-urls "http://127.0.0.1:$5" \
  --listen-peer-urls "http://127.0.0.1:$6" --initial-advertise-peer-urls "http://127.0.0.1:$6" \
  --initial-cluster "default=http://127.0.0.1:$6" >etcd.log 2>&1 &
etcd=$!
"$3" --etcd-servers "http://127.0.0.1:$5" --bind-address 127.0.0.1 --advertise-address 127.0.0.1 --secure-port "$4" \
  --tls-cert-file server.crt --tls-private-key-file server.key --client-ca-file ca.crt --token-auth-file tokens.csv \
  --authorization-mode RBAC --anonymous-auth=true --service-cluster-ip-range 10.0.0.0/24 \
  --endpoint-reconciler-type none --service-account-key-file sa.key --service-account-signing-key-file sa.key \
  --service-account-issuer "https://127.0.0.1:$4" --disable-admission-plugins ServiceAccount \
  >kube-apiserver.log 2>&1 &
server=$!
echo "$etcd $server" >pids.new
mv pids.new pids
# One that ends by itself is noticed at the start.
(
  while kill -0 "$etcd" && kill -0 "$server"; do sleep 0.2; done
  : >ended
) >/dev/null 2>&1 &
look=$!
cat >/dev/null
kill -9 "$look" "$server" "$etcd" 2>/dev/null
wait
cd /
rm -rf "$1"
