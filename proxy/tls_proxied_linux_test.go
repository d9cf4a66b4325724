package proxy

import (
	"bytes"
	"crypto/tls"
	"fmt"
	"io"
	"net/netip"
	"strings"
	"testing"

	"ftproxy/config"
	"ftproxy/internal/tcp"
	"ftproxy/internal/transfer"
)

// TestTLSBehindProxies: TLS comes after the PROXY header, on control connections
// (AUTH and implicit) and on data connections, and there it may have to tell whose
// they are: clients behind one address behind one proxy are told apart.
func TestTLSBehindProxies(t *testing.T) {
	const header = "PROXY TCP4 192.0.2.7 203.0.113.9 4000 21\r\n"
	for _, mode := range []config.TLSMode{config.TLSOptional, config.TLSImplicit} {
		for _, reuse := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, reuse %v", mode, reuse), func(t *testing.T) {
				t.Parallel()
				first := enact(t, straight("passive"), func(c *config.Config) {
					f := &c.Frontends[0]
					f.TLS.Mode, f.TLS.SessionReuse = mode, requiredIf(reuse)
					f.ProxyProtocol, f.DataProxyProtocol = true, true
					f.TrustedProxies = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
					f.PassiveBind.IPv4 = netip.MustParseAddr("127.0.0.1")
				})
				arrive := func(s *tlsStage) {
					s.client = s.arrive()
					_, _ = io.WriteString(s.client.conn, header)
					if mode == config.TLSImplicit {
						s.client.protect(tls.Client(s.client.conn, s.asUser))
						s.private.client = true
					}
					s.server = newActor(t, "server", acceptOne(t, s.atDoor))
					s.server.say("220 ready")
					s.client.hear("220")
					if mode == config.TLSOptional {
						s.authenticate("P")
					}
					s.logIn()
				}
				second := &tlsStage{harness: &harness{t: t, process: first.process, logs: first.logs}, atDoor: first.atDoor, joint: first.joint, front: first.front}
				second.asUser = second.user()
				stages := []*tlsStage{first, second}
				if !reuse { // They would have to wait for one another.
					stages = stages[:1]
				}
				inside := make(map[*tlsStage]func() (client, server *dataEnd))
				for i, s := range stages {
					arrive(s)
					l := listenLoopback(t)
					s.client.say("EPSV")
					s.server.hear("EPSV")
					s.server.say(fmt.Sprintf("229 Entering Extended Passive Mode (|||%d|)", tcp.AddrPort(l.Addr()).Port()))
					at := strings.Split(s.client.hear("229"), "|")[3]
					content := bytes.Repeat([]byte{byte('0' + i)}, 70_000)
					inside[s] = func() (client, server *dataEnd) {
						toServer, toClient := acceptOne(t, l), dialLoopback(t, "127.0.0.1:"+at)
						_, _ = io.WriteString(toClient, header)
						s.begin("STOR file")
						return s.deliver(transfer.Upload, content, toClient, toServer)
					}
				}
				for i := len(stages) - 1; i >= 0; i-- {
					inside[stages[i]]()
				}
				first.wantLog(`"client":"192.0.2.7:4000"`, `"client_data":"192.0.2.7:4000"`, `"client_data_tls":"TLS 1.3"`)
			})
		}
	}
}
