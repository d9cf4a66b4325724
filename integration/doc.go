// Package integration runs the built ftproxy between real FTP servers and real
// clients: serverKinds and clientKinds have them all. It holds nothing but
// tests; peers.sh gets the programs they need.
//
//	CI=true              a peer that is missing is a failure, not a skip
//	FTPROXY_COMPAT=full  run every client with every server in every mode and
//	                     write docs/compatibility.md, as make compat does;
//	                     otherwise a sample runs
//	FTPROXY_DIRECT=1     leave ftproxy out: the clients talk to the servers
//	                     themselves, which tells whose fault a failure is
//	FTPROXY_BINARY=F     test this ftproxy instead of building one
//	FTPROXY_PEERS=DIR    where peers.sh keeps the unpacked servers
//
// TestStress lets honest but awkward clients share a few data ports, and checks every
// byte at both ends. "go test -v -run TestStress ./integration/ -stress.seed=N" has the
// clients choose as they did before; what the machine makes of it still differs.
//
//	FTPROXY_STRESS=10m         how long each of its rows goes on (30s); go test needs
//	                           -timeout for more than a few minutes
//	FTPROXY_STRESS_BINARY=F    stress this ftproxy
//	FTPROXY_STRESS_DIRECT=1    stress the test's own server, without ftproxy: a fault
//	                           is then the test's
//	FTPROXY_STRESS_PRICE=10s   have TestStressPrice print how long clients wait for a
//	                           port; each line of its table takes that long
//
// Every test lives on loopback addresses of its own: its server at 127.x.y.20,
// ftproxy at 127.x.y.10 and its clients at 127.x.y.30. So an address that shows
// up on the wrong side proves a leak.
package integration
